// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/metaspace/run-kernel/internal/spell"
)

// AddFlags defines the flags of some tables. A flag's own value isn't used: Load
// reads those that were given.
func AddFlags(flags *pflag.FlagSet, tables ...string) {
	defaults := Default()
	for _, k := range keys {
		if !slices.Contains(tables, k.table) {
			continue
		}
		switch v := k.value(&defaults).(type) {
		case int:
			flags.IntP(k.flag, k.short, v, k.help)
		case bool:
			flags.BoolP(k.flag, k.short, v, k.help)
		case []string:
			flags.StringArrayP(k.flag, k.short, nil, k.help)
		case string:
			flags.StringP(k.flag, k.short, v, k.help)
		case Duration:
			flags.StringP(k.flag, k.short, v.String(), k.help)
		}
	}
}

// wordLists are the lists whose flag may hold several words.
var wordLists = []string{"run.kernel_extra_args", "run.qemu_extra_args"}

func readFlags(flags *pflag.FlagSet, dir string) (layer, error) {
	l := newLayer()
	for _, k := range keys {
		f := flags.Lookup(k.flag)
		if f == nil || !f.Changed {
			continue
		}
		var value any
		if list, ok := f.Value.(pflag.SliceValue); ok && k.kind.Kind() == reflect.Slice {
			var words []string
			for _, text := range list.GetSlice() {
				if !slices.Contains(wordLists, k.name) {
					words = append(words, text)
					continue
				}
				split, err := k.parse(text)
				if err != nil {
					return l, &ValueError{Where: "--" + k.flag, Problem: err.Error()}
				}
				words = append(words, split.([]string)...)
			}
			value = words
		} else {
			v, err := k.parse(f.Value.String())
			if err != nil {
				return l, &ValueError{Where: "--" + k.flag, Problem: err.Error()}
			}
			value = v
		}
		l.values[k.name] = k.resolve(value, dir)
		l.origins[k.name] = Origin{"--" + k.flag}
	}
	return l, nil
}

func dashes(s string) string { return strings.ReplaceAll(s, "_", "-") }

func upper(s string) string { return strings.ToUpper(strings.ReplaceAll(s, ".", "_")) }

// didYouMean is the hint for an unknown key of a file: where it belongs, or what
// it is like.
func didYouMean(name []string) string {
	if len(name) == 0 {
		return ""
	}
	last := strings.ReplaceAll(name[len(name)-1], "-", "_")
	if last == trustKey {
		return "trust stands before the first table, and in your own configuration file only"
	}
	table := ""
	if len(name) > 1 {
		table = name[0]
	}
	var homes []string
	for _, k := range keys {
		if _, own, _ := strings.Cut(k.name, "."); own == last && k.table != table {
			homes = append(homes, "["+k.table+"]")
		}
	}
	switch {
	case len(homes) > 0:
		return last + " belongs in the table " + strings.Join(homes, " or ")
	case len(name) == 1:
		for _, k := range keys {
			if spell.Distance(name[0], k.table) <= 1 {
				return "did you mean the table [" + k.table + "]?"
			}
		}
	}
	k, ok := nearest(strings.Join(name, "."))
	if !ok {
		return "run-kernel config lists the keys"
	}
	_, own, _ := strings.Cut(k.name, ".")
	if k.table == table {
		return "did you mean " + own + "?"
	}
	return "did you mean " + own + " in the table [" + k.table + "]?"
}

// nearest finds the known key that is most like name, if any is like it at all.
// The table counts little: a key in the wrong table is a usual slip.
func nearest(name string) (key, bool) {
	_, last, dotted := strings.Cut(name, ".")
	if !dotted {
		last = name
	}
	last = strings.ToLower(last)
	best, bestDistance := key{}, 1<<30
	for _, k := range keys {
		_, own, _ := strings.Cut(k.name, ".")
		d := 2*spell.Distance(last, own) + min(1, spell.Distance(name, k.name))
		if d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best, bestDistance <= 2*max(1, len(last)/3)+1
}

// nearestVariable finds the key whose variable is most like name. The table's
// part may be missing.
func nearestVariable(name string) (key, bool) {
	rest := strings.ToLower(strings.TrimPrefix(name, "RUN_KERNEL_"))
	best, bestDistance := key{}, 1<<30
	for _, k := range keys {
		_, own, _ := strings.Cut(k.name, ".")
		d := min(spell.Distance(rest, own), spell.Distance(rest, k.table+"_"+own))
		if d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best, bestDistance <= max(1, len(rest)/4)
}

// Choices are the values of those flags that have a fixed set.
func Choices() map[string][]string {
	choices := make(map[string][]string)
	for _, k := range keys {
		if values, ok := allowed[k.name]; ok {
			choices[k.flag] = slices.Clone(values)
		}
	}
	choices[keyNamed("verdict.fail").flag] = slices.Clone(ReportClasses)
	return choices
}
