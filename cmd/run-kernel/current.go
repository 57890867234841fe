// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/control"
	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/internal/event"
)

// A currentGuest is the guest that runs, whichever that is, for those who act on
// it: other processes, and who has its serial port.
type currentGuest struct {
	app    *app
	server *control.Server // nil without a tree

	mu sync.Mutex
	vm *boot.VM // nil when none runs
}

// started takes a guest whose agent doesn't answer yet.
func (c *currentGuest) started(vm *boot.VM) {
	c.mu.Lock()
	c.vm = vm
	c.publish(vm, false)
	c.mu.Unlock()
	go func() {
		<-vm.Done()
		c.gone(vm)
	}()
	if c.app.config.Run.Debug {
		c.app.events.Emit(event.Notice{Text: "the guest waits for a debugger: run-kernel gdb, in another terminal"})
	}
}

// answers tells that the guest's agent does now.
func (c *currentGuest) answers(vm *boot.VM) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.publish(vm, true)
}

// gone tells that a guest has ended. Another may have taken its place.
func (c *currentGuest) gone(vm *boot.VM) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.vm != vm {
		return
	}
	c.vm = nil
	if c.server != nil {
		c.server.SetGuest(nil)
	}
}

func (c *currentGuest) publish(vm *boot.VM, answers bool) {
	if c.server == nil {
		return
	}
	g := &control.Guest{
		Image:  vm.Kernel,
		Serial: func() io.ReadWriteCloser { return vm.Serial() },
		Debugger: func() (io.ReadWriteCloser, error) {
			d, err := vm.Debugger()
			if err != nil {
				return nil, err // not a nil *Debugger in an interface
			}
			return d, nil
		},
		Dump:     vm.Dump,
		PowerOff: vm.PowerOff,
		Crash:    func() *guest.Crash { return crashOf(vm) },
	}
	if answers {
		g.Client = vm.Client()
	}
	c.server.SetGuest(g)
}

// goneTime is how long a guest whose agent has gone may take to end.
const goneTime = time.Second

// crashOf is the crash of a guest that ends now; nil when it has another reason, or
// goes on.
func crashOf(vm *boot.VM) *guest.Crash {
	select {
	case <-vm.Done():
	case <-time.After(goneTime):
		return nil
	}
	var crash *boot.CrashError
	if !errors.As(vm.Err(), &crash) {
		return nil
	}
	return &guest.Crash{Message: crash.Crash.Message, Cause: crash.Crash.Cause}
}

// get returns the guest that runs, or nil.
func (c *currentGuest) get() *boot.VM {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.vm
}

// Write sends what was typed to the guest's serial port, and nowhere when there is
// no guest.
func (c *currentGuest) Write(p []byte) (int, error) {
	if vm := c.get(); vm != nil {
		_, _ = vm.Type(p) // it fails when the guest has gone
	}
	return len(p), nil
}
