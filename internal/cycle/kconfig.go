// SPDX-License-Identifier: GPL-3.0-only

package cycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/closure"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
	"github.com/metaspace/run-kernel/kconfig/tree"
)

// KernelVersion is that of the kernel to boot; empty when it isn't the tree's.
func (c *Cycle) KernelVersion() string {
	if c.Config.Run.Kernel != "" {
		return ""
	}
	version, err := c.Tree.Version()
	if err != nil {
		return "" // make will say more
	}
	return version
}

// mountType is how the guest will get directories of the host.
func (c *Cycle) mountType(ctx context.Context) string {
	m, err := boot.ChooseMounter(ctx, boot.Options{
		MountType: c.Config.Run.MountType, Virtiofsd: c.Config.Run.Virtiofsd, KernelVersion: c.KernelVersion(),
	})
	if err != nil {
		return boot.Virtiofs // a boot will say what is wrong
	}
	return m.Type
}

// groups are the requirements of a boot.
func (c *Cycle) groups(ctx context.Context) ([]string, error) {
	u, err := c.Userland()
	if err != nil {
		return nil, err
	}
	mountType, network := c.mountType(ctx), c.Config.Run.Network == "user"
	groups := []string{"base", "kvm-guest", "console", "initramfs", "clock", "entropy", mountType, "agent"}
	groups = append(groups, u.groups()...)
	if network || mountType == boot.NineP {
		groups = append(groups, "inet")
	}
	if network {
		groups = append(groups, "virtio-net")
	}
	if len(c.Config.Run.Disk) > 0 {
		groups = append(groups, "virtio-blk")
	}
	for _, name := range Profiles(c.Config) {
		if !slices.Contains(groups, name) {
			groups = append(groups, name)
		}
	}
	return groups, nil
}

// Profiles are the names of the groups that the configuration asks for.
func Profiles(c *config.Config) []string {
	return strings.FieldsFunc(strings.Join(c.Kconfig.Profiles, ","), func(r rune) bool { return r == ',' })
}

// Groups returns what the guest needs of the kernel, by group.
func (c *Cycle) Groups(ctx context.Context) ([]kconfig.Group, error) {
	names, err := c.groups(ctx)
	if err != nil {
		return nil, err
	}
	vars := map[string]string{"smp": strconv.Itoa(c.Config.Run.SMP)}
	groups, err := kconfig.Groups(c.Tree.SrcArch(), vars, names...)
	if err != nil {
		return nil, err
	}
	if version, err := c.Tree.Version(); err == nil {
		for i := range groups {
			groups[i].Requirements = slices.DeleteFunc(groups[i].Requirements, func(r kconfig.Requirement) bool {
				return r.Before != "" && !older(version, r.Before)
			})
		}
	}
	flake, err := c.flakeGroup(ctx)
	if err != nil || flake == nil {
		return groups, err
	}
	return append(groups, *flake), nil
}

// older says whether a kernel's version, such as 6.1.176-rc1, comes before another.
func older(version, than string) bool {
	var a, b [2]int
	_, _ = fmt.Sscanf(version, "%d.%d", &a[0], &a[1])
	_, _ = fmt.Sscanf(than, "%d.%d", &b[0], &b[1])
	return slices.Compare(a[:], b[:]) < 0
}

