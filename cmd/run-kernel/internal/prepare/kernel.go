// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/tree"
)

// A Kernel is the kernel of one source tree and build directory, as the configuration
// wants it: it checks and fixes its .config, builds it, and says how it is booted.
type Kernel struct {
	Tree   *kbuild.Tree
	Config *config.Config
	Events event.Sink
	VM     string // name of the VM; empty: it has none

	told   sync.Once    // why the userland is what it is
	opened *tree.Source // for Model, where the environment has been looked at just now
}

// Userland is what the guest runs on.
func (k *Kernel) Userland() (Userland, error) { return NewUserland(k.Config, k.Tree.Source) }

// An UnfixedError says that .config doesn't meet the requirements, and that
// fixing it is switched off.
type UnfixedError struct{ Missing []kconfig.Result }

func (e *UnfixedError) Error() string {
	return fmt.Sprintf(".config lacks %d of the options that the guest needs, %s first", len(e.Missing), e.Missing[0].Symbol)
}

// Hint names the commands that list and mend it.
func (e *UnfixedError) Hint() string {
	return "`run-kernel kconfig check` lists them, `run-kernel kconfig fix` sets them"
}

// Configure checks or fixes .config, as the configuration says, and returns it.
func (k *Kernel) Configure(ctx context.Context) (*kconfig.File, error) {
	if k.Config.Kconfig.Fix {
		report, err := k.Fix(ctx, FixOptions{})
		if err != nil {
			return nil, err
		}
		return report.Config, nil
	}
	results, err := k.Check(ctx)
	if err != nil {
		return nil, err
	}
	if open := missing(results); len(open) > 0 {
		return nil, &UnfixedError{open}
	}
	return k.ReadConfig()
}

// BuildOptions are for the image that a boot takes, with the .config f.
func (k *Kernel) BuildOptions(f *kconfig.File) kbuild.BuildOptions {
	image, target := k.image(f)
	// Modules outside of the tree need the list of all symbols, which comes with modules.
	modules := f.HasModules() || len(k.Tree.External) > 0
	scripts, _ := f.Get("GDB_SCRIPTS")
	return kbuild.BuildOptions{Image: image, Target: target, Modules: modules, GDB: scripts == "y", Events: k.Events}
}

// Missing are the requirements that .config doesn't meet as it stands, without
// the optional ones. After a build that is exact.
func (k *Kernel) Missing(ctx context.Context) ([]kconfig.Result, error) {
	requirements, err := k.Requirements(ctx)
	if err != nil {
		return nil, err
	}
	f, err := k.ReadConfig()
	if err != nil {
		return nil, err
	}
	return missing(kconfig.Check(f, requirements)), nil
}

// missing drops what is met, and what is optional.
func missing(results []kconfig.Result) []kconfig.Result {
	return slices.DeleteFunc(results, func(r kconfig.Result) bool { return r.Met || r.Optional })
}

func (k *Kernel) image(f *kconfig.File) (path, target string) {
	return k.Tree.Image(func(symbol string) bool {
		v, _ := f.Get(symbol)
		return v == "y"
	})
}

// MakeCommand returns the command that Make would run, and the path of the image.
func (k *Kernel) MakeCommand(args ...string) (command []string, image string, err error) {
	f, err := k.ReadConfig()
	if err != nil {
		return nil, "", err
	}
	o := k.BuildOptions(f)
	o.Args = args
	command, err = k.Tree.Command(o)
	return command, o.Image, err
}

// A NotBuiltError says that there is no image to boot.
type NotBuiltError struct{ Path string }

func (e *NotBuiltError) Error() string { return "there is no " + e.Path }

// Hint names the command that makes it.
func (e *NotBuiltError) Hint() string { return "build it: run-kernel build" }

// Image returns the image that the last build left.
func (k *Kernel) Image() (string, error) {
	f, err := k.ReadConfig()
	if err != nil {
		return "", err
	}
	path, _ := k.image(f)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", &NotBuiltError{path}
	}
	return path, nil
}

// imagePath is the path of the image that a build makes; empty without a .config.
func (k *Kernel) imagePath() string {
	f, err := k.ReadConfig()
	if err != nil {
		return ""
	}
	path, _ := k.image(f)
	return path
}

// GuestArch returns qemu's name of an architecture, a value of make's ARCH; empty:
// no guest of it can be booted, or it is this host's.
func GuestArch(name string) string {
	if a := arch.OfKernel(name); a.Guest != nil {
		return a.Name
	}
	return ""
}

// GuestKernels lists the kernel's names of the architectures that guests are of.
func GuestKernels(and string) string {
	var text strings.Builder
	guests := arch.Guests()
	for i, a := range guests {
		switch i {
		case 0:
		case len(guests) - 1:
			text.WriteString(" " + and + " ")
		default:
			text.WriteString(", ")
		}
		text.WriteString(a.Kernel)
	}
	return text.String()
}
