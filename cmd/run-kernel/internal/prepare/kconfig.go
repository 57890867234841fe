// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/spell"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/solver"
	"github.com/metaspace/run-kernel/kconfig/syntax"
	"github.com/metaspace/run-kernel/kconfig/tree"
)

// KernelVersion is that of the kernel to boot; empty when it isn't the tree's.
func (k *Kernel) KernelVersion() string {
	if k.Config.Run.Kernel != "" {
		return ""
	}
	version, err := k.Tree.Version()
	if err != nil {
		return "" // make will say more
	}
	return version
}

// mountType is how the guest will get directories of the host.
func (k *Kernel) mountType(ctx context.Context) string {
	m, err := boot.ChooseMounter(ctx, boot.Options{
		MountType: k.Config.Run.MountType, Virtiofsd: k.Config.Run.Virtiofsd, KernelVersion: k.KernelVersion(),
	})
	if err != nil {
		return boot.Virtiofs // a boot will say what is wrong
	}
	return m.Type
}

// groups are the requirements of a boot.
func (k *Kernel) groups(ctx context.Context) ([]string, error) {
	u, err := k.Userland()
	if err != nil {
		return nil, err
	}
	mountType, network := k.mountType(ctx), k.Config.Run.Network != "none"
	groups := []string{"base", "kvm-guest", "console", "initramfs", "clock", "entropy", mountType, "agent"}
	groups = append(groups, u.groups()...)
	if network || mountType == boot.NineP {
		groups = append(groups, "inet")
	}
	if network {
		groups = append(groups, "virtio-net")
	}
	if len(k.Config.Run.Disk) > 0 {
		groups = append(groups, "virtio-blk")
	}
	for _, name := range Profiles(k.Config) {
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

// Groups returns what the guest needs of the kernel, by group, and the groups with the
// names more.
func (k *Kernel) Groups(ctx context.Context, more ...string) ([]kconfig.Group, error) {
	names, err := k.groups(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range more {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	vars := map[string]string{"smp": strconv.Itoa(k.Config.Run.SMP)}
	groups, err := kconfig.Groups(k.Tree.SrcArch(), vars, names...)
	if err != nil {
		return nil, err
	}
	if version, err := k.Tree.Version(); err == nil {
		for i := range groups {
			groups[i].Requirements = slices.DeleteFunc(groups[i].Requirements, func(r kconfig.Requirement) bool {
				return r.Before != "" && !older(version, r.Before)
			})
		}
	}
	flake, err := k.flakeGroup(ctx)
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
func (k *Kernel) Requirements(ctx context.Context) ([]kconfig.Requirement, error) {
	groups, err := k.Groups(ctx)
	if err != nil {
		return nil, err
	}
	var lists [][]kconfig.Requirement
	for _, g := range groups {
		lists = append(lists, g.Requirements)
	}
	for _, path := range k.Config.Kconfig.Fragments {
		list, err := kconfig.Fragment(path)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	for _, text := range k.Config.Kconfig.Require {
		r, err := kconfig.ParseRequire(text)
		if err != nil {
			return nil, err
		}
		lists = append(lists, []kconfig.Requirement{r})
	}
	if len(k.Tree.External) > 0 {
		lists = append(lists, externalNeeds)
	}
	return kconfig.Merge(lists...)
}

// externalNeeds is what modules outside of the tree need.
var externalNeeds = []kconfig.Requirement{
	{Symbol: "MODULES", Want: kconfig.Want{Value: "y"}, Group: "external", Why: "Modules outside of the tree are built", Symptom: "make refuses to build them"},
	{
		Symbol: "MODULE_UNLOAD", Want: kconfig.Want{Value: "y"}, Optional: true, Group: "external", Why: "A module is replaced in the running guest",
		Symptom: "each change of a module boots a new guest",
	},
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

var madeFor = pattern.New(`(?m)\A(?:#[^\n]*\n){0,3}?# Linux/(\w+) `)

// foreign is what is wrong with a .config that conf made for another architecture
// than the tree's; nil with any other.
func (k *Kernel) foreign(f *kconfig.File) *foreignError {
	m := madeFor.FindSubmatch(f.Bytes())
	if m == nil || arch.OfKernel(string(m[1])).Kernel == k.Tree.SrcArch() {
		return nil
	}
	return &foreignError{k.Tree.ConfigPath(), string(m[1]), k.Tree.Arch()}
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
	// What is read is 50 MB and lives as long as we need it: collecting garbage
	// while it grows costs a third of the time.
	if percent := debug.SetGCPercent(1600); percent >= 0 {
		defer debug.SetGCPercent(percent)
	} else {
		debug.SetGCPercent(percent) // there is none
	}
	if opened := k.opened; opened != nil {
		k.opened = nil // the next one shall see what has changed
		opened.Environ = k.treeOptions().Environ
		return opened.Load(ctx)
	}
	return tree.Load(ctx, k.treeOptions())
}

func (k *Kernel) treeOptions() tree.Options {
	dir, err := os.UserCacheDir()
	if err == nil {
		dir = filepath.Join(dir, "run-kernel", "kconfig")
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

// Check compares what .config says, or what the kernel's conf would make of it,
// with the requirements.
func (k *Kernel) Check(ctx context.Context) ([]kconfig.Result, error) {
	requirements, err := k.Requirements(ctx)
	if err != nil {
		return nil, err
	}
	f, err := k.ReadConfig()
	if err != nil {
		return nil, err
	}
	if err := k.foreign(f); err != nil {
		k.Events.Emit(event.Warning{Text: err.Error(), Hint: err.Hint()})
	}
	environ := k.environ(ctx)
	key := settledKey(f.Bytes(), requirements, environ)
	// Without knowing the environment, nothing is kept.
	if known := k.settled(checked, key); known != nil && len(known.Values) == len(requirements) {
		results := make([]kconfig.Result, len(requirements))
		for i, r := range requirements {
			results[i] = kconfig.Result{Requirement: r, Have: known.Values[i], Met: r.Want.Met(known.Values[i])}
		}
		return results, nil
	}
	m, err := k.tryModel(ctx)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return kconfig.Check(f, requirements), nil
	}
	k.tellUnknown(f, m)
	results := solver.Check(m, solver.Evaluate(m, f), requirements)
	// A slip of the user's isn't kept: the next check shall tell of it as well.
	slip := func(r kconfig.Result) bool { return r.Proof != nil && r.Group == "require" }
	if environ != "" && !slices.ContainsFunc(results, slip) {
		k.settle(checked, key, m, results)
	}
	return results, nil
}

// fewUnknown is up to how many options that a kernel doesn't know are taken for slips of
// the user. A .config of another kernel has many.
const fewUnknown = 5

// tellUnknown tells of options in .config that this kernel doesn't know. Its conf drops
// them without a word.
func (k *Kernel) tellUnknown(f *kconfig.File, m *model.Model) {
	unknown := slices.DeleteFunc(f.Symbols(), func(name string) bool {
		s := m.Lookup(name)
		return s != nil && s.Defined()
	})
	if len(unknown) > fewUnknown {
		k.Events.Emit(event.Notice{Text: fmt.Sprintf("%d options in .config aren't options of this kernel, such as %s and %s; it drops them", len(unknown), unknown[0], unknown[1])})
		return
	}
	for _, name := range unknown {
		k.Events.Emit(event.Warning{
			Text: fmt.Sprintf(".config sets %s, and this kernel has no such option; it drops it", name), Hint: spell.Question(name, m.Names()),
		})
	}
}

// Fix makes .config meet the requirements, starting from defconfig where there
// is none, and reports what it changed. With dryRun it changes nothing, and reports
// what it would.
func (k *Kernel) Fix(ctx context.Context, dryRun bool) (*kconfig.Report, error) {
	return k.FixFile(ctx, FixOptions{Path: k.Tree.ConfigPath(), DryRun: dryRun})
}

// FixOptions say what FixFile does.
type FixOptions struct {
	Path      string // of the configuration
	DryRun    bool   // report what would be changed
	KeepGoing bool   // set what can be had where not all can
	Quiet     bool   // don't tell what has changed
}

// FixFile is Fix of any configuration. What was found of .config before, and what
// the user switched off in it, is of no account for another one.
func (k *Kernel) FixFile(ctx context.Context, o FixOptions) (*kconfig.Report, error) {
	dryRun := o.DryRun
	own := o.Path == k.Tree.ConfigPath()
	requirements, err := k.Requirements(ctx)
	if err != nil {
		return nil, err
	}
	path := o.Path
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && own {
		if err := k.noConfig(); !errors.Is(err, ErrNoConfig) {
			return nil, err
		}
		k.Events.Emit(event.Notice{Text: "there is no .config: starting from the architecture's defconfig"})
		if dryRun {
			dir, remove, err := private.TempDir("run-kernel-config-")
			if err != nil {
				return nil, err
			}
			defer remove()
			path = filepath.Join(dir, ".config")
		}
		if err := k.Tree.Configure(ctx, "defconfig", path); err != nil {
			return nil, err
		}
	}
	f, err := kconfig.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := k.foreign(f); err != nil {
		return nil, err
	}
	environ := k.environ(ctx)
	if own && k.settled(fixed, settledKey(f.Bytes(), requirements, environ)) != nil {
		return &kconfig.Report{Config: f}, nil
	}
	m, err := k.tryModel(ctx)
	if err != nil {
		return nil, err
	}
	if own && m != nil {
		k.tellUnknown(f, m)
	}
	fixer := kconfig.Fixer{
		Path: path, DryRun: dryRun, KeepGoing: o.KeepGoing,
		Olddefconfig: func(ctx context.Context, path string) error {
			return k.olddefconfig(ctx, path, m, environ)
		},
	}
	if m != nil {
		fixer.Solve = func(f *kconfig.File, list []kconfig.Requirement) (*kconfig.Solution, error) {
			return solver.Solve(m, f, list)
		}
	}
	var declined []string
	if own {
		declined = k.declined(f, requirements)
	}
	isDeclined := func(r kconfig.Requirement) bool { return slices.Contains(declined, r.Symbol) }
	report, err := fixer.Fix(ctx, slices.DeleteFunc(slices.Clone(requirements), isDeclined))
	if err != nil {
		if report != nil && len(report.Edits) > 0 && !o.Quiet {
			k.Events.Emit(configFixed(o.Path, report, requirements))
		}
		return nil, err
	}
	for _, name := range report.Strained {
		k.Events.Emit(event.Warning{
			Text: fmt.Sprintf("%s is selected now although what it depends on doesn't hold: the kernel's conf will warn of it, and the build may fail", name),
			Hint: "run-kernel kconfig explain " + name + " shows what selects it",
		})
	}
	for _, r := range requirements {
		if isDeclined(r) {
			report.Unmet = append(report.Unmet, kconfig.Result{
				Requirement: r, Have: "n", Verdict: kconfig.Declined,
				Proof: &kconfig.Step{Symbol: r.Symbol, Want: r.Want.String(), Text: ".config has been fixed before, and it was switched off since"},
			})
		}
	}
	if !dryRun && own {
		if _, err := k.Tree.StateDir(); err == nil {
			k.remember(report.Config, requirements, declined)
			k.settle(fixed, settledKey(report.Config.Bytes(), requirements, environ), m, nil)
		}
	}
	if len(report.Edits) > 0 && !o.Quiet {
		k.Events.Emit(configFixed(o.Path, report, requirements))
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
