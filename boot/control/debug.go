// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/ssh"
)

// dumpPayload is what dumpRequest asks for.
type dumpPayload struct {
	Path    string `json:"path"` // absolute
	Virtual bool   `json:"virtual"`
}

// dump writes a new file. What is there already it leaves alone.
func (s *Server) dump(payload []byte) (err error) {
	var p dumpPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return err
	}
	s.mu.Lock()
	guest := s.guest
	s.mu.Unlock()
	if guest == nil {
		return ErrNoGuest
	}
	f, err := os.OpenFile(p.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(guest.Dump(f, p.Virtual), f.Close()); err != nil {
		return errors.Join(err, os.Remove(p.Path))
	}
	return nil
}

// A RefusedError is the owner's reason for not doing what it was asked.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Hint is where to look when there is no guest to act on.
func (e *RefusedError) Hint() string {
	if e.Reason != ErrNoGuest.Error() {
		return ""
	}
	return "run-kernel status says what is being done"
}

// Dump writes the guest's memory to a file that doesn't exist yet, as an ELF core
// file; see boot.VM.Dump. It takes as long as the disk does.
func (c *Client) Dump(path string, virtual bool) error {
	payload, err := json.Marshal(dumpPayload{path, virtual})
	if err != nil {
		return err
	}
	ok, reason, err := c.SendRequest(dumpRequest, true, payload)
	switch {
	case err != nil:
		return fmt.Errorf("control: %w", err)
	case ok:
		return nil
	case len(reason) == 0:
		return fmt.Errorf("control: it knows no request %q; is it another version of run-kernel?", dumpRequest)
	}
	return &RefusedError{string(reason)}
}

// Serial connects to the guest's serial port. What it wrote last comes first.
func (c *Client) Serial() (io.ReadWriteCloser, error) { return c.open(serialChannel) }

// Debugger connects to the stub for gdb. The guest stops.
func (c *Client) Debugger() (io.ReadWriteCloser, error) { return c.open(debuggerChannel) }

func (c *Client) open(kind string) (io.ReadWriteCloser, error) {
	channel, requests, err := c.OpenChannel(kind, nil)
	var refused *ssh.OpenChannelError
	switch {
	case errors.As(err, &refused):
		return nil, &RefusedError{refused.Message}
	case err != nil:
		return nil, fmt.Errorf("control: %w", err)
	}
	go ssh.DiscardRequests(requests)
	return channel, nil
}
