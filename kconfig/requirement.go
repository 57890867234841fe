// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A Requirement is what a guest needs of one symbol.
type Requirement struct {
	Symbol  string // without CONFIG_
	Want    Want
	Wish    bool   // not met is no failure
	Group   string // the profile or the file it comes from
	Why     string
	Symptom string // what happens without it
}

// A Want is a condition on a symbol's value.
type Want struct {
	Value  string // as in .config: y, m, n, a number, a quoted string
	Module bool   // m will do where y is wanted
	Min    bool   // a greater number will do
}

func (w Want) String() string {
	switch {
	case w.Module:
		return w.Value + "|m"
	case w.Min:
		return ">= " + w.Value
	}
	return w.Value
}

// Met says whether a value as in .config meets the condition. A symbol that
// isn't in the file has the value "".
func (w Want) Met(have string) bool {
	if have == w.Value || w.Module && have == "m" {
		return true
	}
	if w.Value == "n" {
		return have == ""
	}
	if w.Min {
		a, errA := strconv.ParseInt(have, 0, 64)
		b, errB := strconv.ParseInt(w.Value, 0, 64)
		return errA == nil && errB == nil && a >= b
	}
	return false
}

// compatible says whether some value meets both conditions.
func (w Want) compatible(v Want) bool {
	return w == v || w.Met(v.Value) || v.Met(w.Value)
}

var requireForm = regexp.MustCompile(`^(?:CONFIG_)?([A-Za-z0-9_]+)\s*(\?=|>=|=)\s*(.+)$`)

// ParseRequire parses a requirement as a user writes it: FOO=y, FOO=y|m,
// FOO>=8, FOO="text", FOO=n, or, as a wish, FOO?=y.
func ParseRequire(s string) (Requirement, error) {
	m := requireForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return Requirement{}, fmt.Errorf("%q isn't a requirement such as KASAN=y, DRM=y|m or NR_CPUS>=8", s)
	}
	r := Requirement{Symbol: m[1], Want: Want{Value: m[3], Min: m[2] == ">="}, Wish: m[2] == "?=", Group: "require", Why: "asked for"}
	if v := m[3]; v == "y|m" || v == "m|y" {
		r.Want = Want{Value: "y", Module: true}
	}
	if !validValue(r.Want.Value) {
		return Requirement{}, fmt.Errorf("%q: the value is y, m, n, y|m, a number or a \"quoted text\"", s)
	}
	return r, nil
}

var valueForm = regexp.MustCompile(`^([ymn]|-?[0-9]+|0[xX][0-9a-fA-F]+|"([^"\\]|\\.)*")$`)

func validValue(v string) bool { return valueForm.MatchString(v) }

// A Result is a requirement and what a file has of it.
type Result struct {
	Requirement
	Have string // empty when the file doesn't have the symbol
	Met  bool
}

// Check compares a file with requirements, in their order.
func Check(f *File, requirements []Requirement) []Result {
	results := make([]Result, len(requirements))
	for i, r := range requirements {
		have, _ := f.Get(r.Symbol)
		results[i] = Result{Requirement: r, Have: have, Met: r.Want.Met(have)}
	}
	return results
}

// A ConflictError says that two requirements exclude each other.
type ConflictError struct{ A, B Requirement }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s wants %s to be %s, and %s wants it to be %s", e.A.Group, e.A.Symbol, e.A.Want, e.B.Group, e.B.Want)
}

// Hint says who may give way.
func (e *ConflictError) Hint() string { return "drop one of them" }

// Merge joins lists of requirements. Of two for the same symbol the stricter
// one stays; a wish gives way. The error is a *ConflictError.
func Merge(lists ...[]Requirement) ([]Requirement, error) {
	var merged []Requirement
	at := make(map[string]int)
	for _, list := range lists {
		for _, r := range list {
			i, ok := at[r.Symbol]
			if !ok {
				at[r.Symbol] = len(merged)
				merged = append(merged, r)
				continue
			}
			old := merged[i]
			switch {
			case !old.Want.compatible(r.Want):
				switch {
				case old.Wish:
					merged[i] = r
				case r.Wish:
				default:
					return nil, &ConflictError{old, r}
				}
			case old.Wish && !r.Wish, old.Want.Met(r.Want.Value) && !r.Want.Met(old.Want.Value):
				r.Wish = r.Wish && old.Wish
				if !old.Want.Met(r.Want.Value) {
					r.Want = old.Want
				}
				merged[i] = r
			}
		}
	}
	return merged, nil
}
