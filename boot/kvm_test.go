// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/event"
)

// startWith boots with a KVM that is chosen by auto, or asked for. The second boot, if
// there is one, has a guest that answers. It returns the texts of the warnings.
func startWith(t *testing.T, accel, guest string, timeout time.Duration) (vm *VM, warnings []string, err error) {
	t.Helper()
	l := newLab(t, guest)
	o := l.options()
	o.Accel, o.Timeout = accel, timeout
	o.Events = func(e event.Event) {
		if w, ok := e.(event.Warning); ok {
			warnings = append(warnings, w.Text)
			l.Become(t, "answers")
		}
	}
	p, err := newPlan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p.accel = qemu.KVM // whatever this host has
	vm, err = p.boot(t.Context())
	if err == nil {
		t.Cleanup(func() { _ = vm.Stop() })
	}
	return vm, warnings, err
}

// With auto, a KVM that doesn't work costs one line and some time.
func TestKVMThatFails(t *testing.T) {
	for guest, want := range map[string]string{
		"aborts":    "under KVM qemu ended: signal: aborted: qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69: trying without KVM",
		"no KVM":    "under KVM qemu ended: exit status 1: ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy: trying without KVM",
		"reset":     "under KVM the guest reset itself without a word (a triple fault?): trying without KVM",
		"KVM stops": "KVM stopped the guest: KVM internal error. Suberror: 1: trying without KVM",
		"silent":    "under KVM the guest wrote nothing for 1s: trying without KVM",
	} {
		t.Run(guest, func(t *testing.T) {
			checkLeaks(t)
			silence := time.Minute // a busy host may need more than a second to start qemu
			if guest == "silent" {
				silence = time.Second
			}
			vm, warnings, err := startWith(t, "auto", guest, silence)
			if err != nil {
				t.Fatal(err)
			}
			if vm.Accel != qemu.TCG {
				t.Errorf("it runs by %s", vm.Accel)
			}
			if len(warnings) != 1 || !strings.HasPrefix(warnings[0], want) || strings.Contains(warnings[0], "\n") {
				t.Errorf("got %q", warnings)
			}
		})
	}
}

// What is asked for isn't replaced, and the message says what would do.
func TestKVMThatFailsAndWasAskedFor(t *testing.T) {
	for _, guest := range []string{"aborts", "no KVM", "reset", "KVM stops"} {
		t.Run(guest, func(t *testing.T) {
			checkLeaks(t)
			_, warnings, err := startWith(t, "kvm", guest, 20*time.Second)
			var death *DeathError
			if !errors.As(err, &death) || len(warnings) > 0 || !strings.Contains(death.Hint(), "--accel tcg") {
				t.Errorf("got %v, %q", err, warnings)
			}
		})
	}
}

// A failure that would be the same without KVM is told at once.
func TestFailureUnderKVM(t *testing.T) {
	for guest, want := range map[string]string{
		"error": "no such device", "panics": "Fatal exception", "resets": "the guest reset itself", "init fails": "no tmpfs",
	} {
		t.Run(guest, func(t *testing.T) {
			checkLeaks(t)
			_, warnings, err := startWith(t, "auto", guest, 0)
			if err == nil || !strings.Contains(err.Error(), want) || len(warnings) > 0 {
				t.Errorf("got %v, %q", err, warnings)
			}
		})
	}
}

// A guest that is silent on a busy host is given time by what it has had of the processors.
func TestStarved(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var now time.Duration
	for deadline := time.Now().Add(20 * time.Second); now < before+50*time.Millisecond; {
		if now, err = cpuTime(os.Getpid()); err != nil || time.Now().After(deadline) {
			t.Fatalf("after %s it is %s, %v", before, now, err)
		}
	}
	if got, err := cpuTime(1 << 30); err == nil {
		t.Errorf("of no process: %s", got)
	}
	for loadavg, want := range map[string]bool{
		"2.00 9.00 9.00 1/1 1\n": false, "2.01 0.00 0.00 1/1 1\n": true, "0.00 0.00 0.00 1/1 1\n": false, "": false, "x y": false,
	} {
		if got := overloaded(loadavg, 2); got != want {
			t.Errorf("%q: got %t", loadavg, got)
		}
	}
}
