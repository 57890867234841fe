// SPDX-License-Identifier: GPL-3.0-only

// Package minimize finds the fewest changes between two configurations that make a
// test fail.
//
// Each configuration that is tested is what the kernel's conf makes of the first one
// with some of the second one's settings, so that all of them are valid: a setting
// whose dependencies aren't there yet has no effect, and is found to need them.
package minimize

import (
	"context"
	"errors"
	"slices"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
)

// ErrFails says that the test fails with none of the settings, ErrPasses that it
// passes with all of them: there is nothing to be found between the two.
var (
	ErrFails  = errors.New("the test fails with the configuration as it is")
	ErrPasses = errors.New("the test passes with the other configuration")
)

// Settings are what a user would have to set in one configuration to have another:
// the values that users can set and that differ, in the order of the Kconfig files.
func Settings(m *model.Model, from, to *kconfig.File) []kconfig.Setting {
	have, want := state(m, from), state(m, to)
	chosen := make(map[string]string)
	// What some settings make possible has its default, which may be another value.
	for first := true; ; first = false {
		var list []kconfig.Setting
		known := len(chosen)
		for _, sym := range m.Symbols {
			if sym.Name == "" || len(sym.Prompts()) == 0 {
				continue
			}
			if _, ok := chosen[sym.Name]; !ok {
				old, _ := have.Value(sym)
				value, ok := want.Value(sym)
				if !ok || value == old || value == "n" && old == "" || want.Visible(sym) == model.No || !first && have.Visible(sym) == model.No {
					continue
				}
				chosen[sym.Name] = value
			}
			list = append(list, kconfig.Setting{Symbol: sym.Name, Value: chosen[sym.Name], At: sym.Nodes[0].Pos.String()})
		}
		next, err := with(m, from, list)
		if len(chosen) == known || err != nil {
			return list
		}
		have = next
	}
}

func state(m *model.Model, f *kconfig.File) *model.State {
	s := m.NewState()
	s.Load(".config", f.Bytes())
	return s
}

// Config is what conf makes of a configuration with settings.
func Config(m *model.Model, from *kconfig.File, settings []kconfig.Setting) ([]byte, error) {
	s, err := with(m, from, settings)
	if err != nil {
		return nil, err
	}
	return s.Config(), nil
}

func with(m *model.Model, from *kconfig.File, settings []kconfig.Setting) (*model.State, error) {
	f, err := kconfig.Parse(".config", from.Bytes())
	if err != nil {
		return nil, err
	}
	for _, s := range settings {
		f.Set(s.Symbol, s.Value)
		if sym := m.Lookup(s.Symbol); sym != nil && s.Value == "y" {
			for _, r := range sym.Rivals() {
				f.Set(r.Name, "n")
			}
		}
	}
	return state(m, f), nil
}

// Minimize returns settings of a list with which a test fails, none of which can be
// left out. It takes about log2 of their number for each that is returned, if more
// settings don't make the test pass again; if they do, more are returned than need
// be. An error of the test ends it.
func Minimize(ctx context.Context, all []kconfig.Setting, fails func(context.Context, []kconfig.Setting) (bool, error)) ([]kconfig.Setting, error) {
	if bad, err := fails(ctx, nil); err != nil || bad {
		return nil, errors.Join(err, when(bad, ErrFails))
	}
	if bad, err := fails(ctx, all); err != nil || !bad {
		return nil, errors.Join(err, when(err == nil, ErrPasses))
	}
	var needed []kconfig.Setting
	rest := all
	for {
		// The test passes with needed, and fails with all of the rest as well: the last
		// of the fewest of them, from the front, is needed.
		passes, failing := 0, len(rest)
		for failing-passes > 1 {
			middle := (passes + failing) / 2
			bad, err := fails(ctx, slices.Concat(rest[:middle], needed))
			if err != nil {
				return nil, err
			}
			if bad {
				failing = middle
			} else {
				passes = middle
			}
		}
		needed = slices.Concat([]kconfig.Setting{rest[failing-1]}, needed)
		rest = rest[:failing-1]
		bad, err := fails(ctx, needed)
		if err != nil {
			return nil, err
		}
		if bad {
			return drop(ctx, needed, fails)
		}
		if len(rest) == 0 {
			return needed, nil // it has failed with these before
		}
	}
}

func when(is bool, err error) error {
	if is {
		return err
	}
	return nil
}

// drop leaves out what isn't needed after all. Without the first one the test has
// passed.
func drop(ctx context.Context, needed []kconfig.Setting, fails func(context.Context, []kconfig.Setting) (bool, error)) ([]kconfig.Setting, error) {
	for i := len(needed) - 1; i > 0; i-- {
		without := slices.Delete(slices.Clone(needed), i, i+1)
		bad, err := fails(ctx, without)
		if err != nil {
			return nil, err
		}
		if bad {
			needed = without
		}
	}
	return needed, nil
}
