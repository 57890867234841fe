// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/proc"
)

// silentReset is what is known of a guest that resets itself before its first message.
const silentReset = "the guest reset itself without a word (a triple fault?)"

// kvmFailures are what qemu says when KVM can't run the guest any more; it then stops
// the guest and goes on itself. See kvm_cpu_exec in accel/kvm/kvm-all.c of qemu.
var kvmFailures = []string{"KVM internal error", "kvm run failed", "KVM: entry failed", "KVM: unknown exit"}

// A kvmWatch keeps the end of qemu's standard error, and watches it for a KVM that
// fails.
type kvmWatch struct {
	tail   proc.Tail
	failed chan struct{} // closed when KVM has stopped the guest
	once   sync.Once
}

func newKVMWatch() *kvmWatch { return &kvmWatch{failed: make(chan struct{})} }

// Write implements io.Writer; it never fails.
func (w *kvmWatch) Write(p []byte) (int, error) {
	n, err := w.tail.Write(p)
	if w.failure() != "" {
		w.once.Do(func() { close(w.failed) })
	}
	return n, err
}

// String returns what is kept, without blanks around it.
func (w *kvmWatch) String() string { return w.tail.String() }

// failure is the line that says how KVM failed; empty: it didn't.
func (w *kvmWatch) failure() string {
	for line := range strings.Lines(w.String()) {
		for _, text := range kvmFailures {
			if strings.Contains(line, text) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}

// kvmDeath is the error of a VM that ended by itself as one does whose KVM doesn't
// work; nil: it ended otherwise.
func (vm *VM) kvmDeath(reason string, qemuErr error, tail []string) *DeathError {
	if vm.Accel != qemu.KVM || strings.Contains(vm.stderr.String(), outOfMemory) {
		return nil
	}
	const hint = "--accel tcg does without KVM, slowly"
	if line := vm.stderr.failure(); line != "" {
		return &DeathError{Reason: "KVM stopped the guest: " + line, Tail: tail, hint: hint, kvm: true}
	}
	if len(tail) > 0 {
		return nil
	}
	if reason == "guest-reset" {
		return &DeathError{Reason: silentReset, hint: "is the image a kernel for this machine? If so, KVM may not work: " + hint, kvm: true}
	}
	if gaveUp(qemuErr) || strings.Contains(strings.ToLower(vm.stderr.String()), "kvm") {
		return &DeathError{Reason: vm.qemuEnd(qemuErr), hint: hint, kvm: true}
	}
	return nil
}

// firstWord is more of a processor than a guest under KVM takes up to its first message,
// the firmware's and qemu's part included.
const firstWord = 5 * time.Second

// starved says whether a guest that is silent hasn't had the time to say anything, on a
// host with more to do than it can. A guest that hangs under a broken KVM was seen to use
// all that it gets.
func (vm *VM) starved() bool {
	used, err := cpuTime(vm.qemu.Pid())
	if err != nil || used > firstWord {
		return false
	}
	load, err := os.ReadFile("/proc/loadavg")
	return err == nil && overloaded(string(load), runtime.NumCPU())
}

// overloaded says whether /proc/loadavg tells of more in the last minute than cpus can do.
func overloaded(loadavg string, cpus int) bool {
	first, _, _ := strings.Cut(loadavg, " ")
	load, err := strconv.ParseFloat(first, 64)
	return err == nil && load > float64(cpus)
}

// cpuTime is how long a process has run on the processors, its threads together.
func cpuTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses, with whatever in it; see proc(5).
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const utime, stime, hertz = 14 - 3, 15 - 3, 100 // USER_HZ, the same wherever Go and KVM are
	if len(fields) <= stime {
		return 0, fmt.Errorf("/proc/%d/stat ends early", pid)
	}
	user, err1 := strconv.ParseInt(fields[utime], 10, 64)
	system, err2 := strconv.ParseInt(fields[stime], 10, 64)
	return time.Duration(user+system) * (time.Second / hertz), errors.Join(err1, err2)
}

// gaveUp says whether a program ended by a failed assertion, or by a signal like that.
func gaveUp(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGABRT || status.Signal() == syscall.SIGSEGV)
}

// withoutKVM says why a guest that has failed is booted again without KVM; empty: it
// isn't.
func (p *plan) withoutKVM(err error) string {
	if p.accel != qemu.KVM || p.options.Accel == string(qemu.KVM) {
		return ""
	}
	var silent *TimeoutError
	if errors.As(err, &silent) && len(silent.Tail) == 0 {
		return fmt.Sprintf("under KVM the guest wrote nothing for %s", silent.Silent.Round(time.Second))
	}
	var death *DeathError
	if errors.As(err, &death) && death.kvm {
		line, _, _ := strings.Cut(death.Reason, "\n")
		if strings.HasPrefix(line, "KVM") {
			return line
		}
		return "under KVM " + line
	}
	return ""
}
