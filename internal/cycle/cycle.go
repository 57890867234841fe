// SPDX-License-Identifier: GPL-3.0-only

package cycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/userland"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kconfig"
)

// A Cycle makes passes over one tree.
type Cycle struct {
	Tree   *kbuild.Tree
	Config *config.Config
	Events event.Sink
	DryRun bool   // Fix changes nothing
	VM     string // name of the VM; empty: it has none
	// Changed are source files that were saved since the last pass, if that is known.
	Changed []string

	told sync.Once // why the userland is what it is
}

// Userland is what the guest runs on.
func (c *Cycle) Userland() (Userland, error) { return NewUserland(c.Config, c.Tree.Source) }

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

// Build checks or fixes .config and runs make.
func (c *Cycle) Build(ctx context.Context, args ...string) (*kbuild.Result, error) {
	c.Events.Emit(event.PhaseStarted{Phase: event.PhaseCheck})
	f, err := c.prepareConfig(ctx)
	if err != nil {
		return nil, err
	}
	c.Events.Emit(event.PhaseStarted{Phase: event.PhaseBuild})
	image, target := c.image(f)
	return c.Tree.Build(ctx, kbuild.BuildOptions{Image: image, Target: target, Modules: f.HasModules(), Args: args, Changed: c.Changed, Events: c.Events})
}

func (c *Cycle) prepareConfig(ctx context.Context) (*kconfig.File, error) {
	if c.Config.Kconfig.Fix {
		report, err := c.Fix(ctx)
		if err != nil {
			return nil, err
		}
		return report.Config, nil
	}
	results, err := c.Check(ctx)
	if err != nil {
		return nil, err
	}
	if open := missing(results); len(open) > 0 {
		return nil, &UnfixedError{open}
	}
	return c.ReadConfig()
}

// Missing are the requirements that .config doesn't meet as it stands, without
// the wishes. After a build that is exact.
func (c *Cycle) Missing(ctx context.Context) ([]kconfig.Result, error) {
	requirements, err := c.Requirements(ctx)
	if err != nil {
		return nil, err
	}
	f, err := c.ReadConfig()
	if err != nil {
		return nil, err
	}
	return missing(kconfig.Check(f, requirements)), nil
}

// missing drops what is met, and the wishes.
func missing(results []kconfig.Result) []kconfig.Result {
	return slices.DeleteFunc(results, func(r kconfig.Result) bool { return r.Met || r.Wish })
}

func (c *Cycle) image(f *kconfig.File) (path, target string) {
	return c.Tree.Image(func(symbol string) bool {
		v, _ := f.Get(symbol)
		return v == "y"
	})
}

// MakeCommand returns the command that Build would run, and the path of the image.
func (c *Cycle) MakeCommand(args ...string) (command []string, image string, err error) {
	f, err := c.ReadConfig()
	if err != nil {
		return nil, "", err
	}
	image, target := c.image(f)
	o := kbuild.BuildOptions{Target: target, Modules: f.HasModules(), Args: args}
	command, err = c.Tree.Command(o)
	return command, image, err
}

// A NotBuiltError says that there is no image to boot.
type NotBuiltError struct{ Path string }

func (e *NotBuiltError) Error() string { return "there is no " + e.Path }

// Hint names the command that makes it.
func (e *NotBuiltError) Hint() string { return "build it: run-kernel build" }

// Image returns the image that the last build left.
func (c *Cycle) Image() (string, error) {
	f, err := c.ReadConfig()
	if err != nil {
		return "", err
	}
	path, _ := c.image(f)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", &NotBuiltError{path}
	}
	return path, nil
}

// imagePath is the path of the image that a build makes; empty without a .config.
func (c *Cycle) imagePath() string {
	f, err := c.ReadConfig()
	if err != nil {
		return ""
	}
	path, _ := c.image(f)
	return path
}

// guests are the architectures that can be booted: qemu's names by the kernel's.
var guests = map[string]string{"x86": "x86_64", "arm64": "aarch64", "riscv": "riscv64"}

// GuestArch returns qemu's name of an architecture, a folder below arch/ of the
// kernel; empty: no guest of it can be booted, or it is this host's.
func GuestArch(srcArch string) string { return guests[srcArch] }

