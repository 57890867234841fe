// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"sync"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kbuild/graph"
)

// A commandsKeeper writes compile_commands.json after builds, beside what follows them.
type commandsKeeper struct {
	running sync.WaitGroup

	mu       sync.Mutex
	commands *kbuild.Commands
	changed  []string // since it was written
}

// updateCommands writes compile_commands.json where the configuration has it. read returns
// the objects of the build directory, and which targets changed since the last call.
func (s *Session) updateCommands(read func() (objects []graph.Target, changed []string, err error)) {
	if !s.Config.Build.CompileCommands || s.Config.Build.Host != "" { // there, the commands have other paths
		return
	}
	k := &s.keeper
	k.running.Go(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		objects, changed, err := read()
		if err == nil {
			if k.commands == nil {
				k.commands = s.Kernel.Tree.Commands()
			}
			k.changed = append(k.changed, changed...)
			err = k.commands.Update(objects, k.changed)
		}
		if err != nil {
			s.Events.Emit(event.Warning{
				Text: kbuild.CommandsName + " isn't up to date: " + err.Error(), Hint: "--compile-commands=false builds without it",
			})
			return
		}
		k.changed = nil
	})
}

// readObjects reads what the build directory has, for a session without a loop.
func (s *Session) readObjects() (objects []graph.Target, changed []string, err error) {
	tree := s.Kernel.Tree
	g := graph.Load(tree.StatePath(graphFile), tree.BuildDir)
	if changed, err = g.Update(); err != nil {
		return nil, nil, err
	}
	// Without it, the next session reads all again.
	_ = g.Save(tree.StatePath(graphFile))
	return g.Compiled(), changed, nil
}

// objects are those of the build directory, with the targets that changed since the last
// call.
func (b *builder) objects() (objects []graph.Target, changed []string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// After a short build that failed, the graph knows more than the directory.
	if len(b.broken) == 0 && !b.sound {
		if _, err := b.read(); err != nil {
			return nil, nil, err
		}
	}
	changed = b.rewritten
	b.rewritten = nil
	return b.graph.Compiled(), changed, nil
}
