// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kbuild/graph"
	"github.com/metaspace/run-kernel/kconfig"
)

// A Build says what is special about one build.
type Build struct {
	Args []string // more targets and variables for make
	// Configured is called with .config once it is fit, before make runs. It may be nil.
	Configured func(*kconfig.File)
	// Make makes the build in place of make itself. It may be nil.
	Make func(context.Context, kbuild.BuildOptions) (*kbuild.Result, error)
	// Objects returns, after Make, the objects of the build directory, and the names of the
	// targets that changed since the last call.
	Objects func() (objects []graph.Target, changed []string, err error)
}

// Build checks or fixes .config and runs make.
func (s *Session) Build(ctx context.Context, b Build) (*kbuild.Result, error) {
	release, err := s.place.lockBuild()
	if err != nil {
		return nil, err
	}
	defer release()
	s.enter(event.PhaseCheck)
	f, err := s.Kernel.Configure(ctx)
	if err != nil {
		return nil, err
	}
	if b.Configured != nil {
		b.Configured(f)
	}
	s.enter(event.PhaseBuild)
	s.linked()
	o := s.Kernel.BuildOptions(f)
	o.Args = b.Args
	make, objects := s.Kernel.Tree.Build, s.readObjects
	if b.Make != nil {
		make, objects = b.Make, b.Objects
	}
	r, err := make(ctx, o)
	if ctx.Err() == nil {
		// A build that failed compiled something, too.
		s.updateCommands(objects)
	}
	if err != nil || len(s.Kernel.Tree.External) == 0 {
		return r, err
	}
	external, err := s.Kernel.Tree.BuildExternal(ctx, o)
	if err != nil {
		return nil, err
	}
	r.NewModules = r.NewModules || external.NewModules
	return r, nil
}
