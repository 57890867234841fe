// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// A State has the values of a model's symbols, as far as they were asked for,
// and what the user set.
type State struct {
	m      *Model
	values []value
	// Warnings is what conf would have written to standard error so far.
	Warnings strings.Builder
	warnings int  // those of a .config
	changed  bool // something was read that isn't what will be written
	// modules is the last value of the symbol that enables modules. While that is
	// being computed, as for a tristate that selects it, it's the one before.
	modules Tristate
	// Getenv is conf's environment.
	Getenv func(name string) (string, bool)

	members map[*Choice][]*Symbol // in the order of their priority
	// prompts has for each prompt of a symbol whether it was visible when the symbol
	// was last computed. That may not be so any more: conf doesn't compute a symbol
	// again when it forgets what the user said of another.
	prompts []Tristate
}

// A value is all that is known of a symbol.
type value struct {
	valid   bool     // tri, text, visible and write are
	tri     Tristate // of a bool or tristate
	text    string   // of others; n for bool and tristate, whatever tri is
	chosen  *Symbol  // of a choice
	visible Tristate
	depends Tristate // direct dependencies
	select_ Tristate
	imply   Tristate
	write   bool // belongs into .config

	user       bool // has a value of the user
	userTri    Tristate
	userText   string
	userChosen *Symbol // of a choice
	settle     bool    // a choice that all*config must settle first
}

// NewState returns a state in which nothing is set by the user.
func (m *Model) NewState() *State {
	s := &State{m: m, values: make([]value, m.size), prompts: make([]Tristate, m.prompts), members: map[*Choice][]*Symbol{}, Getenv: func(string) (string, bool) { return "", false }}
	s.values[m.yes.index] = value{valid: true, tri: Yes, text: "y"}
	s.values[m.mod.index] = value{valid: true, tri: Mod, text: "m"}
	s.values[m.no.index] = value{valid: true, text: "n"}
	return s
}

func (s *State) of(sym *Symbol) *value { return &s.values[sym.index] }

// invalidate makes all values be computed again when they are asked for.
func (s *State) invalidate() {
	for i := range s.values {
		s.values[i].valid = false
	}
	for _, c := range []*Symbol{s.m.yes, s.m.mod, s.m.no} {
		s.values[c.index].valid = true
	}
	s.changed = true
	s.calc(s.m.modules)
}

// effective is the type of a symbol as things are: without modules, a tristate
// is a bool.
func (s *State) effective(sym *Symbol) syntax.Type {
	if sym.Type == syntax.Tristate {
		if sym.member && s.of(sym).visible == Yes || s.modules == No {
			return syntax.Bool
		}
	}
	return sym.Type
}

// eval is the value of an expression.
func (s *State) eval(e *Expr) Tristate {
	if e == nil {
		return Yes
	}
	switch e.Op {
	case syntax.Sym:
		s.calc(e.Left)
		return s.of(e.Left).tri
	case syntax.Not:
		return Yes - s.eval(e.Terms[0])
	case syntax.And:
		result := Yes
		// All terms are looked at: their symbols may have something to warn of.
		for _, t := range e.Terms {
			result = min(result, s.eval(t))
		}
		return result
	case syntax.Or:
		result := No
		for _, t := range e.Terms {
			result = max(result, s.eval(t))
		}
		return result
	}
	if s.compare(e) {
		return Yes
	}
	return No
}

// A number is the value of a symbol in a comparison that isn't one of texts.
type number struct {
	signed   int64
	unsigned uint64
}

// parse reads the value of a symbol of a type. Bool and tristate values are 0, 1
// and 2; the value of what is no number may have any base.
func parse(text string, t syntax.Type) (n number, unsigned, ok bool) {
	var base uint64
	switch t {
	case syntax.Bool, syntax.Tristate:
		i := int64(strings.Index("nmy", text))
		if len(text) != 1 {
			i = -1
		}
		return number{i, uint64(i)}, false, true
	case syntax.Int:
		base = 10
	case syntax.Hex:
		base = 16
	}
	p := scan(text, base)
	signed, fits := p.signed()
	n = number{signed, uint64(signed)}
	if t == syntax.Hex {
		n.unsigned, fits = p.unsigned()
		n.signed = int64(n.unsigned)
	}
	return n, t == syntax.Hex, fits && p.any && p.rest == ""
}