// BootOptions are what the configuration says of the guest, but for a NixOS
// system, which has to be built. dir is the working directory; state is where the
// console's log goes, or empty for none.
func BootOptions(c *config.Config, u Userland, image, dir, tree, state string, events event.Sink) (boot.Options, error) {
	o := boot.Options{
		Arch: GuestArch(kbuild.SrcArch(c.Build.Arch)), GuestInit: c.Run.GuestInit, Kernel: image, KernelArgs: c.Run.KernelExtraArgs,
		QEMU: c.Run.QEMU, QEMUArgs: c.Run.QEMUExtraArgs, Accel: c.Run.Accel, CPUs: c.Run.SMP, MemoryGiB: c.Run.MemoryGiB,
		Network: c.Run.Network == "user", Tree: tree,
		MountType: c.Run.MountType, Virtiofsd: c.Run.Virtiofsd, SocketDir: c.Run.VirtiofsdSocketDir,
		Dir: dir, Hostname: c.Run.Hostname, Timeout: c.Run.BootTimeout.Std(), Debug: c.Run.Debug,
		Events: events,
	}
	if state != "" {
		o.ConsoleLog = filepath.Join(state, "console.log")
	}
	for _, text := range c.Run.Share {
		s, err := config.ParseShare(text)
		if err != nil {
			return o, err
		}
		o.Shares = append(o.Shares, boot.Share{Tag: s.Tag, Dir: s.Path, Path: "/mnt/" + s.Tag, ReadOnly: s.ReadOnly})
	}
	for _, text := range c.Run.Disk {
		o.Disks = append(o.Disks, boot.Disk(config.ParseDisk(text)))
	}
	for _, text := range c.Run.Forward {
		f, err := config.ParseForward(text)
		if err != nil {
			return o, err
		}
		o.Forwards = append(o.Forwards, boot.Forward(f))
	}
	switch u.Kind {
	case userland.Nix:
	case userland.Host:
		o.Userland = "/"
		o.Shell = os.Getenv("SHELL")
		// The host's programs and the user's settings, but as root.
		if path := os.Getenv("PATH"); path != "" {
			o.Env = append(o.Env, "PATH="+path+":/usr/local/sbin:/usr/sbin:/sbin")
		}
		if home := os.Getenv("HOME"); home != "" {
			o.Env = append(o.Env, "HOME="+home)
		}
	default:
		o.Userland = u.Kind
	}
	for _, name := range []string{"TERM", "LANG", "LC_ALL", "COLORTERM"} {
		if v := os.Getenv(name); v != "" {
			o.Env = append(o.Env, name+"="+v)
		}
	}
	return o, nil
}

// VMDir returns the folder for what is kept of a tree's VM, by its name, and makes
// it.
func VMDir(t *kbuild.Tree, name string) (string, error) {
	state, err := t.StateDir()
	if err != nil || name == "" {
		return state, err
	}
	dir := filepath.Join(state, "vm", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return dir, nil
}

// BootOptions are those of the tree's guest. Where it runs on NixOS, nix builds
// that first, if it has changed.
func (c *Cycle) BootOptions(ctx context.Context, image, dir string) (boot.Options, error) {
	state, err := c.Tree.StateDir()
	if err != nil {
		return boot.Options{}, err
	}
	u, err := c.Userland()
	if err != nil {
		return boot.Options{}, err
	}
	if u.Why != "" {
		c.told.Do(func() { c.Events.Emit(event.Notice{Text: u.Why}) })
	}
	vmDir, err := VMDir(c.Tree, c.VM)
	if err != nil {
		return boot.Options{}, err
	}
	o, err := BootOptions(c.Config, u, image, dir, c.Tree.Source, vmDir, c.Events)
	if err != nil {
		return o, err
	}
	if o.System, err = u.System(ctx, state, c.Events); err != nil {
		return o, err
	}
	o.KernelVersion = c.KernelVersion()
	if image != c.imagePath() {
		return o, nil // another kernel's modules
	}
	modules, err := c.Tree.StageModules(ctx)
	if err != nil {
		return o, err
	}
	if modules != nil {
		o.Modules, o.ModulesRelease = modules.Dir, modules.Release
		if !c.Tree.InTree() {
			o.Build = c.Tree.BuildDir
		}
	}
	return o, nil
}

// System has nix build the system of the tree's guest, if that runs on one and it
// has changed, and returns its toplevel.
func (c *Cycle) System(ctx context.Context) (string, error) {
	state, err := c.Tree.StateDir()
	if err != nil {
		return "", err
	}
	u, err := c.Userland()
	if err != nil {
		return "", err
	}
	return u.System(ctx, state, c.Events)
}
