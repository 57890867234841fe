// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"

	"github.com/metaspace/run-kernel/boot/control"
	"github.com/metaspace/run-kernel/internal/cycle"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
)

// errStopped is the cause with which `run-kernel stop` ends us.
var errStopped = errors.New("ended by run-kernel stop")

// A workplace is a kernel tree whose build directory is ours, or, for a VM with a
// name, will be while that builds.
type workplace struct {
	*cycle.Cycle
	control *control.Server
	command string
	stop    func()
}

// occupy finds the tree and takes its build directory, so that no other
// run-kernel works in it; for a VM with a name, it takes that. The context ends when another process asks for that;
// release gives the build directory back.
func (a *app) occupy(ctx context.Context, command string) (_ context.Context, w *workplace, release func(), err error) {
	tree, err := a.tree()
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() { cancel(errStopped) }
	server, err := control.Listen(control.Address{Build: tree.BuildDir, Name: a.name}, command, stop)
	if err != nil {
		cancel(err)
		return nil, nil, nil, err
	}
	w = &workplace{a.cycle(tree), server, command, stop}
	return ctx, w, func() {
		cancel(nil)
		_ = server.Close()
	}, nil
}

// lockBuild takes the build directory for a VM with a name, which needs it to
// build and no longer.
func (w *workplace) lockBuild() (release func(), err error) {
	if w.VM == "" {
		return func() {}, nil // it has it
	}
	server, err := control.Listen(control.Address{Build: w.Tree.BuildDir}, w.command, w.stop)
	if err != nil {
		return nil, err
	}
	server.SetPhase(string(event.PhaseBuild))
	return func() { _ = server.Close() }, nil
}

// offerSSH writes how ssh gets to the guest.
func (w *workplace) offerSSH() {
	if _, err := writeSSHConfig(w.Tree, w.VM, w.Config.Run.Hostname); err != nil {
		w.Events.Emit(event.Warning{Text: err.Error(), Hint: "run-kernel ssh and scp need it; all else works"})
	}
}

func (a *app) cycle(tree *kbuild.Tree) *cycle.Cycle {
	return &cycle.Cycle{Tree: tree, Config: &a.config.Config, Events: a.events, VM: a.name}
}
