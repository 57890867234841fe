// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/report"
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

// A ReportError says that the guest's kernel went on, and has reported problems while
// the guest was up.
type ReportError struct {
	Reports []report.Report // at least one
}

func (e *ReportError) Error() string {
	text := "the guest's kernel reported a problem: " + e.Reports[0].Title
	if r := e.Reports[0]; r.File != "" {
		text += fmt.Sprintf(" (%s:%d)", r.File, r.Line)
	}
	if n := len(e.Reports) - 1; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	return text
}

// Hint says how to let a report pass, and where to find more.
func (e *ReportError) Hint() string {
	hint := "--allow " + quoteShell("^"+regexp.QuoteMeta(e.Reports[0].Title)+"$") + " lets it pass"
	if e.Reports[0].Headline != "" { // else only the taint told
		hint += "; run-kernel report finds all of them in the console's log"
	}
	return hint
}

// quoteShell quotes a word for a shell.
func quoteShell(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// A TimeoutError says that the guest was silent for too long before it answered,
// that it took too long to answer or reported again and again that it hangs, or that
// a command in it took too long.
type TimeoutError struct {
	Silent  time.Duration
	Command bool          // it answered, and a command took so long
	Boot    time.Duration // it took so long to boot, and wasn't silent; else 0
	Lockups int           // so often it reported that it hangs, and wasn't silent; else 0
	Stall   string        // what the kernel reported of a processor that stands still
	Tail    []string

	Evidence *Evidence // what the guest was doing; nil where nobody looked
}

func (e *TimeoutError) Error() string {
	if e.Command {
		return fmt.Sprintf("the command took longer than %s", e.Silent)
	}
	if e.Lockups > 0 {
		return fmt.Sprintf("the guest's kernel hangs, and has reported so %d times: %s", e.Lockups, e.Stall)
	}
	if e.Boot > 0 {
		return fmt.Sprintf("the guest hasn't answered for %s, although it writes", e.Boot.Round(time.Second))
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
	if e.Boot > 0 {
		return "the log of the console has what it does; --boot-limit allows more time"
	}
	if e.Evidence.busy() {
		return "its processors were in the functions above; `run-kernel boot --debug` and `run-kernel gdb` show more, --boot-timeout allows more time"
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
	Host   bool // this host is why: qemu didn't start, or had no memory
	hint   string
	kvm    bool // perhaps it is KVM that failed, and the guest would run without it
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

func (e *shareError) Error() string {
	if e.tag == rootTag {
		return "userland: " + e.err.Error()
	}
	return fmt.Sprintf("share %q: %v", e.tag, e.err)
}

func (e *shareError) Unwrap() error { return e.err }

func (e *shareError) Hint() string {
	if e.tag == rootTag {
		return "as root, debootstrap --variant=minbase trixie DIR makes one; --userland host takes this host's"
	}
	return "a share is a directory of this host; mkdir makes it"
}
