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
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/watch"
)

// Loop makes a turn, and another each time a source file changes, until ctx ends.
// configFiles are the files that the configuration was read from, once.
func (s *Session) Loop(ctx context.Context, configFiles []string) error {
	if err := s.CheckHost(ctx); err != nil {
		return err
	}
	began := time.Now()
	o, err := s.watchOptions(ctx, configFiles)
	if err != nil {
		return err
	}
	if s.command, err = s.commandFiles(); err != nil {
		return err
	}
	outside, err := s.command.outside(o)
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	var watchers watchers
	dirs := 0
	for _, o := range slices.Concat([]watch.Options{o}, s.externalOptions(o), outside) {
		w, err := watch.New(watching, o)
		if err != nil {
			return err
		}
		if p := w.Polling(); p != "" {
			s.Events.Emit(event.Notice{Text: p})
		}
		watchers = append(watchers, w)
		dirs += w.Dirs()
	}
	s.Events.Emit(event.WatchStarted{Dirs: dirs, Elapsed: time.Since(began)})
	switch s.Config.SerialPort() {
	case config.SerialTelnet:
		if err := s.serveTelnet(ctx); err != nil {
			return fmt.Errorf("serial port: %w", err)
		}
	case config.SerialStdio:
		s.Terminal.showConsole(true)
		s.Events.Emit(event.Notice{Text: "the loop has the terminal; run-kernel console, in another one, connects to the serial port"})
	}
	ctx, quit := context.WithCancelCause(ctx)
	defer quit(nil)
	asked, stopKeys := s.startKeys(ctx, func() { quit(errQuit) })
	defer stopKeys()
	builder := newBuilder(s)
	if !builder.off {
		go builder.list(watching)
	}
	loop := &watch.Loop{
		Pass: &turns{Session: s, configFiles: configFiles, builder: builder}, Changes: watchers.changes(cancel), Err: watchers.err, Asked: asked,
		Root: s.Kernel.Tree.Source, Exec: s.Config.Watch.Exec != "", Swap: s.Config.Watch.Swap, Events: s.Events,
	}
	loop.Run(ctx)
	switch err := context.Cause(ctx); {
	case errors.Is(err, ErrStopped), errors.Is(err, errQuit):
		return nil
	case err != nil:
		return err
	}
	// It ends by itself only when changes are not seen any more.
	return watchers.err()
}

// externalOptions say what is watched outside of the tree.
func (s *Session) externalOptions(tree watch.Options) []watch.Options {
	var list []watch.Options
	for _, dir := range s.Kernel.Tree.External {
		list = append(list, watchLike(tree, dir))
	}
	return list
}

// watchLike says that a directory outside of the tree is watched like that.
func watchLike(tree watch.Options, dir string) watch.Options {
	return watch.Options{Root: dir, Ignore: tree.Ignore, Quiet: tree.Quiet, Max: tree.Max}
}

// watchers are those of all directories that are watched.
type watchers []*watch.Watcher

// changes delivers the sets of all, until one of the watchers ends. Then stop ends the
// others.
func (w watchers) changes(stop func()) <-chan watch.Set {
	if len(w) == 1 {
		return w[0].Changes()
	}
	all := make(chan watch.Set)
	ended := make(chan struct{})
	end := sync.OnceFunc(func() {
		close(ended)
		stop()
	})
	var running sync.WaitGroup
	for _, one := range w {
		running.Go(func() {
			defer end()
			for set := range one.Changes() {
				select {
				case all <- set:
				case <-ended:
					return
				}
			}
		})
	}
	go func() {
		running.Wait()
		close(all)
	}()
	return all
}

// err is why one of them ended; valid when the channel of changes is closed.
func (w watchers) err() error {
	var errs []error
	for _, one := range w {
		errs = append(errs, one.Err())
	}
	return errors.Join(errs...)
}

// watchOptions say what is watched: the tree, and what else a turn is made from.
func (s *Session) watchOptions(ctx context.Context, configFiles []string) (watch.Options, error) {
	tree, c := s.Kernel.Tree, s.Config
	state, err := tree.StateDir()
	if err != nil {
		return watch.Options{}, err
	}
	o := watch.Options{
		Root: tree.Source, Ignore: c.Watch.Ignore, Quiet: c.Watch.Quiet.Std(), Max: c.Watch.Max.Std(), StateDir: state,
		Extra: slices.Concat([]string{tree.ConfigPath()}, c.Kconfig.Fragments, configFiles),
	}
	u, err := s.Kernel.Userland()
	if err != nil {
		return o, err
	}
	if u.Kind == userland.Nix && u.Flake.Dir != "" {
		files, err := u.Flake.Files(ctx)
		if err != nil {
			return o, err
		}
		o.Extra = append(o.Extra, files...)
	}
	if !tree.InTree() {
		o.Ignore = append(slices.Clone(o.Ignore), tree.BuildDir)
	}
	return o, nil
}

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

// Build implements watch.Pass.
func (t *turns) Build(ctx context.Context) (watch.Image, error) {
	defer t.place.SetPhase("wait")
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

// Prove implements watch.Pass.
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

// Lost implements watch.Pass.
func (t *turns) Lost() { t.builder.lost() }

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

// Boot implements watch.Pass.
func (t *turns) Boot(ctx context.Context, image string) (watch.VM, error) {
	t.place.SetPhase(string(event.PhaseBoot))
	defer t.place.SetPhase("wait")
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
	tests := results.end()
	if err == nil || !errors.Is(err, watch.ErrReplaced) && !errors.Is(err, watch.ErrEnded) && !isOurEnd(err) {
		t.Events.Emit(t.tests.compare(tests))
	}
	return g, err
}

// Relevant implements watch.Pass.
func (t *turns) Relevant(paths []string) (build, command []string) {
	paths, command = t.command.split(paths)
	relevant := slices.DeleteFunc(paths, func(path string) bool {
		if slices.Contains(t.configFiles, path) {
			t.Events.Emit(event.Warning{Text: path + " changed, and was read at the start", Hint: "start run-kernel watch again to use it"})
			return true
		}
		if t.Kernel.Tree.ExternalOf(path) != "" && kbuild.Generated(path) {
			return true
		}
		return path == t.Kernel.Tree.ConfigPath() && t.ownConfig()
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
func (t *turns) ownConfig() bool {
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
	rewritten, err := t.Kernel.Rewritten(context.Background(), last)
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
