// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/metaspace/run-kernel/internal/event"
)

// ErrOvertaken is the cause with which a build ends when a newer change makes
// it useless.
var ErrOvertaken = errors.New("overtaken by a newer change")

// ErrReplaced is the cause with which the boot of a guest, or a command in it,
// ends when a newer kernel takes its place, or newer modules do, or a newer command.
var ErrReplaced = errors.New("replaced by a newer kernel")

// ErrEnded is the cause with which a command in a guest ends when the guest
// ended by itself.
var ErrEnded = errors.New("the guest ended")

// An Image is what a build made.
type Image struct {
	Path    string
	New     bool // linked by this build, not up to date
	Modules bool // the guest that runs has older modules
	Proof   bool // Prove is to confirm it
}

// Actions do what the loop decides. The methods report to the user
// themselves, errors included, and return soon after ctx has ended. The cause
// of ctx is then ErrOvertaken, ErrReplaced, or that of Run's context.
type Actions interface {
	// Build checks the configuration and runs make.
	Build(ctx context.Context) (Image, error)
	// Prove runs the full make that confirms the last build. The image is new if the
	// build was wrong.
	Prove(ctx context.Context) (Image, error)
	// Boot starts a guest and returns once it answers. The guest goes on when
	// ctx ends after that.
	Boot(ctx context.Context, image string) (VM, error)
	// Relevant returns those of the changed paths that matter: what a build may read, and
	// what only the command does.
	Relevant(ctx context.Context, paths []string) (build, command []string)
	// Lost says that it isn't known what changed, and returns whether that may be something
	// that only the command reads.
	Lost() (command bool)
}

// A VM is a guest that runs.
type VM interface {
	// Done is closed when the guest is gone.
	Done() <-chan struct{}
	// Stop ends the guest. It may be gone already.
	Stop()
	// Swap replaces the guest's modules by those that were built, and says whether the
	// guest is as it should be. It reports to the user itself, and returns soon after
	// ctx has ended. The next guest waits for that.
	Swap(ctx context.Context) bool
	// Exec runs the loop's command; it reports output and status itself, and
	// returns soon after ctx has ended. The next guest waits for that.
	Exec(ctx context.Context)
}

// A Loop connects a watcher's changes, the rule of Step, and the Actions that follow from it.
type Loop struct {
	Actions Actions
	Changes <-chan Set
	Err     func() error // why Changes was closed; may be nil
	Asked   <-chan Input // what the user asks for; may be nil
	Root    string       // for messages: paths below it are shown without it
	Exec    bool         // run the VM's Exec in each new guest
	Swap    bool         // replace modules in the guest that runs, where that is all that was built
	Events  event.Sink

	inputs chan Input
	booted chan bootResult
	done   chan guestResult
	ended  chan struct{} // gets the end of a guest
	stops  sync.WaitGroup

	state       State
	quit        error // the cause of the end of Run's context
	cancelBuild context.CancelCauseFunc
	image       os.FileInfo     // of what was booted last
	guest       context.Context // ends when the guest is to be stopped
	cancelGuest context.CancelCauseFunc
	vm          VM                      // nil while there is none that answers
	executed    chan struct{}           // closed unless a command runs in the guest, or its modules are being replaced
	cancelExec  context.CancelCauseFunc // of the last of these; nil before the first
}

type bootResult struct {
	vm  VM
	err error
}

// A guestResult is what came of something that was done in the guest.
type guestResult struct {
	in       Input
	executed chan struct{} // of the Loop, when it began
}

// Run loops until ctx ends and everything that was started has been stopped.
//
// It survives the watcher: a guest that somebody works in must not end because
// an edit will not be noticed. But it warns, and once nothing runs any more it
// returns, as nothing could happen.
func (l *Loop) Run(ctx context.Context) {
	l.inputs, l.booted, l.done = make(chan Input), make(chan bootResult), make(chan guestResult)
	l.ended = make(chan struct{})
	l.state.Exec, l.state.Swap = l.Exec, l.Swap
	defer l.stops.Wait()
	changes, quit := l.Changes, ctx.Done()
	if l.apply(Started{}) {
		return
	}
	for {
		var in Input
		select {
		case in = <-l.inputs:
		case in = <-l.Asked:
		case b := <-l.booted:
			in = l.takeGuest(b)
		case d := <-l.done:
			if d.executed != l.executed {
				continue // it ended while the next one was begun
			}
			in = d.in
		case <-l.ended:
			l.awaitCommand()
			continue
		case set, ok := <-changes:
			switch {
			case ctx.Err() != nil:
				// The watcher may learn of the end sooner than we do.
				changes = nil
				continue
			case !ok:
				changes = nil
				l.warnBlind()
				in = WatchLost{}
			default:
				if slices.ContainsFunc(l.matters(ctx, set), l.apply) {
					return
				}
				continue
			}
		case <-quit:
			quit = nil
			l.quit = context.Cause(ctx)
			in = QuitAsked{}
		}
		if l.apply(in) {
			return
		}
	}
}

func (l *Loop) warnBlind() {
	w := event.Warning{
		Text: "changes are not seen any more: the watcher ended",
		Hint: "start `run-kernel watch` again; a guest that runs is left alone until then",
	}
	if l.Err != nil {
		if err := l.Err(); err != nil {
			w.Text = fmt.Sprintf("changes are not seen any more: %v", err)
		}
	}
	l.Events.Emit(w)
}

