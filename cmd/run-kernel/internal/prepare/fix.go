// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/spell"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/solver"
)

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
	if err := k.foreign(k.Tree.ConfigPath(), f); err != nil {
		k.Events.Emit(event.Warning{Text: err.Error(), Hint: err.Hint()})
	}
	environ := k.environ(ctx)
	key := settledKey(f.Bytes(), requirements, environ)
	// Without knowing the environment, nothing is kept.
	if known := k.settled(checked, key); known != nil && len(known.Values) == len(requirements) {
		results := make([]kconfig.Result, len(requirements))
		for i, r := range requirements {
			results[i] = kconfig.Result{Requirement: r, Have: known.Values[i], Met: r.Want.Met(known.Values[i])}
			if proof, ok := known.Proofs[r.Symbol]; ok {
				results[i].Proof = &proof
			}
		}
		return results, nil
	}
	read := time.Now()
	m, err := k.tryModel(ctx)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return kconfig.Check(f, requirements), nil
	}
	slips := k.tellUnknown(f, m)
	results := solver.Check(m, solver.Evaluate(m, f), requirements)
	// A slip of the user's isn't kept, so that the next check tells of it too.
	if environ != "" && len(slips) == 0 {
		k.settle(checked, checkedSettlement(key, results), m, read)
	}
	return results, nil
}

// fewUnknown is up to how many options that a kernel doesn't know are taken for slips of
// the user. A .config of another kernel has many.
const fewUnknown = 5

// tellUnknown tells of options in .config that this kernel doesn't know, and returns
// these. Its conf drops them without a word.
func (k *Kernel) tellUnknown(f *kconfig.File, m *model.Model) []string {
	names := unknown(f, m)
	if len(names) > fewUnknown {
		k.Events.Emit(event.Notice{Text: fmt.Sprintf("%d options in .config aren't options of this kernel, such as %s and %s; it drops them", len(names), names[0], names[1])})
		return names
	}
	for _, name := range names {
		k.Events.Emit(event.Warning{
			Text: fmt.Sprintf(".config sets %s, and this kernel has no such option; it drops it", name), Hint: spell.Question(name, m.Names()),
		})
	}
	return names
}

// unknown lists the options in a .config that a kernel doesn't know.
func unknown(f *kconfig.File, m *model.Model) []string {
	return slices.DeleteFunc(f.Symbols(), func(name string) bool {
		s := m.Lookup(name)
		return s != nil && s.Defined()
	})
}

// FixOptions say what Fix does.
type FixOptions struct {
	Path      string // of the configuration; empty: .config
	DryRun    bool   // report what would be changed
	KeepGoing bool   // set what can be had where not all can
	Quiet     bool   // don't tell what has changed
}

// Fix makes .config meet the requirements, starting from defconfig where there is none,
// and reports what it changed, or would change. For another configuration, it ignores
// what is kept of earlier checks of .config, and what the user switched off in it.
func (k *Kernel) Fix(ctx context.Context, o FixOptions) (*kconfig.Report, error) {
	o.Path = cmp.Or(o.Path, k.Tree.ConfigPath())
	own := o.Path == k.Tree.ConfigPath()
	requirements, err := k.Requirements(ctx)
	if err != nil {
		return nil, err
	}
	path, remove, err := k.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	defer remove()
	f, err := kconfig.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := k.foreign(path, f); err != nil {
		return nil, err
	}
	environ := k.environ(ctx)
	if own {
		if known := k.settled(fixed, settledKey(f.Bytes(), requirements, environ)); known != nil {
			return &kconfig.Report{Config: f, Unmet: known.Unmet}, nil
		}
	}
	read := time.Now()
	m, err := k.tryModel(ctx)
	if err != nil {
		return nil, err
	}
	if own && m != nil {
		k.tellUnknown(f, m)
	}
	fixer := kconfig.Fixer{
		Path: path, DryRun: o.DryRun, KeepGoing: o.KeepGoing,
		Olddefconfig: func(ctx context.Context, path string) error {
			return k.olddefconfig(ctx, path, m, read, environ)
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
	if own && !o.DryRun {
		if _, err := k.Tree.StateDir(); err == nil {
			k.remember(report.Config, requirements, declined)
			if m == nil || len(unknown(report.Config, m)) == 0 { // as for a check
				k.settle(fixed, settlement{Key: settledKey(report.Config.Bytes(), requirements, environ), Unmet: report.Unmet}, m, read)
			}
		}
	}
	if len(report.Edits) > 0 && !o.Quiet {
		k.Events.Emit(configFixed(o.Path, report, requirements))
	}
	return report, nil
}

// begin returns the path of the configuration that a fix starts from. Where there is no
// .config, that is the architecture's defconfig, which a dry run has until remove.
func (k *Kernel) begin(ctx context.Context, o FixOptions) (path string, remove func(), err error) {
	remove = func() {}
	if _, err := os.Stat(o.Path); !errors.Is(err, os.ErrNotExist) || o.Path != k.Tree.ConfigPath() {
		return o.Path, remove, nil
	}
	if err := k.noConfig(); !errors.Is(err, ErrNoConfig) {
		return "", nil, err
	}
	k.Events.Emit(event.Notice{Text: "there is no .config: starting from the architecture's defconfig"})
	path = o.Path
	if o.DryRun {
		dir, removeDir, err := private.TempDir("run-kernel-config-")
		if err != nil {
			return "", nil, err
		}
		path, remove = filepath.Join(dir, ".config"), removeDir
	}
	if err := k.Tree.Configure(ctx, "defconfig", path); err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}

// configFixed is the event for what a fix changed, each with its reason.
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
