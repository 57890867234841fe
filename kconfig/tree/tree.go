// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	// knows it: with clang, for ARCH=um, and where Kconfig files read a variable of
	// the Makefile's that isn't known. That is an *UnsupportedError if it is nil.
	Environ func(context.Context) ([]string, error)
	Cache   string // directory for the outputs of $(shell); none are kept if it is empty
	File    string // the first Kconfig file; Kconfig if it is empty
}

// Load reads the Kconfig files of a tree. A construct that it can't understand
// is a *syntax.Error, an environment that it can't compute an *UnsupportedError,
// and what isn't a kernel's tree a *model.NotTreeError.
func Load(ctx context.Context, o Options) (*model.Model, error) {
	in, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return in.Load(ctx)
}

// Load is Load of what has been opened, which is done once.
func (in *Source) Load(ctx context.Context) (*model.Model, error) {
	files := newReader(in.Objtree, in.Srctree)
	defer files.close()
	options := syntax.Options{
		Dialect: in.dialect.Dialect,
		Dir:     in.Objtree, Srctree: in.Srctree, File: in.File,
		Getenv:   in.getenv,
		Shell:    in.shell,
		ReadFile: files.read,
	}
	for {
		tree, err := syntax.Parse(options)
		if in.exported != nil && len(in.exported.missing) > 0 {
			if err := in.runner.Wait(); err != nil {
				return nil, err
			}
			if err := in.exported.ask(ctx, in.Environ); err != nil {
				return nil, err
			}
			continue
		}
		if !errors.Is(err, syntax.ErrPending) {
			if err != nil {
				return nil, err
			}
			in.runner.Close()
			return model.New(tree, in.dialect)
		}
		// What these commands wrote may be part of others.
		if err := in.runner.Wait(); err != nil {
			return nil, err
		}
	}
}

// A Source is a tree in its environment, whose Kconfig files haven't been read yet.
type Source struct {
	Options
	dialect  model.Dialect
	env      environ
	runner   *probe.Runner
	exported *exported // nil where all of env comes from make
}

// getenv looks up a variable of the environment.
func (in *Source) getenv(name string) (string, bool) {
	if in.exported != nil {
		if in.exported.reads(name) {
			return "", false
		}
		if value, ok := in.exported.known[name]; ok {
			return value, true
		}
	}
	value, ok := in.env[name]
	return value, ok
}

// shell is what a command writes. One that reads what isn't known yet isn't run.
func (in *Source) shell(command string) (syntax.Output, error) {
	if in.exported != nil && in.exported.runs(command) {
		return syntax.Output{Stdout: syntax.Pending}, nil
	}
	return in.runner.Shell(command)
}

// Open looks at a tree and computes its environment. It fails as Load does.
func Open(ctx context.Context, o Options) (*Source, error) {
	in := &Source{Options: o}
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
	asked := false
	if unsupported := (*UnsupportedError)(nil); errors.As(err, &unsupported) && o.Environ != nil {
		asked = true
		in.env, err = askedEnviron(ctx, in.Options)
	}
	if err != nil {
		return nil, err
	}
	in.runner, err = probe.New(ctx, probe.Options{
		Dir: o.Cache, Env: in.env.list(), Tools: in.env.tools(), Scripts: filepath.Join(in.Srctree, "scripts"), Apart: in.env.unseen(o),
	})
	if err == nil && !asked {
		in.exported, err = newExported(in)
	}
	return in, err
}

// Fingerprint identifies what Load depends on beside the Kconfig files: the
// environment, the tools, the scripts and the tree's conf. It fails where nothing is to
// be kept in a cache.
func (in *Source) Fingerprint() (string, error) {
	key := in.runner.Key()
	if key == "" {
		return "", errors.New("no outputs are kept")
	}
	var asked map[string]string
	if in.exported != nil {
		asked = in.exported.known
	}
	// Kconfig files may read any variable.
	env := sha256.Sum256([]byte(strings.Join(in.env.list(), "\x00")))
	return fmt.Sprintf("%s %s %s %+v %q %x", key, in.Srctree, in.Objtree, in.dialect, asked, env), nil
}
