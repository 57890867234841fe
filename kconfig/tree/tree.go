// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"

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
	if o.Env == nil {
		o.Env = os.Environ()
	}
	var err error
	if o.Srctree, err = filepath.Abs(o.Srctree); err != nil {
		return nil, err
	}
	if o.Objtree == "" {
		o.Objtree = o.Srctree
	}
	if o.Objtree, err = filepath.Abs(o.Objtree); err != nil {
		return nil, err
	}
	dialect, err := model.DetectDialect(o.Srctree)
	if err != nil {
		return nil, err
	}
	env, err := newEnviron(ctx, o)
	if unsupported := (*UnsupportedError)(nil); errors.As(err, &unsupported) && o.Environ != nil {
		env, err = askedEnviron(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	runner, err := probe.New(ctx, o.Cache, env.list(), env.tools(), filepath.Join(o.Srctree, "scripts"))
	if err != nil {
		return nil, err
	}
	options := syntax.Options{
		Dialect: dialect.Dialect,
		Dir:     o.Objtree, Srctree: o.Srctree, File: o.File,
		Getenv:   func(name string) (string, bool) { value, ok := env[name]; return value, ok },
		Shell:    runner.Shell,
		ReadFile: readFile,
	}
	for {
		tree, err := syntax.Parse(options)
		if !errors.Is(err, syntax.ErrPending) {
			if err != nil {
				return nil, err
			}
			if err := runner.Close(); err != nil {
				return nil, err
			}
			return model.New(tree, dialect)
		}
		// What these commands wrote may be part of others.
		if err := runner.Wait(); err != nil {
			return nil, err
		}
	}
}

// readFile is os.ReadFile in half of the system calls: there are 1,700 files.
func readFile(path string) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return os.ReadFile(path)
	}
	data := make([]byte, st.Size)
	n, err := syscall.Read(fd, data)
	if err != nil || n != len(data) {
		return os.ReadFile(path)
	}
	return data, nil
}
