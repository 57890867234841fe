// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// A ForwardError says that a port can't be forwarded.
type ForwardError struct {
	Forward Forward
	err     error
	hint    string
}

func (e *ForwardError) Error() string {
	return fmt.Sprintf("forward port %d to the guest's port %d: %v", e.Forward.Host, e.Forward.Guest, e.err)
}
func (e *ForwardError) Unwrap() error { return e.err }

// Hint is the next step.
func (e *ForwardError) Hint() string { return e.hint }

// checkForward says what would keep qemu from taking the port.
func checkForward(f Forward, network bool) error {
	if !network {
		return &ForwardError{f, errors.New("the guest has no network"), "give it one: --network user"}
	}
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.Host)))
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return &ForwardError{f, err, fmt.Sprintf("another program has it: `ss -ltnp sport = :%d` says which; or take another port", f.Host)}
	case errors.Is(err, unix.EACCES):
		return &ForwardError{f, err, "ports below 1024 are root's: take a higher one"}
	case err != nil:
		return &ForwardError{f, err, "take another port"}
	}
	return l.Close()
}
