// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/metaspace/run-kernel/internal/event"
)

// ErrOvertaken is the cause with which a build ends when a newer change makes
// it useless.
var ErrOvertaken = errors.New("overtaken by a newer change")

// ErrReplaced is the cause with which the boot of a guest, or a command in it,
// ends when a newer kernel takes its place.
var ErrReplaced = errors.New("replaced by a newer kernel")

// An Image is what a build made.
type Image struct {
	Path string
	New  bool // linked, not up to date
}

// A Pass does what the loop decides. Its methods report to the user
// themselves, errors included.
type Pass interface {
	// Build checks the configuration and runs make.
	Build(ctx context.Context) (Image, error)
	// Boot starts a guest and returns once it answers.
	Boot(ctx context.Context, image string) (VM, error)
	// Relevant returns those of the changed paths that matter.
	Relevant(paths []string) []string
}

// A VM is a guest that runs.
type VM interface {
	Done() <-chan struct{}
	Stop()
	// Exec runs the loop's command; it reports output and status itself.
	Exec(ctx context.Context)
}

// A Loop connects a watcher's changes, the rule of Step, and a Pass.
type Loop struct {
	Pass    Pass
	Changes <-chan Set
	Root    string // for messages: paths below it are shown without it
	Exec    bool   // run the VM's Exec in each new guest
	Events  event.Sink

	inputs chan Input
	booted chan bootResult

	state       State
	cancelBuild context.CancelCauseFunc
	guest       context.Context // ends when the guest is to be stopped
	cancelGuest context.CancelCauseFunc
	vm          VM // nil while there is none that answers
}

type bootResult struct {
	vm  VM
	err error
}

// Run loops until ctx ends and everything that was started has been stopped.
func (l *Loop) Run(ctx context.Context) {
	l.inputs, l.booted = make(chan Input), make(chan bootResult)
	l.state.Exec = l.Exec
	quit := ctx.Done()
	if l.apply(Started{}) {
		return
	}
	for {
		var in Input
		select {
		case in = <-l.inputs:
		case b := <-l.booted:
			in = l.takeGuest(b)
		case set, ok := <-l.Changes:
			if !ok {
				l.Changes = nil
				continue
			}
			if !l.matters(set) {
				continue
			}
			in = FilesChanged{}
		case <-quit:
			quit = nil
			in = QuitAsked{}
		}
		if l.apply(in) {
			return
		}
	}
}

// matters reports the changes that do.
func (l *Loop) matters(set Set) bool {
	if set.Rescan {
		l.Events.Emit(event.Notice{Text: "too many changes at once to tell which: building what make finds"})
		return true
	}
	paths := l.Pass.Relevant(set.Paths)
	if len(paths) == 0 {
		return false
	}
	e := event.Changed{Total: len(paths)}
	for _, p := range paths[:min(len(paths), 3)] {
		if rel, err := filepath.Rel(l.Root, p); err == nil && filepath.IsLocal(rel) {
			p = rel
		}
		e.Paths = append(e.Paths, p)
	}
	l.Events.Emit(e)
	return true
}

// apply steps and carries out the effects; it says whether the loop has ended.
func (l *Loop) apply(in Input) bool {
	if in == (GuestGone{}) {
		l.vm = nil
	}
	state, effects := Step(l.state, in)
	l.state = state
	for _, e := range effects {
		switch e {
		case StartBuild:
			l.startBuild()
		case CancelBuild:
			l.cancelBuild(ErrOvertaken)
		case StartGuest:
			l.startGuest()
		case StopGuest:
			l.cancelGuest(ErrReplaced)
			if l.vm != nil {
				go l.vm.Stop()
			}
		case StartExec:
			go l.vm.Exec(l.guest)
		case Announce:
			l.Events.Emit(event.Waiting{VM: l.state.Guest == Running})
		case Exit:
			return true
		}
	}
	return false
}

func (l *Loop) startBuild() {
	// Not below Run's context: its end is an input, and the rule decides.
	ctx, cancel := context.WithCancelCause(context.Background())
	l.cancelBuild = cancel
	go func() {
		image, err := l.Pass.Build(ctx)
		cancel(nil)
		l.inputs <- Built{Image: image.Path, New: image.New, OK: err == nil}
	}()
}

func (l *Loop) startGuest() {
	l.guest, l.cancelGuest = context.WithCancelCause(context.Background())
	ctx, image := l.guest, l.state.Image
	go func() {
		vm, err := l.Pass.Boot(ctx, image)
		l.booted <- bootResult{vm, err}
	}()
}

func (l *Loop) takeGuest(b bootResult) Input {
	if b.err != nil {
		l.cancelGuest(b.err)
		return Booted{OK: false}
	}
	l.vm = b.vm
	cancel := l.cancelGuest
	go func() {
		<-b.vm.Done()
		cancel(ErrReplaced)
		l.inputs <- GuestGone{}
	}()
	return Booted{OK: true}
}