// matters reports the changes that do, and returns the inputs that they are.
func (l *Loop) matters(ctx context.Context, set Set) []Input {
	if set.Err != nil {
		w := event.Warning{Text: set.Err.Error()}
		if h := (interface{ Hint() string })(nil); errors.As(set.Err, &h) {
			w.Hint = h.Hint()
		}
		l.Events.Emit(w)
	}
	if set.Rescan {
		l.Events.Emit(event.Notice{Text: "too many changes at once to tell which: building what make finds"})
		if l.Actions.Lost() {
			return []Input{FilesChanged{}, CommandChanged{}}
		}
		return []Input{FilesChanged{}}
	}
	build, command := l.Actions.Relevant(ctx, set.Paths)
	var inputs []Input
	if len(build) > 0 {
		inputs = append(inputs, FilesChanged{})
	}
	if len(command) > 0 {
		inputs = append(inputs, CommandChanged{})
	}
	if len(inputs) == 0 {
		return nil
	}
	paths := slices.Concat(build, command)
	e := event.Changed{Total: len(paths)}
	for _, p := range paths[:min(len(paths), 3)] {
		if rel, err := filepath.Rel(l.Root, p); err == nil && filepath.IsLocal(rel) {
			p = rel
		}
		e.Paths = append(e.Paths, p)
	}
	l.Events.Emit(e)
	return inputs
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
		case StartProof:
			l.startProof()
		case CancelBuild:
			l.cancelBuild(l.cause(ErrOvertaken))
		case StartGuest:
			l.startGuest()
		case StopGuest:
			l.cancelGuest(l.cause(ErrReplaced))
			if l.vm != nil {
				l.stops.Go(l.vm.Stop)
			}
		case StartSwap:
			l.startSwap()
		case StartExec:
			l.startExec()
		case Announce:
			l.Events.Emit(event.Waiting{VM: l.state.Guest == Running, Broken: l.state.Failed, Paused: l.state.Paused})
		case Exit:
			return true
		}
	}
	if in == (Booted{OK: true}) {
		l.awaitGuest() // not sooner: now it is known whether a command runs
	}
	return false
}

// cause is why something is cancelled: err, unless all is.
func (l *Loop) cause(err error) error {
	if l.state.Quitting {
		return l.quit
	}
	return err
}

func (l *Loop) startBuild() {
	// Not below Run's context: its end is an input, and the rule decides.
	ctx, cancel := context.WithCancelCause(context.Background())
	l.cancelBuild = cancel
	booted := l.image
	go func() {
		image, err := l.Actions.Build(ctx)
		cancel(nil)
		in := Built{Image: image.Path, New: image.New, Modules: image.Modules, OK: err == nil, Proof: image.Proof}
		if in.OK && booted != nil && !in.New {
			// It may be up to date, and yet new to the guest: a build that failed
			// or was overtaken has often linked before its end.
			in.New = !same(booted, stat(image.Path))
		}
		l.inputs <- in
	}()
}

func (l *Loop) startProof() {
	ctx, cancel := context.WithCancelCause(context.Background())
	l.cancelBuild = cancel
	go func() {
		image, err := l.Actions.Prove(ctx)
		cancel(nil)
		l.inputs <- Proved{Image: image.Path, New: image.New, OK: err == nil}
	}()
}

func (l *Loop) startGuest() {
	l.guest, l.cancelGuest = context.WithCancelCause(context.Background())
	l.executed = make(chan struct{})
	close(l.executed)
	ctx, image := l.guest, l.state.Image
	l.image = stat(image)
	go func() {
		vm, err := l.Actions.Boot(ctx, image)
		l.booted <- bootResult{vm, err}
	}()
}

func (l *Loop) takeGuest(b bootResult) Input {
	if b.err != nil {
		l.cancelGuest(b.err)
		return Booted{OK: false}
	}
	l.vm = b.vm
	return Booted{OK: true}
}

// startExec runs the command, and ends it where it runs.
func (l *Loop) startExec() {
	l.afterCommand(func(ctx context.Context, vm VM) Input {
		vm.Exec(ctx)
		return Executed{}
	})
}

// startSwap ends the command, and replaces modules.
func (l *Loop) startSwap() {
	l.afterCommand(func(ctx context.Context, vm VM) Input {
		return Swapped{OK: vm.Swap(ctx)}
	})
}

// afterCommand ends the command, and does something in the guest then.
func (l *Loop) afterCommand(do func(context.Context, VM) Input) {
	before := l.executed
	if l.cancelExec != nil {
		l.cancelExec(ErrReplaced)
	}
	l.inGuest(func(ctx context.Context, vm VM) Input {
		<-before
		return do(ctx, vm)
	})
}

// inGuest does something in the guest. What comes of it is an input, unless the guest has
// ended.
func (l *Loop) inGuest(do func(context.Context, VM) Input) {
	ctx, cancel := context.WithCancelCause(l.guest)
	vm, done := l.vm, make(chan struct{})
	l.executed, l.cancelExec = done, cancel
	go func() {
		defer close(done)
		defer cancel(nil)
		in := do(ctx, vm)
		select {
		case <-ctx.Done():
		case <-vm.Done():
			// GuestGone is about to follow, and says it all.
		default:
			l.done <- guestResult{in, done}
		}
	}()
}

// awaitGuest reports the end of the guest.
func (l *Loop) awaitGuest() {
	vm, cancel := l.vm, l.cancelGuest
	go func() {
		<-vm.Done()
		cancel(ErrEnded)
		l.ended <- struct{}{}
	}()
}

// awaitCommand reports the end of the guest, which has come, once what was done in it has
// ended too.
func (l *Loop) awaitCommand() {
	executed := l.executed
	go func() {
		<-executed
		l.inputs <- GuestGone{}
	}()
}

// stat returns nil for a file that can't be read.
func stat(path string) os.FileInfo {
	st, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return st
}

func same(a, b os.FileInfo) bool {
	return b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
