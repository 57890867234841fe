// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/event"
)

// dyingTime is how long a guest that panicked has to print the rest and reset.
const dyingTime = time.Second

// outOfMemory is ENOMEM as qemu words it.
const outOfMemory = "Cannot allocate memory"

func (vm *VM) stopDaemons() {
	for _, d := range vm.daemons {
		d.Close()
	}
	_ = vm.log.Close()
}

// supervise waits for the end of the VM, whatever its cause, and clears up.
func (vm *VM) supervise(events event.Sink, closeOurs func()) {
	defer close(vm.done)
	daemon := make(chan *virtiofs.Daemon, len(vm.daemons))
	for _, d := range vm.daemons {
		go func() {
			<-d.Done()
			daemon <- d
		}()
	}
	var asked bool
	var dead *virtiofs.Daemon
	crashed := vm.console.Crashed()
	var reported string
	report := func() {
		if c := vm.console.Crash(); c != nil && c.Message != reported {
			reported = c.Message
			events.Emit(event.GuestCrashed{Message: c.Message})
		}
	}
	for ended := false; !ended; {
		ended = true
		select {
		case <-vm.stopping:
			asked = true
		case <-vm.qemu.Done():
		case <-crashed:
			crashed = nil
			report()
			ended = false // after an oops the guest may go on
		case <-vm.stderr.failed:
			// qemu has stopped the guest, and waits for somebody to look at it.
		case <-vm.console.Panicked():
			// It resets itself, which ends qemu; the trace comes before.
			vm.wait(dyingTime)
		case dead = <-daemon:
			// When qemu ends its daemons do so, too, and may be seen first.
			if vm.wait(dyingTime) {
				dead = nil
			}
		}
	}
	vm.qemu.Kill()
	qemuErr := vm.qemu.Wait()
	// What qemu wrote before its end is still in the socket.
	<-vm.console.Done()
	<-vm.qmp.Done()
	if !asked {
		report()
	}
	crash, reason := vm.console.Crash(), vm.qmp.ShutdownReason()
	if reason == "guest-reset" {
		crash = vm.console.Death()
	}
	var failed *virtiofs.Daemon
	if !asked && reason == "" {
		// A daemon that failed ends qemu as well, and qemu may be seen first.
		failed = vm.failedDaemon(dyingTime)
	}
	closeOurs()
	vm.stopDaemons()
	if err := vm.console.LogErr(); err != nil {
		events.Emit(event.Warning{Text: fmt.Sprintf("the log of the console is incomplete: %v", err)})
	}

	tail := vm.console.Tail()
	switch {
	case asked:
	case crash != nil && crash.Panic:
		vm.err = &CrashError{Crash: *crash, Tail: tail}
	case dead != nil:
		vm.err = &DeathError{Reason: dead.Err().Error(), Tail: tail, Host: len(tail) == 0}
	case reason == "guest-shutdown":
	case failed != nil:
		vm.err = &DeathError{Reason: failed.Err().Error() + "; then " + vm.qemuEnd(qemuErr), Tail: tail, Host: len(tail) == 0}
	default:
		vm.err = vm.death(reason, qemuErr, tail)
	}
}

// failedDaemon returns a daemon that has ended with an error. Without qemu all of
// them end; it waits for that for at most d.
func (vm *VM) failedDaemon(d time.Duration) *virtiofs.Daemon {
	over := time.After(d)
	for _, d := range vm.daemons {
		select {
		case <-d.Done():
			if d.Wait() != nil {
				return d
			}
		case <-over:
			return nil
		}
	}
	return nil
}

// qemuEnd says how qemu ended, with what it said.
func (vm *VM) qemuEnd(err error) string {
	text := "qemu ended"
	if err != nil {
		text += ": " + err.Error()
	}
	if said := vm.stderr.String(); said != "" {
		text += ": " + said
	}
	return text
}

// resetHint is what to do about a guest that resets itself before its console works.
func resetHint(name string) string {
	hint := "is the image a kernel for this machine?"
	if g := arch.Of(name).Guest; g != nil && g.EarlyPrintk != "" {
		hint += " --kernel-extra-args " + g.EarlyPrintk + " may show more"
	}
	return hint
}

// death says why qemu ended by itself.
func (vm *VM) death(reason string, qemuErr error, tail []string) error {
	select {
	case text := <-vm.initErr:
		return &InitError{Reason: text, Tail: tail}
	default:
	}
	if e := vm.kvmDeath(reason, qemuErr, tail); e != nil {
		return e
	}
	if reason == "guest-reset" {
		if len(tail) == 0 {
			return &DeathError{
				Reason: silentReset,
				hint:   resetHint(vm.arch),
			}
		}
		return &DeathError{Reason: "the guest reset itself", Tail: tail}
	}
	if strings.Contains(vm.stderr.String(), outOfMemory) {
		return &DeathError{Reason: vm.qemuEnd(qemuErr), Tail: tail, Host: true, hint: "this machine has too little memory left: --memory gives the guest less"}
	}
	if killedForMemory(qemuErr) {
		return &DeathError{Reason: vm.qemuEnd(qemuErr), Tail: tail, Host: true, hint: "this is how programs end that a machine or a container has no memory for, and `dmesg` tells: --memory gives the guest less"}
	}
	return &DeathError{Reason: vm.qemuEnd(qemuErr), Tail: tail, Host: vm.refused(qemuErr, tail), hint: "`--dry-run` prints the command line of qemu"}
}

// refused says whether qemu ended before there was a guest, and not for the kernel's sake.
func (vm *VM) refused(qemuErr error, tail []string) bool {
	var exit *exec.ExitError
	return len(tail) == 0 && errors.As(qemuErr, &exit) && exit.ExitCode() > 0 && !strings.Contains(vm.stderr.String(), "kernel")
}

// wait waits for the end of qemu, for at most d, and says whether it ended.
func (vm *VM) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-vm.qemu.Done():
		return true
	case <-vm.stopping:
	case <-t.C:
	}
	return false
}
