// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/watch"
)

// Loop makes a turn, and another each time a source file changes, until ctx ends.
// configFiles are the files that the configuration was read from, once.
func (s *Session) Loop(ctx context.Context, configFiles []string) error {
	if err := s.CheckHost(ctx); err != nil {
		return err
	}
	began := time.Now()
	o, err := s.watchOptions(configFiles)
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
	flake, err := s.flakeOptions(ctx, &o)
	if err != nil {
		return err
	}
	for _, o := range slices.Concat([]watch.Options{o}, s.externalOptions(o), flake, outside) {
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
		Actions: &turns{Session: s, configFiles: configFiles, builder: builder}, Changes: watchers.changes(cancel), Err: watchers.err, Asked: asked,
		Root: s.Kernel.Tree.Source, Exec: s.Config.Watch.Exec != "", Events: s.Events,
		// The kernel's own tests run while it boots.
		Swap: s.Config.Watch.Swap && s.Config.Watch.KUnit == "",
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

// flakeOptions say what is watched of the guest's flake. A directory of its own is watched as
// such, since it may get more files; of one that has the source tree in it, or is in that,
// what nix reads now is watched with the tree.
func (s *Session) flakeOptions(ctx context.Context, tree *watch.Options) ([]watch.Options, error) {
	u, err := s.Kernel.Userland()
	if err != nil || u.Kind != userland.Nix || u.Flake.Dir == "" {
		return nil, err
	}
	files, err := u.Flake.Files(ctx)
	if err != nil {
		return nil, err
	}
	if kbuild.Within(tree.Root, u.Flake.Dir) || kbuild.Within(u.Flake.Dir, tree.Root) {
		tree.Extra = append(tree.Extra, files...)
		return nil, nil
	}
	o := watchLike(*tree, u.Flake.Dir)
	o.Extra = files
	return []watch.Options{o}, nil
}

// externalOptions say what is watched outside of the tree.
func (s *Session) externalOptions(tree watch.Options) []watch.Options {
	var list []watch.Options
	for _, dir := range s.Kernel.Tree.External {
		o := watchLike(tree, dir)
		if kbuild.Within(dir, s.Kernel.Tree.Source) { // which is watched by itself
			o.Ignore = append(slices.Clone(o.Ignore), s.Kernel.Tree.Source)
		}
		list = append(list, o)
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
func (s *Session) watchOptions(configFiles []string) (watch.Options, error) {
	tree, c := s.Kernel.Tree, s.Config
	state, err := tree.StateDir()
	if err != nil {
		return watch.Options{}, err
	}
	o := watch.Options{
		Root: tree.Source, Ignore: c.Watch.Ignore, Quiet: c.Watch.Quiet.Std(), Max: c.Watch.Max.Std(), StateDir: state,
		Extra: slices.Concat([]string{tree.ConfigPath()}, c.Kconfig.Fragments, configFiles),
	}
	if !tree.InTree() {
		o.Ignore = append(slices.Clone(o.Ignore), tree.BuildDir)
	}
	return o, nil
}
