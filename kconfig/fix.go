// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/metaspace/run-kernel/internal/atomicfile"
)

// A Fixer changes a .config so that it meets requirements.
type Fixer struct {
	Path   string // of .config
	DryRun bool   // report what would be changed, and leave the file as it is
	// Olddefconfig runs the kernel's own olddefconfig on the file at path, in the
	// environment of the build.
	Olddefconfig func(ctx context.Context, path string) error
	// Solve finds what else has to be set. Without it, what is required is set, and
	// no more.
	Solve func(*File, []Requirement) (*Solution, error)
	// KeepGoing sets what can be had of requirements that can't all be met. The error
	// stays an *UnmetError.
	KeepGoing bool
}

// A Report tells what Fix did.
type Report struct {
	Edits    []Edit    // all that changed, what followed from a requirement included
	Settings []Setting // of what is required, and of what that needs
	Unmet    []Result  // optional requirements that this kernel doesn't grant
	Config   *File     // as it is now
	// Strained are the symbols that are selected since although what they depend on
	// doesn't hold: the kernel's conf warns of each.
	Strained []string
}

// An UnmetError says that requirements aren't met.
type UnmetError struct {
	Unmet  []Result
	Others int  // how many are met, or can be
	Kept   bool // .config has the others
}

func (e *UnmetError) Error() string {
	var b strings.Builder
	problem := "can't be had"
	for _, r := range e.Unmet {
		if r.Verdict != Impossible && r.Verdict != "" {
			problem = "can't be had, or no way to them was found"
		}
	}
	fmt.Fprintf(&b, "%d of the required options %s:", len(e.Unmet), problem)
	for _, r := range e.Unmet {
		if r.Proof != nil {
			fmt.Fprintf(&b, "\n\t%s%s, needed by %s: %s", r.Symbol, relation(r.Want.String()), r.Group, r.Why)
			switch {
			case r.Verdict == NotFound:
				b.WriteString("\n\t\tno way was found, which doesn't prove that there is none; this is in the way of those that were tried:")
			case r.Verdict == Forced:
				b.WriteString("\n\t\tonly a select that ignores what its target depends on would do, which breaks builds:")
			case len(r.With) > 0:
				fmt.Fprintf(&b, "\n\t\tnot together with %s:", strings.Join(r.With, ", or with "))
			}
			fmt.Fprintf(&b, "\n\t\t%s", strings.ReplaceAll(r.Proof.String(), "\n", "\n\t\t"))
			continue
		}
		have := r.Have
		if have == "" {
			have = "absent: no such option in this kernel, or its dependencies are not met"
		}
		fmt.Fprintf(&b, "\n\t%s: want %s, olddefconfig made it %s; needed by %s: %s", r.Symbol, r.Want, have, r.Group, r.Why)
	}
	return b.String()
}

// Hint says where more is shown.
func (e *UnmetError) Hint() string {
	hint := ".config is as it was"
	if e.Kept {
		hint = ".config has the others"
	}
	for _, r := range e.Unmet {
		// Of what no Kconfig file mentions there is nothing to show.
		if r.Proof == nil || r.Proof.At != "" {
			hint += fmt.Sprintf("; `run-kernel kconfig explain %s` shows what the option depends on", r.Symbol)
			break
		}
	}
	if e.Others > 0 && !e.Kept {
		hint += fmt.Sprintf("; `run-kernel kconfig fix --keep-going` sets the other %d", e.Others)
	}
	return hint
}

// Fix makes .config meet the requirements: it sets them in a copy, lets the
// kernel's olddefconfig judge, checks what it left, and replaces .config in one
// rename, or not at all. The file isn't touched when it meets them already.
//
// The error is an *UnmetError when something that isn't optional can't be met.
func (x *Fixer) Fix(ctx context.Context, requirements []Requirement) (*Report, error) {
	path, err := filepath.EvalSymlinks(x.Path)
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() && !st.IsDir() {
		// A file would take the place of /dev/null.
		return nil, &pathError{x.Path, "isn't a regular file", "name the file to change"}
	}
	old, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	removeStale(filepath.Dir(path))
	solution, err := x.settings(old, requirements)
	if err != nil {
		return nil, fmt.Errorf("fix %s: %w", x.Path, err)
	}
	if solution == nil {
		return &Report{Config: old}, nil
	}
	refused := required(solution.Refused)
	if len(solution.Settings) == 0 && len(refused) == 0 {
		return &Report{Config: old, Unmet: solution.Refused}, nil
	}
	candidate := filepath.Join(filepath.Dir(path), candidatePrefix+strconv.Itoa(os.Getpid()))
	defer removeCandidate(candidate)
	if !x.KeepGoing {
		for _, r := range refused {
			solution.File.Set(r.Symbol, r.Want.Setting()) // so that olddefconfig sees what was asked for
		}
	}
	possible := slices.DeleteFunc(slices.Clone(requirements), func(r Requirement) bool {
		return slices.ContainsFunc(solution.Refused, func(p Result) bool { return p.Symbol == r.Symbol })
	})
	fixed, err := x.solve(ctx, solution.File, candidate, possible)
	if err == nil {
		fixed, err = x.withoutOptional(ctx, old, fixed, candidate, requirements)
	}
	if err != nil {
		return nil, fmt.Errorf("fix %s: %w", x.Path, err)
	}
	open := unmet(fixed, requirements)
	var failed *UnmetError
	if missing := required(open); len(missing) > 0 {
		if len(refused) > 0 {
			missing = refused // with their proofs; of two that exclude each other, either may be missing
		}
		failed = &UnmetError{Unmet: missing, Others: len(required(Check(fixed, requirements))) - len(required(open))}
		if !x.KeepGoing {
			return nil, failed
		}
		open = slices.DeleteFunc(open, func(r Result) bool { return !r.Optional })
	}
	for i, r := range open {
		if known := slices.IndexFunc(solution.Refused, func(p Result) bool { return p.Symbol == r.Symbol }); known >= 0 {
			open[i].Proof = solution.Refused[known].Proof
		}
	}
	report := &Report{Edits: Diff(old, fixed), Settings: solution.Settings, Unmet: open, Config: fixed, Strained: solution.Strained}
	switch {
	case len(report.Edits) == 0:
		// Only optional requirements were open, and none was granted.
		report.Config = old
	case !x.DryRun:
		if err := x.replace(ctx, path, old, fixed, candidate); err != nil {
			return nil, err
		}
		if failed != nil {
			failed.Kept = true
		}
	}
	if failed != nil {
		return report, failed
	}
	return report, nil
}

