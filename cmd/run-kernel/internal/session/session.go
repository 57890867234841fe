// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
)

// ErrStopped is the cause of the end that `run-kernel stop` asks for.
var ErrStopped = errors.New("ended by run-kernel stop")

// Options say what a session works on and for whom.
type Options struct {
	Command  string // as status shows it: watch, boot, kconfig fix …
	Name     string // of the VM; empty: it has none
	Config   *config.Config
	Dir      string // the working directory, in the guest as well
	Terminal *Terminal
	Events   event.Sink

	// Baseline is the log that new lines are told against; nil: the one that is kept of
	// good turns.
	Baseline *console.Baseline
	// Turns has the turns of the loop measured and kept, for the function Turns.
	Turns bool
}

// A Session is run-kernel at work.
type Session struct {
	Options
	Kernel *prepare.Kernel // of the source tree; nil without one

	source  source
	place   place
	verdict verdict
	keeper  commandsKeeper
	command *commandFiles // of the loop

	mu     sync.Mutex
	guest  *Guest          // that runs; nil without any
	before time.Time       // when the build before the last one was linked; zero: unknown
	noted  map[string]bool // what boots have noted
}

// A source says how a guest is booted on an image.
type source interface {
	BootOptions(ctx context.Context, image, dir string) (boot.Options, error)
}

// Open begins a session on a source tree, and takes its build directory so that no
// other run-kernel works in it: the error is a *control.BusyError where one does. A
// VM with a name takes that, and the build directory only while it builds. The
// context that Open returns ends with the cause ErrStopped when another terminal
// asks for that.
func Open(ctx context.Context, tree *kbuild.Tree, o Options) (context.Context, *Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	if o.Turns {
		o.Events = (&recorder{tree: tree, next: o.Events}).sink
	}
	k := &prepare.Kernel{Tree: tree, Config: o.Config, Events: o.Events, VM: o.Name}
	p, err := occupy(tree, o, func() { cancel(ErrStopped) })
	if err != nil {
		cancel(err)
		return nil, nil, err
	}
	remember(tree)
	return ctx, &Session{Options: o, Kernel: k, source: k, place: p, verdict: newVerdict(o.Config.Verdict)}, nil
}

// OpenImage begins a session without a source tree, to boot the image that the
// configuration names. Other terminals don't find its guest.
func OpenImage(o Options) *Session {
	return &Session{
		Options: o, source: &prepare.Foreign{Config: o.Config, Events: o.Events}, place: nowhere{}, verdict: newVerdict(o.Config.Verdict),
	}
}

// Close gives the build directory back. The guest must have been stopped.
func (s *Session) Close() error {
	s.keeper.running.Wait()
	return s.place.Close()
}

// enter tells everybody that a phase begins.
func (s *Session) enter(p event.Phase) {
	s.place.SetPhase(string(p))
	s.Events.Emit(event.PhaseStarted{Phase: p})
}

// CheckHost finds out whether this host can boot what a build makes, before that
// takes its minutes.
func (s *Session) CheckHost(ctx context.Context) error {
	options, err := s.source.BootOptions(ctx, "", s.Dir)
	if err != nil {
		return err
	}
	_, err = boot.Cmdline(ctx, options)
	return err
}
