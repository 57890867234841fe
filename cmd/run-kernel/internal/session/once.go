// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
)

// Once is one turn: build, boot, and a command or a shell in the guest.
type Once struct {
	NoBuild bool     // boot what is there
	Argv    []string // of the command; empty: a shell
	TTY     bool     // the command gets a terminal
	Timeout time.Duration
	News    bool // tell the lines of the log that no good turn has had
	// Built is called before the boot, once there is an image. It may be nil.
	Built func(ctx context.Context) error
}

// Once makes one turn, and returns the status of the command. An error that the
// guest's console may explain has been shown with its last lines.
func (s *Session) Once(ctx context.Context, o Once) (status int, err error) {
	if !o.NoBuild && s.Config.Run.Kernel == "" {
		// Without a build, the boot is about to show it.
		if err := s.CheckHost(ctx); err != nil {
			return 0, err
		}
	}
	image, err := s.image(ctx, o.NoBuild)
	if err != nil {
		return 0, err
	}
	if o.Built != nil {
		if err := o.Built(ctx); err != nil {
			return 0, err
		}
	}
	options, err := s.source.BootOptions(ctx, image, s.Dir)
	if err != nil {
		return 0, err
	}
	s.enter(event.PhaseBoot)
	if s.Config.SerialPort() == config.SerialTelnet {
		options.Console = &boot.Size{}
		if err := s.serveTelnet(ctx); err != nil {
			return 0, fmt.Errorf("serial port: %w", err)
		}
	}
	showTail, run := s.showTail, func(ctx context.Context, g *Guest) (int, error) { return g.run(ctx, o) }
	if s.onStdio(o.Argv) {
		lent, feed, takeBack, err := s.lendTerminal(ctx, &options)
		if err != nil {
			return 0, err
		}
		defer takeBack()
		ctx = lent
		run = func(ctx context.Context, g *Guest) (int, error) {
			feed()
			return 0, g.awaitShell(ctx, o.Timeout)
		}
		showTail = func(error) {} // the user has seen it
	}
	g, err := s.boot(ctx, options)
	if err != nil {
		showTail(err)
		return 0, err
	}
	defer g.Stop()
	s.enter(event.PhaseRun)
	s.answers(g)
	status, err = run(ctx, g)
	if err != nil {
		g.named(ctx, err)
	}
	if s.place.Stopped() {
		// The guest's processes end before the guest does.
		_ = g.awaitEnd(ctx)
		return 0, ErrStopped
	}
	if o.News || s.Baseline != nil {
		g.tellNews(err == nil && status == 0)
	}
	showTail(err)
	return status, err
}

// image returns the image to boot, and builds it unless that isn't wanted.
func (s *Session) image(ctx context.Context, noBuild bool) (string, error) {
	switch {
	case s.Config.Run.Kernel != "":
		return s.Config.Run.Kernel, nil
	case noBuild:
		if missing, err := s.Kernel.Missing(ctx); err == nil && len(missing) > 0 { // Image says what is wrong
			unfixed := &prepare.UnfixedError{Missing: missing}
			s.Events.Emit(event.Warning{Text: unfixed.Error(), Hint: unfixed.Hint()})
		}
		return s.Kernel.Image()
	}
	r, err := s.Build(ctx, Build{})
	if err != nil {
		return "", err
	}
	return r.Image, nil
}

// run runs a command, or a shell, in the guest and tells how it or the guest
// ended.
func (g *Guest) run(ctx context.Context, o Once) (int, error) {
	if o.Timeout > 0 {
		limited, stop := g.limit(ctx, o.Timeout)
		defer stop()
		ctx = limited
	}
	r := &g.session.Config.Run
	ssh := r.SSH || r.SSHCommand != "" || r.PingSSH
	var status int
	var err error
	if len(o.Argv) > 0 || !ssh {
		status, err = g.session.Terminal.Run(ctx, g.vm.Client(), o.Argv, o.TTY)
	}
	shell := len(o.Argv) == 0
	if ssh && status == 0 && err == nil {
		status, err = g.inSSH(ctx, o.TTY)
		shell = r.SSH && r.SSHCommand == ""
	}
	switch {
	case errors.Is(err, boot.ErrGone):
		if err := g.lost(ctx, err); err != nil {
			return 0, err
		}
		// The guest took the command with it.
		if err := g.vm.Err(); err != nil || shell {
			return 0, err
		}
		return 0, &boot.DeathError{Reason: "the guest was powered off before the command ended", Tail: g.vm.Tail()}
	case err != nil:
		g.session.showEvidence(context.WithoutCancel(ctx), g.vm.Kernel, err)
		return 0, err
	}
	g.vm.Sync()
	if crash := g.crashed(); crash != nil {
		return 0, &boot.CrashError{Crash: *crash, Tail: g.vm.Tail()}
	}
	if failing := g.failing(); len(failing) > 0 && (len(o.Argv) > 0 || r.SSHCommand != "") {
		return 0, &boot.ReportError{Reports: failing}
	}
	return status, nil
}

// awaitShell waits for the end of the guest, with which the shell on its serial port ends.
// A timeout of 0 is none.
func (g *Guest) awaitShell(ctx context.Context, timeout time.Duration) error {
	if timeout > 0 {
		limited, stop := g.limit(ctx, timeout)
		defer stop()
		ctx = limited
	}
	if err := g.awaitEnd(ctx); err != nil {
		g.session.showEvidence(context.WithoutCancel(ctx), g.vm.Kernel, err)
		return err
	}
	if crash := g.crashed(); crash != nil {
		return &boot.CrashError{Crash: *crash, Tail: g.vm.Tail()}
	}
	return nil
}

// named waits until the reports that an error is about are named to file and line.
func (g *Guest) named(ctx context.Context, err error) {
	g.traces.wait(ctx)
	var failed *boot.ReportError
	if errors.As(err, &failed) {
		g.traces.locate(failed.Reports)
	}
}

// limit returns a context that ends when a command has taken too long, once it has been
// looked at what the guest does then.
func (g *Guest) limit(ctx context.Context, limit time.Duration) (limited context.Context, stop func()) {
	limited, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() {
		cancel(&boot.TimeoutError{Command: true, Silent: limit, Evidence: g.vm.Evidence(limited)})
	})
	return limited, func() {
		timer.Stop()
		cancel(nil)
	}
}

// showTail shows the last lines of the console with an error that they may
// explain.
func (s *Session) showTail(err error) {
	if tail := boot.ConsoleTail(err); len(tail) > 0 {
		s.Events.Emit(event.VMStopped{Tail: tail})
	}
}