// settings are what Solve finds, or without it what the requirements say; nil
// when they are met already.
func (x *Fixer) settings(old *File, requirements []Requirement) (*Solution, error) {
	if x.Solve != nil {
		return x.Solve(old, requirements)
	}
	open := unmet(old, requirements)
	if len(open) == 0 {
		return nil, nil
	}
	f, err := Parse(x.Path, old.Bytes())
	if err != nil {
		return nil, err
	}
	s := &Solution{File: f}
	for _, r := range open {
		s.Settings = append(s.Settings, Setting{Symbol: r.Symbol, Value: r.Want.Setting()})
	}
	return s, nil
}

func isOptional(r Result) bool { return r.Optional }

// required drops the optional ones.
func required(results []Result) []Result {
	return slices.DeleteFunc(slices.Clone(results), isOptional)
}

// candidatePrefix is followed by the id of the process whose candidate it is.
const candidatePrefix = ".config.run-kernel."

// removeCandidate removes a candidate and what conf makes beside it: the file
// before as <name>.old, and, when it is killed, <name>.<pid>.tmp; see
// conf_write() in scripts/kconfig/confdata.c.
func removeCandidate(path string) {
	dir, base := filepath.Split(path)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if name := e.Name(); name == base || strings.HasPrefix(name, base+".") {
			_ = os.Remove(filepath.Join(dir, name))
		}
	}
}

// removeStale removes the candidates of processes that were killed.
func removeStale(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), candidatePrefix)
		if !ok {
			continue
		}
		id, _, _ := strings.Cut(rest, ".")
		pid, err := strconv.Atoi(id)
		if err != nil || pid <= 0 || pid == os.Getpid() {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// solve sets what is required and lets olddefconfig judge, as long as that
// helps: what one round made possible the next may set.
func (x *Fixer) solve(ctx context.Context, old *File, candidate string, requirements []Requirement) (*File, error) {
	f, err := Parse(x.Path, old.Bytes())
	if err != nil {
		return nil, err
	}
	refused := -1
	for {
		for _, r := range unmet(f, requirements) {
			f.Set(r.Symbol, r.Want.Setting())
		}
		if err := writeSync(candidate, f.Bytes()); err != nil {
			return nil, err
		}
		if err := x.Olddefconfig(ctx, candidate); err != nil {
			return nil, err
		}
		if f, err = ReadFile(candidate); err != nil {
			return nil, err
		}
		n := len(unmet(f, requirements))
		if n == 0 || refused >= 0 && n >= refused {
			return f, nil
		}
		refused = n
	}
}

// withoutOptional solves for what isn't optional alone, where the whole was in vain: an
// optional requirement may have been in the way, as when both are of one choice. It
// returns the better configuration.
func (x *Fixer) withoutOptional(ctx context.Context, old, fixed *File, candidate string, requirements []Requirement) (*File, error) {
	if x.Solve != nil || len(required(unmet(fixed, requirements))) == 0 || !slices.ContainsFunc(unmet(old, requirements), isOptional) {
		return fixed, nil
	}
	strict := slices.DeleteFunc(slices.Clone(requirements), func(r Requirement) bool { return r.Optional })
	without, err := x.solve(ctx, old, candidate, strict)
	if err != nil || len(unmet(without, strict)) > 0 {
		return fixed, err
	}
	return without, nil
}

// replace puts the fixed configuration in the place of the old one, by way of candidate,
// unless that has changed meanwhile: who saved it would lose that.
func (x *Fixer) replace(ctx context.Context, path string, old, fixed *File, candidate string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("fix %s: %w", x.Path, context.Cause(ctx))
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, old.Bytes()) {
		return fmt.Errorf("fix: %w", errors.Join(err, &pathError{x.Path, "changed while it was being fixed", "run it again"}))
	}
	if err := atomicfile.Update(path, fixed.Bytes(), candidate); err != nil {
		return fmt.Errorf("fix %s: %w", x.Path, err)
	}
	return nil
}

// unmet lists what a file doesn't meet, optional ones included.
func unmet(f *File, requirements []Requirement) []Result {
	return slices.DeleteFunc(Check(f, requirements), func(r Result) bool { return r.Met })
}

// writeSync writes a file, and reports a full disk, before it returns.
func writeSync(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
