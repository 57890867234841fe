// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/probe"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// Options say which tree, and in what environment.
type Options struct {
	Srctree string            // the source tree
	Objtree string            // the build directory; the source tree if it is empty
	Env     []string          // the environment of make; os.Environ() if it is nil
	Vars    map[string]string // the words NAME=VALUE of make's command line
	// Environ asks make for the environment that it gives conf, where nothing else
	// knows it: with clang, and for ARCH=um. That is an *UnsupportedError if it is nil.
	Environ func(context.Context) ([]string, error)
	Cache   string // folder for the outputs of $(shell); none are kept if it is empty
	File    string // the first Kconfig file; Kconfig if it is empty
}

// Load reads the Kconfig files of a tree. A construct that it can't understand
// is a *syntax.Error, an environment that it can't compute an *UnsupportedError,
// and what isn't a kernel's tree a *model.NotTreeError.
func Load(ctx context.Context, o Options) (*model.Model, error) {
	in, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	files := newReader(in.Objtree, in.Srctree)
	defer files.close()
	options := syntax.Options{
		Dialect: in.dialect.Dialect,
		Dir:     in.Objtree, Srctree: in.Srctree, File: in.File,
		Getenv:   func(name string) (string, bool) { value, ok := in.env[name]; return value, ok },
		Shell:    in.runner.Shell,
		ReadFile: files.read,
	}
	for {
		tree, err := syntax.Parse(options)
		if !errors.Is(err, syntax.ErrPending) {
			if err != nil {
				return nil, err
			}
			if err := in.runner.Close(); err != nil {
				return nil, err
			}
			return model.New(tree, in.dialect)
		}
		// What these commands wrote may be part of others.
		if err := in.runner.Wait(); err != nil {
			return nil, err
		}
	}
}

// Fingerprint identifies what Load depends on beside the Kconfig files: the
// environment, the tools, the scripts and the tree's conf. It fails as Load does,
// and where nothing is to be kept in a cache.
func Fingerprint(ctx context.Context, o Options) (string, error) {
	in, err := open(ctx, o)
	if err != nil {
		return "", err
	}
	key := in.runner.Key()
	if key == "" {
		return "", errors.New("no outputs are kept")
	}
	return fmt.Sprintf("%s %s %s %+v", key, in.Srctree, in.Objtree, in.dialect), nil
}

// An input is a tree in its environment.
type input struct {
	Options
	dialect model.Dialect
	env     environ
	runner  *probe.Runner
}

func open(ctx context.Context, o Options) (*input, error) {
	in := &input{Options: o}
	if in.Env == nil {
		in.Env = os.Environ()
	}
	if in.Objtree == "" {
		in.Objtree = in.Srctree
	}
	var err error
	for _, dir := range []*string{&in.Srctree, &in.Objtree} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, err
		}
	}
	if in.dialect, err = model.DetectDialect(in.Srctree); err != nil {
		return nil, err
	}
	in.env, err = newEnviron(ctx, in.Options)
	if unsupported := (*UnsupportedError)(nil); errors.As(err, &unsupported) && o.Environ != nil {
		in.env, err = askedEnviron(ctx, in.Options)
	}
	if err != nil {
		return nil, err
	}
	in.runner, err = probe.New(ctx, o.Cache, in.env.list(), in.env.tools(), filepath.Join(in.Srctree, "scripts"))
	if err != nil {
		return nil, err
	}
	return in, nil
}
