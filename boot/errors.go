// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/boot/guest"
)

// A CrashError says that the guest's kernel panicked or reported an oops.
type CrashError struct {
	Crash console.Crash
	Tail  []string // last lines of the console
}

func (e *CrashError) Error() string {
	text := "the guest's kernel crashed: " + e.Crash.Message
	if e.Crash.Cause != "" {
		text += " (after: " + e.Crash.Cause + ")"
	}
	return text
}

// A TimeoutError says that the guest was silent for too long before it answered,
// or that a command in it took too long.
type TimeoutError struct {
	Silent  time.Duration
	Command bool   // it answered, and a command took so long
	Stall   string // what the kernel reported of a processor that stands still
	Tail    []string
}

func (e *TimeoutError) Error() string {
	if e.Command {
		return fmt.Sprintf("the command took longer than %s", e.Silent)
	}
	if len(e.Tail) == 0 {
		return fmt.Sprintf("the guest wrote nothing at all for %s", e.Silent.Round(time.Second))
	}
	text := fmt.Sprintf("the guest neither answered nor wrote anything for %s", e.Silent.Round(time.Second))
	if e.Stall != "" {
		text += ": its kernel hangs, " + e.Stall
	}
	return text
}

// Hint says what the silence often means.
func (e *TimeoutError) Hint() string {
	if e.Command {
		return ""
	}
	if len(e.Tail) == 0 {
		return "is the image a kernel for this architecture, with CONFIG_SERIAL_8250_CONSOLE=y? `run-kernel kconfig check` lists what it needs; " +
			"with KVM, try --accel tcg"
	}
	if e.Stall != "" {
		return "the log of the console has where each processor was; `run-kernel boot --debug` and `run-kernel gdb` show more"
	}
	return "`run-kernel kconfig check` lists what the guest needs; --boot-timeout allows more time"
}

// A DeathError says that the VM ended although nobody asked for it.
type DeathError struct {
	Reason string
	Tail   []string
	hint   string
}

func (e *DeathError) Error() string { return "the VM died: " + e.Reason }

// Hint is a next step, or empty.
func (e *DeathError) Hint() string { return e.hint }

// An InitError says that the guest's init couldn't bring up the userland.
type InitError struct {
	Reason string
	Tail   []string
}

func (e *InitError) Error() string { return "the guest's init failed: " + e.Reason }

// Hint names the command that mends what the kernel lacks.
func (e *InitError) Hint() string {
	if e.lostInterrupt() {
		return "try again; on a busy host, fewer processors (--smp) help"
	}
	return "`run-kernel kconfig fix` enables the options that the guest needs; then build again"
}

// lostInterrupt says whether the cause is in qemu's emulation.
func (e *InitError) lostInterrupt() bool { return strings.HasPrefix(e.Reason, guest.NoPort) }

// ConsoleTail returns the last lines of the console that an error of a VM
// carries.
func ConsoleTail(err error) []string {
	var (
		crash   *CrashError
		timeout *TimeoutError
		death   *DeathError
		init    *InitError
	)
	switch {
	case errors.As(err, &crash):
		return crash.Tail
	case errors.As(err, &timeout):
		return timeout.Tail
	case errors.As(err, &death):
		return death.Tail
	case errors.As(err, &init):
		return init.Tail
	}
	return nil
}

// A shareError says that a directory can't be shared.
type shareError struct {
	tag string
	err error
}

func (e *shareError) Error() string { return fmt.Sprintf("share %q: %v", e.tag, e.err) }
func (e *shareError) Unwrap() error { return e.err }
func (e *shareError) Hint() string  { return "a share is a directory of this host; mkdir makes it" }
