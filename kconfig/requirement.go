// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// A Requirement is what a guest needs of one symbol.
type Requirement struct {
	Symbol   string `json:"symbol"` // without CONFIG_
	Want     Want   `json:"want"`
	Optional bool   `json:"optional"` // not met is no failure
	Group    string `json:"group"`    // the profile or the file it comes from
	Why      string `json:"why"`
	Symptom  string `json:"symptom"` // what happens without it
	// SymptomSeen says that the symptom was seen in a guest without the option. Others
	// are expected from the kernel's sources.
	SymptomSeen bool `json:"symptom_seen"`
	// Before is the version from which the kernel knows no such option, such as 6.2;
	// empty: all do.
	Before string `json:"before,omitempty"`
}

// A Want is a condition on a symbol's value.
type Want struct {
	Value  string `json:"value"`  // as in .config: y, m, n, a number, a quoted string
	Module bool   `json:"module"` // m will do where y is wanted
	// Builtin: y will do where m is wanted.
	Builtin bool   `json:"builtin,omitempty"`
	Min     bool   `json:"min"` // a greater number will do
	Room    string `json:"-"`   // for Min: what to set when it isn't met, with room for more; empty: Value
}

// Setting is the value that a fix writes.
func (w Want) Setting() string {
	if room, value := number(w.Room), number(w.Value); w.Min && room != nil && value != nil && room.Cmp(value) > 0 {
		return w.Room
	}
	return w.Value
}

func (w Want) String() string {
	switch {
	case w.Module:
		return w.Value + "|m"
	case w.Builtin:
		return w.Value + "|y"
	case w.Min:
		return ">= " + w.Value
	}
	return w.Value
}

// Met says whether a value as in .config meets the condition. A symbol that
// isn't in the file has the value "".
func (w Want) Met(have string) bool {
	if have == w.Value || plain(have) == plain(w.Value) || w.Module && have == "m" || w.Builtin && have == "y" {
		return true
	}
	if w.Value == "n" {
		return have == ""
	}
	a, b := number(have), number(w.Value)
	if a == nil || b == nil {
		return false
	}
	// conf keeps the spelling of a hex number.
	return a.Cmp(b) == 0 || w.Min && a.Cmp(b) > 0
}

// number is the value of an int or a hex symbol; nil when it is neither. A hex
// number may need 64 bits without a sign: CONFIG_PAGE_OFFSET.
func number(text string) *big.Int {
	if !numberForm.MatchString(text) {
		return nil
	}
	n, ok := new(big.Int), false
	if len(text) > 2 && (text[:2] == "0x" || text[:2] == "0X") {
		n, ok = n.SetString(text[2:], 16)
	} else {
		n, ok = n.SetString(text, 10)
	}
	if !ok {
		return nil
	}
	return n
}

// within says whether each value that meets w meets v as well.
func (w Want) within(v Want) bool {
	if w.Min && !v.Min {
		return false
	}
	return v.Met(w.Value) && (!w.Module || v.Met("m")) && (!w.Builtin || v.Met("y"))
}

// compatible says whether some value meets both conditions.
func (w Want) compatible(v Want) bool {
	return w == v || w.Met(v.Value) || v.Met(w.Value) || w.Met("y") && v.Met("y") || w.Met("m") && v.Met("m")
}

var requireForm = pattern.New(`^(?:CONFIG_)?([A-Za-z0-9_]+)\s*(\?=|>=|=)\s*(.+)$`)

// ParseRequire parses a requirement as a user writes it: FOO=y, FOO=y|m,
// FOO>=8, FOO="text", FOO=n, or, for an optional requirement, FOO?=y.
func ParseRequire(s string) (Requirement, error) {
	m := requireForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return Requirement{}, fmt.Errorf("%q isn't a requirement such as KASAN=y, DRM=y|m or NR_CPUS>=8", s)
	}
	r := Requirement{Symbol: m[1], Want: Want{Value: m[3], Min: m[2] == ">="}, Optional: m[2] == "?=", Group: "require", Why: "asked for"}
	if v := m[3]; v == "y|m" || v == "m|y" {
		r.Want = Want{Value: "y", Module: true}
	}
	if r.Want.Min && number(r.Want.Value) == nil {
		return Requirement{}, fmt.Errorf("%q: what follows >= must be a number", s)
	}
	if !validValue(r.Want.Value) {
		return Requirement{}, fmt.Errorf("%q: the value is y, m, n, y|m, a number or a \"quoted text\"", s)
	}
	r.Want.Value = plain(r.Want.Value)
	return r, nil
}

// plain spells a quoted text as conf writes it again: conf reads \b as b, and passes over
// what follows the closing quote. Other values, and a text that isn't closed, stay as
// they are.
func plain(value string) string {
	if !strings.HasPrefix(value, `"`) {
		return value
	}
	b := []byte{'"'}
	for i := 1; i < len(value); i++ {
		switch value[i] {
		case '"':
			return string(append(b, '"'))
		case '\\':
			if i++; i == len(value) {
				return value
			}
			if value[i] == '"' || value[i] == '\\' {
				b = append(b, '\\')
			}
		}
		b = append(b, value[i])
	}
	return value
}

// Text is the requirement as ParseRequire takes it.
func (r Requirement) Text() string {
	switch {
	case r.Optional:
		return r.Symbol + "?=" + r.Want.Value
	case r.Want.Min:
		return r.Symbol + ">=" + r.Want.Value
	}
	return r.Symbol + "=" + r.Want.String()
}

var (
	numberForm = pattern.New(`^(-?[0-9]+|0[xX][0-9a-fA-F]+)$`)
	valueForm  = pattern.New(`^([ymn]|-?[0-9]+|0[xX][0-9a-fA-F]+|"([^"\\[:cntrl:]]|\\[^[:cntrl:]])*")$`)
)

func validValue(v string) bool { return valueForm.MatchString(v) }

// A Result is a requirement and what a file has of it.
type Result struct {
	Requirement
	Have  string `json:"have"` // empty when the file doesn't have the symbol
	Met   bool   `json:"met"`
	Proof *Step  `json:"proof,omitempty"` // why it isn't met, where that is known
	// Verdict says how sure that is; empty without a proof.
	Verdict Verdict `json:"verdict,omitempty"`
	// With are the other requirements without which it could be met, where it could.
	With []string `json:"with,omitempty"`
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
// one stays; an optional requirement gives way, even when it is stricter. The error is a
// *ConflictError.
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
			case old.Optional != r.Optional:
				if old.Optional {
					merged[i] = r
				}
			case !old.Want.compatible(r.Want):
				if !old.Optional {
					return nil, &ConflictError{old, r}
				}
				merged[i] = r // the later optional one
			case r.Want.within(old.Want) && !old.Want.within(r.Want):
				merged[i] = r
			}
		}
	}
	return merged, nil
}