// Requirements returns all that .config must meet: the groups', the fragments'
// and the options asked for one by one.
func (c *Cycle) Requirements(ctx context.Context) ([]kconfig.Requirement, error) {
	groups, err := c.Groups(ctx)
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

var madeFor = regexp.MustCompile(`(?m)\A(?:#[^\n]*\n){0,3}?# Linux/(\w+) `)

// foreign is what is wrong with a .config that conf made for another architecture
// than the tree's; nil with any other.
func (c *Cycle) foreign(f *kconfig.File) *foreignError {
	m := madeFor.FindSubmatch(f.Bytes())
	if m == nil || kbuild.SrcArch(string(m[1])) == c.Tree.SrcArch() {
		return nil
	}
	return &foreignError{c.Tree.ConfigPath(), string(m[1]), c.Tree.Arch()}
}

// noConfig is what is wrong where a .config can't be found: ErrNoConfig, or a
// *danglingError.
func (c *Cycle) noConfig() error {
	path := c.Tree.ConfigPath()
	if target, err := os.Readlink(path); err == nil {
		return &danglingError{path, target}
	}
	return fmt.Errorf("%w in %s", ErrNoConfig, c.Tree.BuildDir)
}

// ReadConfig reads .config. The error is ErrNoConfig when there is none.
func (c *Cycle) ReadConfig() (*kconfig.File, error) {
	f, err := kconfig.ReadFile(c.Tree.ConfigPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, c.noConfig()
	}
	return f, err
}

// Model reads the Kconfig files as the build has them.
func (c *Cycle) Model(ctx context.Context) (*model.Model, error) {
	// What is read is 50 MB and lives as long as we need it: collecting garbage
	// while it grows costs a third of the time.
	defer debug.SetGCPercent(debug.SetGCPercent(1600))
	return tree.Load(ctx, c.treeOptions())
}

func (c *Cycle) treeOptions() tree.Options {
	dir, err := os.UserCacheDir()
	if err == nil {
		dir = filepath.Join(dir, "run-kernel", "kconfig")
	}
	return tree.Options{
		Srctree: c.Tree.Source, Objtree: c.Tree.BuildDir, Env: kbuild.Environ(), Vars: c.Tree.Variables(), Environ: c.Tree.ConfEnviron, Cache: dir,
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
func (c *Cycle) tryModel(ctx context.Context) (*model.Model, error) {
	m, err := c.Model(ctx)
	var incomplete *model.NotTreeError
	var broken *syntax.Error
	switch {
	case err == nil, ctx.Err() != nil:
		return m, err
	case errors.As(err, &broken) && broken.Refusal:
		return nil, &refusedError{err}
	case errors.As(err, &incomplete): // make says what is missing
	default:
		c.Events.Emit(event.Notice{Text: fmt.Sprintf("options are only set and not solved for, as the kernel's conf alone understands this tree: %v", err)})
	}
	return nil, nil
}

// Check compares what .config says, or what the kernel's conf would make of it,
// with the requirements.
func (c *Cycle) Check(ctx context.Context) ([]kconfig.Result, error) {
	requirements, err := c.Requirements(ctx)
	if err != nil {
		return nil, err
	}
	f, err := c.ReadConfig()
	if err != nil {
		return nil, err
	}
	if err := c.foreign(f); err != nil {
		c.Events.Emit(event.Warning{Text: err.Error(), Hint: err.Hint()})
	}
	environ := c.environ(ctx)
	key := settledKey(f.Bytes(), requirements, environ)
	// Without knowing the environment, nothing is kept.
	if known := c.settled(checked, key); known != nil && len(known.Values) == len(requirements) {
		results := make([]kconfig.Result, len(requirements))
		for i, r := range requirements {
			results[i] = kconfig.Result{Requirement: r, Have: known.Values[i], Met: r.Want.Met(known.Values[i])}
		}
		return results, nil
	}
	m, err := c.tryModel(ctx)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return kconfig.Check(f, requirements), nil
	}
	results := closure.Check(m, closure.Evaluate(m, f), requirements)
	if environ != "" && !c.DryRun {
		c.settle(checked, key, m, results)
	}
	return results, nil
}

// Fix makes .config meet the requirements, starting from defconfig where there
// is none, and reports what it changed.
func (c *Cycle) Fix(ctx context.Context) (*kconfig.Report, error) {
	requirements, err := c.Requirements(ctx)
	if err != nil {
		return nil, err
	}
	path := c.Tree.ConfigPath()
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := c.noConfig(); !errors.Is(err, ErrNoConfig) {
			return nil, err
		}
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
	if err := c.foreign(f); err != nil {
		return nil, err
	}
	environ := c.environ(ctx)
	if c.settled(fixed, settledKey(f.Bytes(), requirements, environ)) != nil {
		return &kconfig.Report{Config: f}, nil
	}
	m, err := c.tryModel(ctx)
	if err != nil {
		return nil, err
	}
	fixer := kconfig.Fixer{
		Path: path, DryRun: c.DryRun,
		Olddefconfig: func(ctx context.Context, path string) error {
			return c.Tree.Configure(ctx, "olddefconfig", path)
		},
	}
	if m != nil {
		fixer.Solve = func(f *kconfig.File, list []kconfig.Requirement) (*kconfig.Solution, error) {
			return closure.Solve(m, f, list)
		}
	}
	report, err := fixer.Fix(ctx, requirements)
	if err != nil {
		return nil, err
	}
	if !c.DryRun {
		if _, err := c.Tree.StateDir(); err == nil {
			c.settle(fixed, settledKey(report.Config.Bytes(), requirements, environ), m, nil)
		}
	}
	if len(report.Edits) > 0 {
		c.Events.Emit(configFixed(c.Tree.ConfigPath(), report, requirements))
	}
	return report, nil
}

func configFixed(path string, report *kconfig.Report, requirements []kconfig.Requirement) event.ConfigFixed {
	why := make(map[string]string)
	for _, s := range report.Settings {
		if s.For != "" {
			why[s.Symbol] = fmt.Sprintf("%s needs it (%s)", s.For, s.At)
		}
	}
	for _, r := range requirements {
		why[r.Symbol] = r.Why
	}
	e := event.ConfigFixed{Path: path}
	for _, d := range report.Edits {
		e.Edits = append(e.Edits, event.ConfigEdit{Symbol: d.Symbol, From: d.From, To: d.To, Why: why[d.Symbol]})
	}
	return e
}