func (s *State) compare(e *Expr) bool {
	s.calc(e.Left)
	s.calc(e.Right)
	x, y := s.String(e.Left), s.String(e.Right)
	var order int
	a, ua, ok := parse(x, e.Left.Type)
	b, ub, ok2 := parse(y, e.Right.Type)
	texts := e.Left.Type == syntax.String && e.Right.Type == syntax.String
	switch {
	case texts || !ok || !ok2:
		order = strings.Compare(x, y)
	case ua || ub:
		order = cmp.Compare(a.unsigned, b.unsigned)
	default:
		order = cmp.Compare(a.signed, b.signed)
	}
	return e.Op.Holds(order)
}

// String is the value of a symbol as a text. A symbol that is nowhere defined
// has its name.
func (s *State) String(sym *Symbol) string {
	s.calc(sym)
	switch sym.Type {
	case syntax.Bool, syntax.Tristate:
		tri := s.of(sym).tri
		if tri == Mod && sym != s.m.mod && s.of(s.m.modules).tri == No {
			return "n"
		}
		return tri.String()
	}
	return s.of(sym).text
}

// Tristate is the value of a bool or tristate symbol; n for others.
func (s *State) Tristate(sym *Symbol) Tristate {
	s.calc(sym)
	return s.of(sym).tri
}

// see computes whether a symbol is visible, and the values of its dependencies.
func (s *State) see(sym *Symbol) {
	v := s.of(sym)
	if sym.transitional {
		v.visible = Yes
		return
	}
	tri := No
	for _, p := range sym.prompts {
		visible := s.eval(p.visible)
		if sym.member && sym.Type == syntax.Tristate && visible == Mod && !s.m.dialect.Priority && s.of(sym.choice.Symbol).tri == Yes {
			visible = No
		}
		s.prompts[p.index] = visible
		tri = max(tri, visible)
	}
	if tri == Mod && (sym.Type != syntax.Tristate || s.modules == No) {
		tri = Yes
	}
	v.visible = tri
	if sym.member {
		return
	}
	promote := func(t Tristate) Tristate {
		if t == Mod && s.effective(sym) == syntax.Bool {
			return Yes
		}
		return t
	}
	v.depends = promote(s.eval(sym.depends))
	v.select_, v.imply = No, No
	if sym.selected != nil {
		v.select_ = promote(s.eval(sym.selected))
	}
	if sym.implied != nil {
		v.imply = promote(s.eval(sym.implied))
	}
}

// initial is the default that holds, and the value of its condition; nil if none.
func (s *State) initial(sym *Symbol) (*property, Tristate) {
	for _, p := range sym.defaults {
		if cond := s.eval(p.cond); cond != No {
			return p, cond
		}
	}
	return nil, No
}

// calc computes the value of a symbol, if it isn't known.
func (s *State) calc(sym *Symbol) {
	v := s.of(sym)
	if v.valid {
		return
	}
	if sym.member && v.settle {
		v.settle = false
		s.calc(sym.choice.Symbol)
	}
	v.valid = true
	tri, text := No, ""
	switch sym.Type {
	case syntax.NoType:
		v.text, v.tri = sym.Name, No
		return
	case syntax.Int:
		if s.m.dialect.Zero {
			text = "0"
		}
	case syntax.Hex:
		if s.m.dialect.Zero {
			text = "0x0"
		}
	}
	s.see(sym)
	v.write = v.visible != No
	var from *property // the default that counts
	switch {
	case sym.Type.Logical():
		tri, from = s.tristate(sym, v)
		text = "n"
	case v.visible != No && v.user:
		text = v.userText
	default:
		if from, _ = s.initial(sym); from != nil && from.value.Op == syntax.Sym {
			v.write = true
			s.calc(from.value.Left)
			text = s.of(from.value.Left).text
		}
	}
	if from != nil && s.m.dialect.Carried && !v.user && from.value.Op == syntax.Sym {
		if old := from.value.Left; old.transitional && s.of(old).user {
			v.user, v.userTri, v.userText = true, tri, text
		}
	}
	v.tri, v.text = tri, text
	if sym == s.m.modules {
		s.modules = tri
	}
	if sym.IsChoice() && !s.m.dialect.Priority {
		if tri == Yes {
			v.chosen = s.choose(sym.choice)
		}
		for _, c := range sym.choice.Members {
			if member := s.of(c); v.write && member.visible != No {
				member.write = true
			}
		}
		if v.settle {
			s.settle(sym)
		}
	}
	s.clamp(sym)
	if sym.unwritten {
		v.write = false
	}
}

