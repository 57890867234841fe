// SPDX-License-Identifier: GPL-3.0-only

package cycle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

	told sync.Once // why the userland is what it is
}

// Userland is what the guest runs on.
func (c *Cycle) Userland() (Userland, error) { return NewUserland(c.Config, c.Tree.Source) }

// groups are the requirements of a boot.
func (c *Cycle) groups() ([]string, error) {
	u, err := c.Userland()
	if err != nil {
		return nil, err
	}
	groups := []string{"base", "kvm-guest", "console", "initramfs", "clock", "entropy", "virtiofs", "agent"}
	groups = append(groups, u.groups()...)
	if c.Config.Run.Network == "user" {
		groups = append(groups, "virtio-net")
	}
	if len(c.Config.Run.Disk) > 0 {
		groups = append(groups, "virtio-blk")
	}
	return groups, nil
}

// Groups returns what the guest needs of the kernel, by group.
func (c *Cycle) Groups() ([]kconfig.Group, error) {
	names, err := c.groups()
	if err != nil {
		return nil, err
	}
	vars := map[string]string{"smp": strconv.Itoa(c.Config.Run.SMP)}
	return kconfig.Groups(c.Tree.SrcArch(), vars, names...)
}

// Requirements returns all that .config must meet: the groups', the fragments'
// and the options asked for one by one.
func (c *Cycle) Requirements() ([]kconfig.Requirement, error) {
	groups, err := c.Groups()
	if err != nil {
		return nil, err
	}
	var lists [][]kconfig.Requirement
	for _, g := range groups {
		lists = append(lists, g.Requirements)
	}
	for _, path := range c.Config.Kconfig.Fragments {
		list, err := kconfig.Fragment(path)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	for _, text := range c.Config.Kconfig.Require {
		r, err := kconfig.ParseRequire(text)
		if err != nil {
			return nil, err
		}
		lists = append(lists, []kconfig.Requirement{r})
	}
	return kconfig.Merge(lists...)
}

// ErrNoConfig says that there is no .config.
var ErrNoConfig = errors.New("there is no .config")

// ReadConfig reads .config. The error is ErrNoConfig when there is none.
func (c *Cycle) ReadConfig() (*kconfig.File, error) {
	f, err := kconfig.ReadFile(c.Tree.ConfigPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNoConfig, c.Tree.BuildDir)
	}
	return f, err
}

// Check compares .config with the requirements.
func (c *Cycle) Check() ([]kconfig.Result, error) {
	requirements, err := c.Requirements()
	if err != nil {
		return nil, err
	}
	f, err := c.ReadConfig()
	if err != nil {
		return nil, err
	}
	return kconfig.Check(f, requirements), nil
}

// Fix makes .config meet the requirements, starting from defconfig where there
// is none, and reports what it changed.
func (c *Cycle) Fix(ctx context.Context) (*kconfig.Report, error) {
	requirements, err := c.Requirements()
	if err != nil {
		return nil, err
	}
	path := c.Tree.ConfigPath()
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		c.Events.Emit(event.Notice{Text: "there is no .config: starting from the architecture's defconfig"})
		if c.DryRun {
			dir, err := os.MkdirTemp("", "run-kernel-config-")
			if err != nil {
				return nil, err
			}
			defer os.RemoveAll(dir)
			path = filepath.Join(dir, ".config")
		}
		if err := c.Tree.Configure(ctx, "defconfig", path); err != nil {
			return nil, err
		}
	}
	f, err := kconfig.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// Wishes that this kernel doesn't grant would cost an olddefconfig each time.
	settled := c.settledPath()
	if key := settledKey(f.Bytes(), requirements); settled != "" {
		if known, err := os.ReadFile(settled); err == nil && string(known) == key {
			return &kconfig.Report{Config: f}, nil
		}
	}
	fixer := kconfig.Fixer{
		Path: path, DryRun: c.DryRun,
		Olddefconfig: func(ctx context.Context, path string) error {
			return c.Tree.Configure(ctx, "olddefconfig", path)
		},
	}
	report, err := fixer.Fix(ctx, requirements)
	if err != nil {
		return nil, err
	}
	if settled != "" && !c.DryRun {
		// Losing it costs a second, no more.
		_ = os.WriteFile(settled, []byte(settledKey(report.Config.Bytes(), requirements)), 0o644)
	}
	if len(report.Edits) > 0 {
		c.Events.Emit(configFixed(c.Tree.ConfigPath(), report, requirements))
	}
	return report, nil
}

func (c *Cycle) settledPath() string {
	dir, err := c.Tree.StateDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "config-settled")
}

func settledKey(config []byte, requirements []kconfig.Requirement) string {
	h := sha256.New()
	h.Write(config)
	fmt.Fprintf(h, "%+v", requirements)
	return fmt.Sprintf("%x\n", h.Sum(nil))
}

func configFixed(path string, report *kconfig.Report, requirements []kconfig.Requirement) event.ConfigFixed {
	why := make(map[string]string)
	for _, r := range requirements {
		why[r.Symbol] = r.Why
	}
	e := event.ConfigFixed{Path: path}
	for _, d := range report.Edits {
		e.Edits = append(e.Edits, event.ConfigEdit{Symbol: d.Symbol, From: d.From, To: d.To, Why: why[d.Symbol]})
	}
	return e
}

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
	return c.Tree.Build(ctx, kbuild.BuildOptions{Image: image, Target: target, Modules: f.HasModules(), Args: args, Events: c.Events})
}

func (c *Cycle) prepareConfig(ctx context.Context) (*kconfig.File, error) {
	if c.Config.Kconfig.Fix {
		report, err := c.Fix(ctx)
		if err != nil {
			return nil, err
		}
		return report.Config, nil
	}
	missing, err := c.Missing()
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, &UnfixedError{missing}
	}
	return c.ReadConfig()
}

// Missing are the requirements that .config doesn't meet, without the wishes.
func (c *Cycle) Missing() ([]kconfig.Result, error) {
	results, err := c.Check()
	return slices.DeleteFunc(results, func(r kconfig.Result) bool { return r.Met || r.Wish }), err
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

// BootOptions are what the configuration says of the guest, but for a NixOS
// system, which has to be built. dir is the working directory; state is where the
// console's log goes, or empty for none.
func BootOptions(c *config.Config, u Userland, image, dir, tree, state string, events event.Sink) (boot.Options, error) {
	o := boot.Options{
		Kernel: image, KernelArgs: c.Run.KernelExtraArgs,
		QEMU: c.Run.QEMU, QEMUArgs: c.Run.QEMUExtraArgs, Accel: c.Run.Accel, CPUs: c.Run.SMP, MemoryGiB: c.Run.MemoryGiB,
		Network: c.Run.Network == "user", Tree: tree, Virtiofsd: c.Run.Virtiofsd, SocketDir: c.Run.VirtiofsdSocketDir,
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
	if o.System, err = u.System(ctx, state, c.Events); err != nil || image != c.imagePath() {
		return o, err // another kernel's modules
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
