// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
	"github.com/metaspace/run-kernel/kconfig/tree"
)

// ErrNoConfig says that there is no .config.
var ErrNoConfig = errors.New("there is no .config")

// A danglingError says that .config is a link to what isn't there.
type danglingError struct{ path, target string }

func (e *danglingError) Error() string {
	return fmt.Sprintf("%s is a link to %s, which doesn't exist", e.path, e.target)
}

func (e *danglingError) Hint() string {
	return "put a configuration there; or remove the link, and `run-kernel kconfig fix` makes one from defconfig"
}

// A foreignError says that a .config was made for another architecture, of which
// conf would keep next to nothing.
type foreignError struct{ path, arch, want string }

func (e *foreignError) Error() string {
	return fmt.Sprintf("%s is one for %s by its first lines, and this is to be a kernel for %s", e.path, e.arch, e.want)
}

func (e *foreignError) Hint() string {
	return fmt.Sprintf("ARCH=%s builds a kernel for that; `make olddefconfig` makes it one for %s", e.arch, e.want)
}

var madeFor = pattern.New(`(?m)\A(?:#[^\n]*\n){0,3}?# Linux/(\w+) `)

// foreign is what is wrong with the configuration at path, if conf made it for another
// architecture than the tree's; nil with any other.
func (k *Kernel) foreign(path string, f *kconfig.File) *foreignError {
	m := madeFor.FindSubmatch(f.Bytes())
	if m == nil || arch.OfKernel(string(m[1])).Kernel == k.Tree.SrcArch() {
		return nil
	}
	return &foreignError{path, string(m[1]), k.Tree.Arch()}
}

// noConfig is what is wrong where a .config can't be found: ErrNoConfig, or a
// *danglingError.
func (k *Kernel) noConfig() error {
	path := k.Tree.ConfigPath()
	if target, err := os.Readlink(path); err == nil {
		return &danglingError{path, target}
	}
	return fmt.Errorf("%w in %s", ErrNoConfig, k.Tree.BuildDir)
}

// ReadConfig reads .config. The error is ErrNoConfig when there is none.
func (k *Kernel) ReadConfig() (*kconfig.File, error) {
	f, err := kconfig.ReadFile(k.Tree.ConfigPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, k.noConfig()
	}
	return f, err
}

// Model reads the Kconfig files as the build has them.
func (k *Kernel) Model(ctx context.Context) (*model.Model, error) {
	if err := k.Tree.CheckPaths(); err != nil {
		return nil, err
	}
	// What is read is 50 MB and lives as long as we need it: collecting garbage
	// while it grows costs a third of the time.
	if percent := debug.SetGCPercent(1600); percent >= 0 {
		defer debug.SetGCPercent(percent)
	} else {
		debug.SetGCPercent(percent) // there is none
	}
	if opened := k.opened; opened != nil {
		k.opened = nil // the next Model sees what has changed until then
		opened.Environ = k.treeOptions().Environ
		return opened.Load(ctx)
	}
	return tree.Load(ctx, k.treeOptions())
}

func (k *Kernel) treeOptions() tree.Options {
	dir, err := os.UserCacheDir()
	if err == nil && filepath.IsAbs(dir) {
		dir = filepath.Join(dir, "run-kernel", "kconfig")
	} else {
		dir = "" // where $HOME is relative, it would be in the source tree
	}
	return tree.Options{
		Srctree: k.Tree.Source, Objtree: k.Tree.BuildDir, Env: kbuild.Environ(), Vars: k.Tree.Variables(), Environ: k.Tree.ConfEnviron, Cache: dir,
	}
}

// A refusedError says that the Kconfig files refuse the compiler, or what else they
// ask of the host.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

func (e *refusedError) Hint() string {
	return "run-kernel doctor says what is missing here; --cross-compile, --llvm and --cc name another compiler"
}

// tryModel is Model, where that is possible: what the engine doesn't understand
// is left to the kernel's own conf.
func (k *Kernel) tryModel(ctx context.Context) (*model.Model, error) {
	if err := k.Tree.CheckPaths(); err != nil {
		return nil, err
	}
	m, err := k.Model(ctx)
	var incomplete *model.NotTreeError
	var broken *syntax.Error
	switch {
	case err == nil, ctx.Err() != nil:
		return m, err
	case errors.As(err, &broken) && broken.Refusal:
		return nil, &refusedError{err}
	case errors.As(err, &incomplete): // make says what is missing
	default:
		k.Events.Emit(event.Notice{Text: fmt.Sprintf("options are only set and not solved for, as the kernel's conf alone understands this tree: %v", err)})
	}
	return nil, nil
}

// NotUnderstood tells whether an error of Model says that the engine doesn't
// understand the Kconfig files: the kernel's own conf may.
func NotUnderstood(err error) bool {
	var unsupported *tree.UnsupportedError
	var construct *model.UnsupportedError
	var broken *syntax.Error
	return errors.As(err, &unsupported) || errors.As(err, &construct) || errors.As(err, &broken) && !broken.Refusal
}

// Conf has the kernel's own conf make a configuration: of another one, or from
// scratch with a mode that reads none.
func (k *Kernel) Conf(ctx context.Context, mode tree.Mode, config []byte) ([]byte, error) {
	dir, remove, err := private.TempDir("run-kernel-config-")
	if err != nil {
		return nil, err
	}
	defer remove()
	path := filepath.Join(dir, ".config")
	if config != nil {
		if err := os.WriteFile(path, config, 0o600); err != nil {
			return nil, err
		}
	}
	if err := k.Tree.Configure(ctx, string(mode), path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// Rewritten is what the kernel's conf, which make runs, writes in place of a .config.
func (k *Kernel) Rewritten(ctx context.Context, config []byte) ([]byte, error) {
	m, err := k.Model(ctx)
	if err != nil {
		return nil, err
	}
	out, _, err := tree.Conf(m, tree.Request{Mode: tree.Olddefconfig, Name: ".config", Config: config})
	return out, err
}
