// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/watch"
)

// turns do for the loop what it decides.
type turns struct {
	*Session
	configFiles []string
	builder     *builder

	mu     sync.Mutex
	config []byte // .config as we last saw or wrote it
	making bool   // a .config is being made, in more than one step
	system string // NixOS that was booted last; empty: none

	tests comparison // Boot's alone
}

// Build implements watch.Actions.
func (t *turns) Build(ctx context.Context) (watch.Image, error) {
	defer t.place.SetPhase(phaseWait)
	// What the fix writes isn't a change of the user's.
	defer t.readConfig()
	_, absent := os.Stat(t.Kernel.Tree.ConfigPath())
	t.mu.Lock()
	t.making = errors.Is(absent, os.ErrNotExist)
	t.mu.Unlock()
	r, err := t.Session.Build(ctx, Build{Configured: func(*kconfig.File) { t.readConfig() }, Make: t.builder.build, Objects: t.builder.objects})
	if err != nil {
		t.report(err)
		return watch.Image{}, err
	}
	system, err := t.Kernel.System(ctx)
	if err != nil {
		t.report(err)
		return watch.Image{}, err
	}
	// Another system is as good a reason to boot as another kernel.
	t.mu.Lock()
	defer t.mu.Unlock()
	image := watch.Image{Path: r.Image, New: r.NewImage || t.system != "" && system != t.system, Proof: t.builder.unproved()}
	if g := t.current(); g != nil {
		image.Modules = len(g.stale(t.Kernel.Tree.ModuleFiles())) > 0
	}
	return image, nil
}

// Prove implements watch.Actions.
func (t *turns) Prove(ctx context.Context) (watch.Image, error) {
	f, err := t.Kernel.ReadConfig()
	if err != nil {
		t.report(err)
		return watch.Image{}, err
	}
	o := t.Kernel.BuildOptions(f)
	o.Idle = true
	r, err := t.builder.prove(ctx, o)
	if err != nil {
		t.report(err)
		return watch.Image{}, err
	}
	return watch.Image{Path: r.Image, New: r.NewImage || r.NewModules}, nil
}

// Lost implements watch.Actions.
func (t *turns) Lost() (command bool) {
	t.builder.lost()
	return t.command.lost()
}

// readConfig takes .config as it is now for what we last saw or wrote.
func (t *turns) readConfig() {
	data, err := os.ReadFile(t.Kernel.Tree.ConfigPath())
	if err != nil {
		data = nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.config, t.making = data, false
}

// report shows an error unless it only says what the user knows.
func (t *turns) report(err error) {
	var build *kbuild.BuildError
	switch {
	case errors.Is(err, watch.ErrOvertaken), errors.Is(err, watch.ErrReplaced):
	case isOurEnd(err): // it's our own end, and told then
	case errors.As(err, &build) && len(build.Diagnostics) > 0:
	default:
		t.showTail(err)
		t.Events.Emit(event.Failed{Err: err})
	}
}

// Boot implements watch.Actions.
func (t *turns) Boot(ctx context.Context, image string) (watch.VM, error) {
	t.place.SetPhase(string(event.PhaseBoot))
	defer t.place.SetPhase(phaseWait)
	g, err := t.bootSystem(ctx, image)
	if err != nil {
		t.report(err)
		return nil, err
	}
	t.answers(g)
	if t.Config.Watch.Exec == "" {
		g.tellNews(len(g.failing()) == 0 && g.crashed() == nil)
	}
	go g.reportEnd()
	return g, nil
}

func (t *turns) bootSystem(ctx context.Context, image string) (*Guest, error) {
	o, err := t.source.BootOptions(ctx, image, t.Dir)
	if err != nil {
		return nil, err
	}
	if t.Config.SerialPort() == config.SerialTelnet {
		o.Console = &boot.Size{}
	}
	t.mu.Lock()
	t.system = o.System
	t.mu.Unlock()
	if t.Config.Watch.KUnit == "" {
		return t.boot(ctx, o)
	}
	results := newKUnitResults(t.Events, t.Config.Watch.KUnit, &o)
	g, err := t.boot(ctx, o)
	if err == nil {
		g.vm.Settle() // then all results have been read
	}
	tests := results.end()
	if err == nil || !errors.Is(err, watch.ErrReplaced) && !errors.Is(err, watch.ErrEnded) && !isOurEnd(err) {
		failGuest(tests, err)
		t.Events.Emit(t.tests.compare(tests))
	}
	return g, err
}

// Relevant implements watch.Actions.
func (t *turns) Relevant(ctx context.Context, paths []string) (build, command []string) {
	paths, command = t.command.split(paths)
	relevant := slices.DeleteFunc(paths, func(path string) bool {
		if slices.Contains(t.configFiles, path) {
			t.Events.Emit(event.Warning{Text: path + " changed, and was read at the start", Hint: "start run-kernel watch again to use it"})
			return true
		}
		if t.Kernel.Tree.ExternalOf(path) != "" && kbuild.Generated(path) {
			return true
		}
		return path == t.Kernel.Tree.ConfigPath() && t.ownConfig(ctx)
	})
	relevant = t.concerned(relevant)
	t.builder.saved(relevant)
	return relevant, command
}

// concerned drops the files that a build doesn't read, and says so when no other is
// left.
func (t *turns) concerned(paths []string) []string {
	if len(paths) == 0 {
		return paths
	}
	first, why := "", ""
	concerned := slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		reason := ""
		switch {
		case !t.Kernel.Tree.Concerns(path):
			reason = "no build for this architecture reads it"
		case t.builder.unread(path):
			reason = "in no object of this build"
		}
		if reason != "" && first == "" {
			first, why = path, reason
		}
		return reason != ""
	})
	if len(concerned) == 0 {
		text := t.Kernel.Tree.Rel(first)
		if n := len(paths) - 1; n > 0 {
			text += fmt.Sprintf(" and %d more", n)
		}
		t.Events.Emit(event.Notice{Text: text + ": " + why})
	}
	return concerned
}

// ownConfig says whether .config is as we last saw it, or on its way to being so.
func (t *turns) ownConfig(ctx context.Context) bool {
	data, err := os.ReadFile(t.Kernel.Tree.ConfigPath())
	t.mu.Lock()
	last, making := t.config, t.making
	t.mu.Unlock()
	switch {
	case making:
		return true
	case err != nil:
		return false
	case bytes.Equal(data, last):
		return true
	}
	// make has conf bring it up to date with the Kconfig files.
	rewritten, err := t.Kernel.Rewritten(ctx, last)
	if err != nil || !bytes.Equal(data, rewritten) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if bytes.Equal(t.config, last) {
		t.config = data
	}
	return true
}
