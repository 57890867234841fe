// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/kbuild"
)

// open begins a session on the tree that we are in.
func (a *app) open(ctx context.Context, command string) (context.Context, *session.Session, error) {
	return a.openWith(ctx, a.sessionOptions(command))
}

func (a *app) openWith(ctx context.Context, o session.Options) (context.Context, *session.Session, error) {
	tree, err := a.treeToBuild()
	if err != nil {
		return nil, nil, err
	}
	return session.Open(ctx, tree, o)
}

// treeToBuild is tree for who is about to build there.
func (a *app) treeToBuild() (*kbuild.Tree, error) {
	tree, err := a.tree()
	if err != nil {
		return nil, err
	}
	return tree, a.checkInPlace(tree)
}

// treeToBoot is tree for who boots what is built there, after a build or without one.
func (a *app) treeToBoot() (*kbuild.Tree, error) {
	if a.config.Run.Kernel != "" {
		return a.tree() // the image is from anywhere, and nothing is built
	}
	if a.noBuild {
		if _, err := a.existingTree(); err != nil {
			return nil, err
		}
	}
	return a.treeToBuild()
}

// checkInPlace refuses to begin a build in the source tree that nobody has asked for,
// where that was built elsewhere: make would refuse to build there again.
func (a *app) checkInPlace(tree *kbuild.Tree) error {
	if !tree.InTree() || a.config.Build.Output != "" {
		return nil
	}
	if _, err := os.Lstat(tree.ConfigPath()); err == nil {
		return nil
	}
	// That of kunit isn't what the user builds.
	builds := slices.DeleteFunc(session.Builds(tree.Source), func(dir string) bool { return dir == tree.StatePath(kunitName) })
	if len(builds) == 0 {
		return nil
	}
	return &usageError{
		problem: fmt.Sprintf("%s has no .config, and was built in %s", tree.Source, strings.Join(builds, ", ")),
		hint:    fmt.Sprintf("run-kernel -O %s works there; -O %s builds in the source tree, after which other directories can't be used", builds[0], tree.Source),
	}
}

func (a *app) sessionOptions(command string) session.Options {
	return session.Options{
		Command: command, Name: a.name, Config: &a.config.Config, Dir: a.env.Dir, Terminal: a.terminal(), Events: a.events,
	}
}

// terminal is what the user sits at.
func (a *app) terminal() *session.Terminal {
	t := &session.Terminal{
		Stdin: a.env.Stdin, Stdout: a.env.Stdout, Stderr: a.env.Stderr, Environ: a.env.Environ,
		Events: a.events, JSON: a.json, Verbose: a.verbose, User: a.config.Run.User,
	}
	if a.text != nil {
		t.Text = a.text
	}
	return t
}

// kernel is that of a tree, for those who don't need its build directory for
// themselves.
func (a *app) kernel(tree *kbuild.Tree) *prepare.Kernel {
	return &prepare.Kernel{Tree: tree, Config: &a.config.Config, Events: a.events, VM: a.name}
}