// tristate is the value of a bool or tristate symbol, and the default that counted
// for it, if one did.
func (s *State) tristate(sym *Symbol, v *value) (tri Tristate, from *property) {
	switch {
	case sym.member && s.m.dialect.Priority:
		s.rank(sym.choice)
		tri = v.tri
	case sym.member && v.visible == Yes:
		s.calc(sym.choice.Symbol)
		if s.of(sym.choice.Symbol).chosen == sym {
			tri = Yes
		}
	case v.visible != No && v.user:
		tri = s.forced(sym, v, min(v.userTri, v.visible))
	default:
		if v.select_ != No {
			v.write = true
		}
		if !sym.IsChoice() {
			var cond Tristate
			if from, cond = s.initial(sym); from != nil {
				tri = min(s.eval(from.value), cond)
				if tri != No {
					v.write = true
				}
			}
			if v.imply != No {
				v.write = true
				tri = min(max(tri, v.imply), v.depends)
			}
		}
		tri = s.forced(sym, v, tri)
	}
	if tri == Mod && s.effective(sym) == syntax.Bool {
		tri = Yes
	}
	return tri, from
}

// forced raises a value to what the symbol is selected to, whatever it depends on.
func (s *State) forced(sym *Symbol, v *value, tri Tristate) Tristate {
	if v.depends < v.select_ {
		s.warnUnmet(sym)
	}
	return max(tri, v.select_)
}

func (s *State) warnUnmet(sym *Symbol) {
	v := s.of(sym)
	w := &s.Warnings
	fmt.Fprintf(w, "\nWARNING: unmet direct dependencies detected for %s\n  Depends on [%s]: ", sym.Name, v.depends)
	sym.depends.format(w, syntax.Or, s.writeName)
	w.WriteByte('\n')
	for _, tri := range []Tristate{Yes, Mod} {
		title := fmt.Sprintf("  Selected by [%s]:\n", tri)
		for _, t := range sym.selected.of(syntax.Or) {
			if s.eval(t) == tri {
				w.WriteString(title + "  - ")
				t.format(w, syntax.Or, s.writeName)
				w.WriteByte('\n')
				title = ""
			}
		}
	}
}

func (s *State) writeName(b *strings.Builder, sym *Symbol) {
	switch {
	case sym.Name == "" && !sym.constant:
		b.WriteString("<choice>")
	case sym.Type == syntax.NoType:
		b.WriteString(sym.Name)
	default:
		b.WriteString(sym.Name + " [=" + s.String(sym) + "]")
	}
}

// bounds is the range that holds for a number: the symbols of its ends, nil if
// there is none.
func (s *State) bounds(sym *Symbol) (low, high *Symbol) {
	for _, p := range sym.ranges {
		if s.eval(p.cond) != No {
			return p.low, p.high
		}
	}
	return nil, nil
}

// bound is the value of an end of a range of a number of a type.
func (s *State) bound(sym *Symbol, t syntax.Type) int64 {
	s.calc(sym)
	if sym.Type == syntax.Int || sym.Type == syntax.Hex {
		t = sym.Type
	}
	return prefix(s.of(sym).text, t)
}

// prefix is the number of a type that a text begins with, 0 if there is none.
func prefix(text string, t syntax.Type) int64 {
	base := uint64(10)
	if t == syntax.Hex {
		base = 16
	}
	n, _ := scan(text, base).signed()
	return n
}

// clamp moves a number into its range. It is then spelled as the range is.
func (s *State) clamp(sym *Symbol) {
	if sym.Type != syntax.Int && sym.Type != syntax.Hex {
		return
	}
	low, high := s.bounds(sym)
	if low == nil {
		return
	}
	v := s.of(sym)
	n := prefix(v.text, sym.Type)
	switch {
	case n < s.bound(low, sym.Type):
		v.text = s.of(low).text
	case n > s.bound(high, sym.Type):
		v.text = s.of(high).text
	}
}
