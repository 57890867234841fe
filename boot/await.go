// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metaspace/run-kernel/boot/qemu"
)

const (
	// kvmSilence is when a guest under KVM that printed nothing is given up.
	kvmSilence = 15 * time.Second
	// kvmPatience is when it is on a host that was too busy to run it.
	kvmPatience = time.Minute
	// muteTime is how often the messages in the memory of a guest that has printed nothing
	// are searched for a panic. Where that comes before panic= is read, the guest stays.
	muteTime = 2 * time.Second
	// stallTime is when a guest without KVM is given up whose kernel has said that a
	// processor stands still. By then that has stood still for 21 s or more.
	stallTime = 5 * time.Second
)

// standstill says what stands still in a guest that has failed so, or nothing.
func standstill(err error) string {
	var silent *TimeoutError
	if errors.As(err, &silent) && silent.Stall != "" {
		return fmt.Sprintf("the guest's kernel hangs (%s)", silent.Stall)
	}
	var failed *InitError
	if errors.As(err, &failed) && failed.lostInterrupt() {
		return failed.Error()
	}
	return ""
}

// hasty says whether a guest that hangs is given up soon, and booted once more.
func (p *plan) hasty() bool {
	return p.accel == qemu.TCG && !p.options.Debug && p.options.Timeout > 0 && !p.again
}

func (vm *VM) awaitAgent(ctx context.Context, p *plan, handshake <-chan error) error {
	limit := p.options.Timeout
	var patience time.Duration // with a KVM that may not work, on a busy host
	if p.options.Debug {
		limit = 0
	} else if p.accel == qemu.KVM && p.options.Accel != string(qemu.KVM) && len(vm.console.Tail()) == 0 && (limit == 0 || limit > kvmSilence) {
		limit, patience = kvmSilence, kvmPatience
		if p.options.Timeout > 0 {
			patience = min(patience, p.options.Timeout)
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	peek := time.NewTicker(muteTime)
	defer peek.Stop()
	var failed error
	var giveUp, stalled <-chan time.Time
	stall := vm.console.Stalled()
	began, looked := time.Now(), time.Now()
	var held time.Time // when it last stood still for somebody
	for {
		select {
		case <-stall:
			stall = nil
			if p.hasty() {
				stalled = time.After(stallTime)
			}
		case <-stalled:
			if vm.holders.Load() > 0 {
				stalled = time.After(stallTime)
				continue
			}
			return vm.timeout(ctx)
		case err := <-handshake:
			if err == nil {
				return nil
			}
			// The port closes when the VM ends, and supervise knows more. A VM that
			// goes on has something else at its port.
			failed, giveUp = fmt.Errorf("agent: %w", err), time.After(2*dyingTime)
		case reason := <-vm.frozen:
			return &InitError{Reason: "systemd: " + reason, Tail: vm.console.Tail()}
		case <-giveUp:
			select {
			case <-vm.qemu.Done():
				giveUp = nil // supervise is about to say why
				continue
			default:
			}
			return &DeathError{Reason: failed.Error(), Tail: vm.console.Tail()}
		case <-vm.done:
			if vm.err == nil {
				return &DeathError{Reason: "the guest powered itself off before it answered", Tail: vm.console.Tail()}
			}
			return vm.err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-peek.C:
			if len(vm.console.Tail()) > 0 || p.options.Debug {
				peek.Stop()
				continue
			}
			seen, _ := vm.lookBriefly(ctx, true)
			if err := seen.panicked(); err != nil {
				return err
			}
		case <-tick.C:
			now := time.Now()
			if vm.holders.Load() > 0 {
				// Who debugs it, or dumps it, looks for why it hangs.
				held, began, looked = now, began.Add(now.Sub(looked)), now
				continue
			}
			looked = now
			if len(vm.console.Tail()) > 0 && !p.options.Debug {
				limit, patience = p.options.Timeout, 0
			}
			if silent := min(time.Since(vm.console.Heard()), now.Sub(held)); limit > 0 && silent > limit && !(silent < patience && vm.starved()) {
				return vm.timeout(ctx)
			}
			if err := vm.overdue(ctx, &p.options, began); err != nil {
				return err
			}
		}
	}
}

// manyLockups is how many reports of a processor that stands still end a boot. The
// kernel reports one again each 22 s or more, and a busy host is to blame for some.
const manyLockups = 5

// overdue is the error of a guest that talks, but won't answer.
func (vm *VM) overdue(ctx context.Context, o *Options, began time.Time) error {
	if o.Timeout == 0 || o.Debug {
		return nil
	}
	if lockups := vm.console.Lockups(); len(lockups) >= manyLockups {
		return vm.hung(ctx, TimeoutError{Stall: lockups[len(lockups)-1], Lockups: len(lockups)})
	}
	if took := time.Since(began); o.Limit > 0 && took > o.Limit {
		return vm.hung(ctx, TimeoutError{Boot: took})
	}
	return nil
}

// timeout is the error of a guest that hasn't answered.
func (vm *VM) timeout(ctx context.Context) error {
	return vm.hung(ctx, TimeoutError{Silent: time.Since(vm.console.Heard()), Stall: vm.console.Stall()})
}

// hung completes an error with what the guest is doing. Where that has panicked before its
// console worked, it is a *CrashError.
func (vm *VM) hung(ctx context.Context, e TimeoutError) error {
	e.Tail = vm.console.Tail() // before what the kernel answers
	e.Evidence = vm.Evidence(ctx)
	if err := e.Evidence.panicked(); err != nil {
		return err
	}
	return &e
}
