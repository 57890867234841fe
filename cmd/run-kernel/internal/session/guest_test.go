// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
)

// The loop boots often, and notes once that there is no KVM.
func TestNotedOnce(t *testing.T) {
	s := new(Session)
	var got []event.Event
	for range 2 {
		events := s.once(func(e event.Event) { got = append(got, e) })
		events.Emit(event.Notice{Text: "no KVM"})
		events.Emit(event.Warning{Text: "it hangs"})
	}
	if len(got) != 3 {
		t.Errorf("%+v", got)
	}
}

// The connection to the agent may end while the guest goes on, when another process of
// the guest's has written to the agent's port.
func TestConnectionEndsAlone(t *testing.T) {
	for _, c := range []struct {
		name   string
		cancel bool // the user doesn't wait
		is     func(error) bool
	}{
		{"for good", false, func(err error) bool { return errors.As(err, new(*boot.DeathError)) }},
		{"a signal", true, func(err error) bool { return errors.Is(err, proc.SignalError(syscall.SIGTERM)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := lostTime
			defer func() { lostTime = before }()
			lostTime = limit
			if !c.cancel {
				lostTime = 10 * time.Millisecond
			}
			l := newLab(t, "answers")
			ctx, s := l.open()
			ctx, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			ended := make(chan error, 1)
			go func() {
				_, err := s.Once(ctx, Once{Argv: []string{"echo up; exec sleep 1000"}})
				ended <- err
			}()
			for began := time.Now(); l.output() != "up\n"; time.Sleep(5 * time.Millisecond) {
				if time.Since(began) > limit {
					t.Fatal("the command doesn't start")
				}
			}
			if err := s.current().vm.Client().Close(); err != nil {
				t.Fatal(err)
			}
			if c.cancel {
				time.Sleep(100 * time.Millisecond) // else the signal ends the command
				cancel(proc.SignalError(syscall.SIGTERM))
			}
			select {
			case err := <-ended:
				if !c.is(err) {
					t.Errorf("got %v", err)
				}
			case <-time.After(limit):
				t.Fatal("it goes on")
			}
		})
	}
}
