// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/userland"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/watch"
)

func (a *app) watchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "watch [flags]",
		Short: "check, make and boot, again each time a source file changes",
		Long: `Watch makes sure that .config can boot a guest, runs make, and boots the result.
Then it waits for changes in the tree, and does it again. A build that fails shows
its errors, and the guest before goes on. A save during a build starts that anew.

From another terminal, run-kernel exec runs commands in the guest, or a shell.
With --exec, a command is run in each new guest.`,
		Example: `  run-kernel watch
  run-kernel watch --exec 'dmesg | grep MARK'
  run-kernel watch O=../build --ignore Documentation`,
		Annotations: map[string]string{helpTables: "watch run build kconfig", helpFlags: "-kernel -ssh -ssh-command -ping-ssh"},
		Args:        noArgs,
		RunE:        func(c *cobra.Command, args []string) error { return a.watch(c.Context()) },
	}
	config.AddFlags(c.Flags(), "watch")
	return c
}

func (a *app) watch(ctx context.Context) error {
	if a.config.Run.Kernel != "" {
		return &usageError{
			problem: "watch builds the kernel that it boots, and run.kernel names another (" + a.config.Origin("run.kernel") + ")",
			hint:    "run-kernel boot boots it; watch --kernel= watches all the same",
		}
	}
	if err := a.noSSHInWatch(); err != nil {
		return err
	}
	ctx, w, release, err := a.occupy(ctx, "watch")
	if err != nil {
		return err
	}
	defer release()
	if err := a.checkHost(ctx, w); err != nil {
		return err
	}
	state, err := w.Tree.StateDir()
	if err != nil {
		return err
	}
	began := time.Now()
	c := &a.config.Config
	o := watch.Options{
		Root: w.Tree.Source, Ignore: c.Watch.Ignore, Quiet: c.Watch.Quiet.Std(), Max: c.Watch.Max.Std(), StateDir: state,
		Extra: slices.Concat([]string{w.Tree.ConfigPath()}, c.Kconfig.Fragments, a.config.Files),
	}
	u, err := w.Userland()
	if err != nil {
		return err
	}
	if u.Kind == userland.Nix && u.Flake.Dir != "" {
		files, err := u.Flake.Files(ctx)
		if err != nil {
			return err
		}
		o.Extra = append(o.Extra, files...)
	}
	if !w.Tree.InTree() {
		o.Ignore = append(slices.Clone(o.Ignore), w.Tree.BuildDir)
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher, err := watch.New(watching, o)
	if err != nil {
		return err
	}
	if p := watcher.Polling(); p != "" {
		a.events.Emit(event.Notice{Text: p})
	}
	a.events.Emit(event.WatchStarted{Dirs: watcher.Dirs(), Elapsed: time.Since(began)})
	current := &currentGuest{app: a, server: w.control}
	switch a.serial() {
	case serialTelnet:
		if err := a.serveTelnet(ctx, current); err != nil {
			return fmt.Errorf("serial port: %w", err)
		}
	case serialStdio:
		if a.text != nil {
			a.text.ShowConsole(true)
		}
		a.events.Emit(event.Notice{Text: "the loop has the terminal; run-kernel console, in another one, connects to the serial port"})
	}
	p := &pass{app: a, workplace: w, current: current}
	w.Events = p.event
	loop := &watch.Loop{
		Pass: p, Changes: watcher.Changes(), Err: watcher.Err, Root: w.Tree.Source, Exec: c.Watch.Exec != "", Events: a.events,
	}
	loop.Run(ctx)
	switch err := context.Cause(ctx); {
	case errors.Is(err, errStopped):
		return nil
	case err != nil:
		return err
	}
	// It ends by itself only when changes are not seen any more.
	return watcher.Err()
}

// A pass does for the loop what it decides.
type pass struct {
	app *app
	*workplace
	current *currentGuest

	mu      sync.Mutex
	config  []byte   // .config as we last saw or wrote it
	making  bool     // a .config is being made, in more than one step
	system  string   // NixOS that was booted last; empty: none
	changed []string // since the last build began
}

// Build implements watch.Pass.
func (p *pass) Build(ctx context.Context) (watch.Image, error) {
	p.control.SetPhase(string(event.PhaseBuild))
	defer p.control.SetPhase("wait")
	// What the fix writes isn't a change of the user's.
	defer p.readConfig()
	_, absent := os.Stat(p.Tree.ConfigPath())
	p.mu.Lock()
	p.Changed, p.changed = p.changed, nil
	p.making = errors.Is(absent, os.ErrNotExist)
	p.mu.Unlock()
	r, err := p.workplace.Build(ctx)
	if err != nil {
		if errors.Is(err, watch.ErrOvertaken) {
			p.mu.Lock()
			p.changed = append(p.Changed, p.changed...)
			p.mu.Unlock()
		}
		p.report(err)
		return watch.Image{}, err
	}
	system, err := p.System(ctx)
	if err != nil {
		p.report(err)
		return watch.Image{}, err
	}
	// Another system is as good a reason to boot as another kernel.
	p.mu.Lock()
	defer p.mu.Unlock()
	return watch.Image{Path: r.Image, New: r.NewImage || p.system != "" && system != p.system}, nil
}

// event passes on what the cycle does, and learns where it stands.
func (p *pass) event(e event.Event) {
	if phase, ok := e.(event.PhaseStarted); ok && phase.Phase == event.PhaseBuild {
		p.readConfig()
	}
	p.app.events.Emit(e)
}

// readConfig takes .config as it is now for what we last saw or wrote.
func (p *pass) readConfig() {
	data, err := os.ReadFile(p.Tree.ConfigPath())
	if err != nil {
		data = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config, p.making = data, false
}

// report shows an error unless it only says what the user knows.
func (p *pass) report(err error) {
	var build *kbuild.BuildError
	switch {
	case errors.Is(err, watch.ErrOvertaken), errors.Is(err, watch.ErrReplaced):
	case errors.As(err, new(signalError)): // it's our own end, and told then
	case errors.As(err, &build) && len(build.Diagnostics) > 0:
	default:
		p.app.showTail(err)
		p.app.events.Emit(event.Failed{Err: err})
	}
}

// Boot implements watch.Pass.
func (p *pass) Boot(ctx context.Context, image string) (watch.VM, error) {
	p.control.SetPhase(string(event.PhaseBoot))
	defer p.control.SetPhase("wait")
	o, err := p.BootOptions(ctx, image, p.app.env.Dir)
	if err == nil {
		o.Started = p.current.started
		if p.app.serial() == serialTelnet {
			o.Console = &boot.Size{}
		}
		p.mu.Lock()
		p.system = o.System
		p.mu.Unlock()
		var vm *boot.VM
		if vm, err = boot.Start(ctx, o); err == nil {
			p.current.answers(vm)
			p.offerSSH()
			return p.newGuest(vm), nil
		}
	}
	p.report(err)
	return nil, err
}

// Relevant implements watch.Pass.
func (p *pass) Relevant(paths []string) []string {
	relevant := slices.DeleteFunc(paths, func(path string) bool {
		if slices.Contains(p.app.config.Files, path) {
			p.app.events.Emit(event.Warning{Text: path + " changed, and was read at the start", Hint: "start run-kernel watch again to use it"})
			return true
		}
		return path == p.Tree.ConfigPath() && p.ownConfig()
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, path := range relevant {
		if !slices.Contains(p.changed, path) {
			p.changed = append(p.changed, path)
		}
	}
	return relevant
}

// ownConfig says whether .config is as we last saw it, or on its way to being so.
func (p *pass) ownConfig() bool {
	data, err := os.ReadFile(p.Tree.ConfigPath())
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.making || err == nil && bytes.Equal(data, p.config)
}

// A guestVM is the VM of the loop.
type guestVM struct {
	pass *pass
	vm   *boot.VM
	stop sync.Once
	done chan struct{}
}

func (p *pass) newGuest(vm *boot.VM) *guestVM {
	g := &guestVM{pass: p, vm: vm, done: make(chan struct{})}
	go func() {
		<-vm.Done()
		p.current.gone(vm)
		asked := true
		g.stop.Do(func() { asked = false })
		if err := vm.Err(); err != nil {
			p.app.events.Emit(event.VMStopped{Reason: err.Error(), Tail: vm.Tail()})
		} else if !asked {
			p.app.events.Emit(event.VMStopped{Reason: "the guest powered itself off"})
		}
		close(g.done)
	}()
	return g
}

// Done implements watch.VM.
func (g *guestVM) Done() <-chan struct{} { return g.done }

// Stop implements watch.VM.
func (g *guestVM) Stop() {
	g.stop.Do(func() {})
	_ = g.vm.Stop()
}

// Exec implements watch.VM.
func (g *guestVM) Exec(ctx context.Context) {
	a := g.pass.app
	began := time.Now()
	command := a.config.Watch.Exec
	c := boot.Command{Shell: command}
	c.Stdout, c.Stderr = outputEvents{a.events, false}, outputEvents{a.events, true}
	status, err := boot.Run(ctx, g.vm.Client(), c)
	switch {
	case err == nil:
		a.events.Emit(event.CommandFinished{Command: command, Status: status, Elapsed: time.Since(began)})
	case errors.Is(err, watch.ErrReplaced), errors.Is(err, watch.ErrEnded), errors.Is(err, boot.ErrGone):
		// The guest went, which is reported by itself.
	case errors.As(err, new(signalError)):
		// So is our own end.
	default:
		a.events.Emit(event.Failed{Err: err})
	}
}
