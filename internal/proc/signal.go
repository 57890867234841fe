// SPDX-License-Identifier: GPL-3.0-only

package proc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// A SignalError is the cause of a context that a signal to this process ended.
type SignalError syscall.Signal

func (e SignalError) Error() string { return "ended by " + unix.SignalName(syscall.Signal(e)) }
