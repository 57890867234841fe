// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/watch"
)

// stale returns the names of those modules that aren't as they were when the guest got
// them, sorted.
func (g *Guest) stale(files map[string]kbuild.ModuleFile) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if g.modules[name] != files[name] {
			names = append(names, name)
		}
	}
	return names
}

// Swap implements watch.VM.
func (g *Guest) Swap(ctx context.Context) bool {
	s := g.session
	s.place.SetPhase(phaseSwap)
	defer s.place.SetPhase(phaseWait)
	began := time.Now()
	files := s.Kernel.Tree.ModuleFiles()
	names := g.stale(files)
	g.traces.replace(names)
	var done *boot.Swapped
	var work errgroup.Group
	work.Go(func() (err error) {
		done, err = g.vm.Swap(ctx, boot.Swap{Names: names, File: func(name string) string { return files[name].Path }})
		return err
	})
	work.Go(func() error {
		// What the guest loads later it finds by name.
		_, err := s.Kernel.Tree.StageModules(ctx)
		return err
	})
	err := work.Wait()
	if err != nil && (errors.Is(err, watch.ErrReplaced) || errors.Is(err, watch.ErrEnded) || errors.Is(err, boot.ErrGone) || isOurEnd(err)) {
		return false // which is told by itself
	}
	e := SwapEvent(done, err, time.Since(began))
	if e.Refused == "" {
		if failing := s.verdict.failing(done.Reports); len(failing) > 0 {
			e.Refused = "the kernel reported " + failing[0].Title
		}
	}
	s.Events.Emit(e)
	if e.Refused != "" {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.modules = files
	return true
}

// SwapEvent is the event for a swap that has ended. done may be nil where there is an error.
func SwapEvent(done *boot.Swapped, err error, elapsed time.Duration) event.ModulesSwapped {
	e := event.ModulesSwapped{Elapsed: elapsed}
	if err != nil {
		e.Refused = err.Error()
	}
	if done == nil {
		return e
	}
	e.Idle = done.Idle
	for _, m := range done.Modules {
		e.Modules = append(e.Modules, m.String())
		for _, parameter := range m.Lost {
			e.Lost = append(e.Lost, m.Name+"."+parameter)
		}
	}
	return e
}
