// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/watch"
)

// A Guest is a VM that a session has started.
type Guest struct {
	vm      *boot.VM
	session *Session
	log     string // path of the console's; empty: none is kept
	traces  *traces
	asked   atomic.Bool   // Stop was called
	ended   chan struct{} // closed when its end has been reported

	mu      sync.Mutex
	modules map[string]kbuild.ModuleFile // that it may have, as they were when it was booted or got them
}

// once passes on what a boot notes, such as that there is no KVM, unless a boot before has
// noted it: the loop boots often.
func (s *Session) once(events event.Sink) event.Sink {
	return func(e event.Event) {
		if n, ok := e.(event.Notice); ok {
			s.mu.Lock()
			known := s.noted[n.Text]
			if s.noted == nil {
				s.noted = make(map[string]bool)
			}
			s.noted[n.Text] = true
			s.mu.Unlock()
			if known {
				return
			}
		}
		events.Emit(e)
	}
}

// boot starts a guest and returns once it answers. Other terminals can act on it
// from its start on.
func (s *Session) boot(ctx context.Context, o boot.Options) (*Guest, error) {
	var g *Guest
	var modules map[string]kbuild.ModuleFile
	if s.Kernel != nil {
		modules = s.Kernel.Tree.ModuleFiles()
	}
	t := s.newTraces(o.Kernel)
	o.Events = s.once(o.Events)
	o.Reported = t.take
	more := o.Started
	o.Started = func(vm *boot.VM) {
		g = &Guest{vm: vm, session: s, traces: t, log: o.ConsoleLog, ended: make(chan struct{}), modules: modules}
		s.started(g)
		if more != nil {
			more(vm)
		}
	}
	if _, err := boot.Start(ctx, o); err != nil {
		s.showEvidence(ctx, o.Kernel, err)
		t.wait(ctx)
		t.stop()
		t.close()
		return nil, err
	}
	go func() {
		<-g.vm.Done()
		t.close()
	}()
	return g, nil
}

// started takes a guest whose agent doesn't answer yet.
func (s *Session) started(g *Guest) {
	s.mu.Lock()
	s.guest = g
	s.place.SetGuest(g.shown(false))
	s.mu.Unlock()
	go func() {
		<-g.vm.Done()
		s.gone(g)
	}()
	if s.Config.Run.Debug {
		s.Events.Emit(event.Notice{Text: "the guest waits for a debugger: run-kernel gdb, in another terminal"})
	}
}

// answers tells that the guest's agent does now.
func (s *Session) answers(g *Guest) {
	if err := s.place.offerSSH(); err != nil {
		s.Events.Emit(event.Warning{Text: err.Error(), Hint: "run-kernel ssh and scp need it; all else works"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place.SetGuest(g.shown(true))
}

// gone tells that a guest has ended. Another may have taken its place.
func (s *Session) gone(g *Guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guest == g {
		s.guest = nil
		s.place.SetGuest(nil)
	}
}

// current returns the guest that runs, or nil.
func (s *Session) current() *Guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.guest
}

// shown is the guest as other terminals see it.
func (g *Guest) shown(answers bool) *control.Guest {
	c := &control.Guest{
		Image:  g.vm.Kernel,
		Serial: func() io.ReadWriteCloser { return g.vm.Serial() },
		Debugger: func() (io.ReadWriteCloser, error) {
			d, err := g.vm.Debugger()
			if err != nil {
				return nil, err // not a nil *Debugger in an interface
			}
			return d, nil
		},
		Dump:     g.vm.Dump,
		PowerOff: g.vm.PowerOff,
		Crash:    g.crash,
	}
	if answers {
		c.Client = g.vm.Client()
	}
	return c
}

// goneTime is how long a guest whose agent has gone may take to end.
const goneTime = time.Second

// crash is that of a guest that ends now; nil when it has another reason, or goes
// on.
func (g *Guest) crash() *guest.Crash {
	select {
	case <-g.vm.Done():
	case <-time.After(goneTime):
		return nil
	}
	var crash *boot.CrashError
	if !errors.As(g.vm.Err(), &crash) {
		return nil
	}
	return &guest.Crash{Message: crash.Crash.Message, Cause: crash.Crash.Cause}
}

// awaitEnd waits for the end of the guest, or for the user's request for it.
func (g *Guest) awaitEnd(ctx context.Context) error {
	select {
	case <-g.vm.Done():
		return g.vm.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lostTime is how long a guest may take to end after the connection to its agent has. It
// changes in tests only.
var lostTime = 30 * time.Second

// lost returns an error unless the guest ends, as it mostly does, after the error gone
// from the connection to its agent: it goes on when another process of the guest's has
// written to the agent's port. When ctx ends first, its cause is returned.
func (g *Guest) lost(ctx context.Context, gone error) error {
	select {
	case <-g.vm.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(lostTime):
		return &boot.DeathError{Reason: gone.Error(), Tail: g.vm.Tail()}
	}
}

// reportEnd tells the user of the guest's end, once it comes.
func (g *Guest) reportEnd() {
	<-g.vm.Done()
	g.session.gone(g)
	if err := g.vm.Err(); err != nil {
		g.traces.waitShortly(context.Background())
		g.session.Events.Emit(event.VMStopped{Reason: err.Error(), Tail: g.vm.Tail()})
	} else if !g.asked.Load() {
		g.session.Events.Emit(event.VMStopped{Reason: "the guest powered itself off"})
	}
	close(g.ended)
}

// Done implements watch.VM.
func (g *Guest) Done() <-chan struct{} { return g.ended }

// Stop implements watch.VM.
func (g *Guest) Stop() {
	g.asked.Store(true)
	g.traces.stop()
	_ = g.vm.Stop()
}

// StatusReport is the status of a command during which the kernel reported a problem.
const StatusReport = 101

// Exec implements watch.VM.
func (g *Guest) Exec(ctx context.Context) {
	s := g.session
	s.command.await(ctx)
	began := time.Now()
	command := s.Config.Watch.Exec
	status, err := boot.Run(ctx, g.vm.Client(), boot.Command{
		Shell: command, User: s.Config.Run.User, Stdout: s.Events.Writer(false), Stderr: s.Events.Writer(true),
	})
	switch {
	case err == nil:
		finished := event.CommandFinished{Command: command, Status: status, Elapsed: time.Since(began)}
		g.vm.Sync()
		if failing := g.failing(); len(failing) > 0 {
			g.traces.waitShortly(ctx)
			finished.Status, finished.Report = StatusReport, failing[0].Title
		}
		s.Events.Emit(finished)
		g.tellNews(finished.Status == 0)
	case errors.Is(err, watch.ErrReplaced), errors.Is(err, watch.ErrEnded):
		// The guest went, which is reported by itself.
	case errors.Is(err, boot.ErrGone):
		// Likewise, unless it goes on.
		if err := g.lost(ctx, err); err != nil && ctx.Err() == nil {
			s.Events.Emit(event.Failed{Err: err})
		} else if err == nil {
			// Before the turn ends, for which there is no status.
			select {
			case <-g.ended:
			case <-ctx.Done():
			}
		}
	case isOurEnd(err):
		// So is our own end.
	default:
		s.Events.Emit(event.Failed{Err: err})
	}
}

// isOurEnd says whether our own end is the cause of an error.
func isOurEnd(err error) bool {
	return errors.As(err, new(proc.SignalError)) || errors.Is(err, ErrStopped) || errors.Is(err, ErrLeft) || errors.Is(err, errQuit)
}
