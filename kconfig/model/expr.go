// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// A Tristate is n, m or y.
type Tristate uint8

// The values of bool and tristate symbols and of expressions.
const (
	No Tristate = iota
	Mod
	Yes
)

func (t Tristate) String() string { return "nmy"[t : t+1] }

// An Expr is a dependency after inheritance and simplification. A nil *Expr is y.
type Expr struct {
	Op          syntax.Op
	Terms       []*Expr // of And, Or and Not
	Left, Right *Symbol
}

func leaf(s *Symbol) *Expr { return &s.leaf }

// disjunction is that of terms; nil if there are none.
func disjunction(terms []*Expr) *Expr {
	switch len(terms) {
	case 0:
		return nil
	case 1:
		return terms[0]
	}
	return &Expr{Op: syntax.Or, Terms: terms}
}

func compare(op syntax.Op, left, right *Symbol) *Expr {
	return &Expr{Op: op, Left: left, Right: right}
}

// join makes a conjunction or disjunction of two expressions. What is missing
// counts for nothing, in a disjunction, too.
func join(op syntax.Op, x, y *Expr) *Expr {
	if x == nil {
		return y
	}
	if y == nil {
		return x
	}
	return &Expr{Op: op, Terms: append(slices.Clone(x.of(op)), y.of(op)...)}
}

// of are the operands that an expression contributes to an operation.
func (e *Expr) of(op syntax.Op) []*Expr {
	if e.Op == op {
		return e.Terms
	}
	return []*Expr{e}
}

// rewrite makes of a conjunction or a disjunction an operation on what f makes of
// its terms.
func (e *Expr) rewrite(op syntax.Op, f func(*Expr) *Expr) *Expr {
	var list []*Expr
	for _, t := range e.Terms {
		list = append(list, f(t).of(op)...)
	}
	return &Expr{Op: op, Terms: list}
}

// translate makes an Expr of what was written. With condition, it is one that a
// value is compared with: a bare m is then m && MODULES.
func (m *Model) translate(e *syntax.Expr, condition bool) *Expr {
	if e == nil {
		return nil
	}
	switch e.Op {
	case syntax.Sym:
		s := m.symbols[e.Left.Index]
		if condition && s == m.mod {
			return &Expr{Op: syntax.And, Terms: []*Expr{leaf(s), leaf(m.modules)}}
		}
		return leaf(s)
	case syntax.Not:
		return &Expr{Op: syntax.Not, Terms: []*Expr{m.translate(e.X, condition)}}
	case syntax.And, syntax.Or:
		return join(e.Op, m.translate(e.X, condition), m.translate(e.Y, condition))
	}
	return compare(e.Op, m.symbols[e.Left.Index], m.symbols[e.Right.Index])
}

var negated = map[syntax.Op]syntax.Op{
	syntax.Equal: syntax.Unequal, syntax.Unequal: syntax.Equal, syntax.Less: syntax.GreaterEqual, syntax.GreaterEqual: syntax.Less,
	syntax.Greater: syntax.LessEqual, syntax.LessEqual: syntax.Greater, syntax.And: syntax.Or, syntax.Or: syntax.And,
}

// normalize pushes negations down to the symbols and reads comparisons of bool
// symbols with a constant as the symbol or its negation.
func (m *Model) normalize(e *Expr) *Expr {
	switch e.Op {
	case syntax.And, syntax.Or:
		return e.rewrite(e.Op, m.normalize)
	case syntax.Not:
		return m.negate(m.normalize(e.Terms[0]))
	case syntax.Equal, syntax.Unequal:
		if e.Left.Type != syntax.Bool {
			return e
		}
		equal := e.Op == syntax.Equal
		switch e.Right {
		case m.no:
			if equal {
				return m.negate(leaf(e.Left))
			}
			return leaf(e.Left)
		case m.yes:
			if equal {
				return leaf(e.Left)
			}
			if m.dialect.BrokenUnequal && m.err == nil {
				m.err = &UnsupportedError{m.at, e.Left.Name + "!=y, where " + e.Left.Name + " is bool: the conf of this kernel reads it wrong"}
			}
			return m.negate(leaf(e.Left))
		case m.mod:
			forced := m.no
			if !equal {
				forced = m.yes
			}
			m.say(syntax.Diagnostic{Stdout: true, Text: "boolean symbol " + e.Left.Name + " tested for 'm'? test forced to '" + forced.Name + "'\n"})
			return leaf(forced)
		}
	}
	return e
}

// negate negates a normalized expression.
func (m *Model) negate(e *Expr) *Expr {
	switch e.Op {
	case syntax.Not:
		return e.Terms[0]
	case syntax.And, syntax.Or:
		return e.rewrite(negated[e.Op], m.negate)
	case syntax.Sym:
		switch e.Left {
		case m.yes:
			return leaf(m.no)
		case m.no:
			return leaf(m.yes)
		case m.mod:
			return e
		}
		return &Expr{Op: syntax.Not, Terms: []*Expr{e}}
	}
	return compare(negated[e.Op], e.Left, e.Right)
}

// simplify drops what an expression says twice. The later of two terms stays, in
// its place, and says what both did. Some confs drop constants only then.
func (m *Model) simplify(e *Expr) *Expr {
	if m.dialect.Folds && e != nil {
		e = m.dropConstants(e)
	}
	for {
		merged, again := m.mergeTerms(e)
		if !again {
			return e
		}
		e = m.dropConstants(merged)
	}
}

// mergeTerms merges terms where that can be done. What is left of the earlier of
// two is the constant that doesn't matter there.
func (m *Model) mergeTerms(e *Expr) (_ *Expr, again bool) {
	if e == nil || e.Op != syntax.And && e.Op != syntax.Or {
		return e, false
	}
	terms := e.Terms
	set := func(i int, t *Expr) {
		if !again {
			terms, again = slices.Clone(terms), true
		}
		terms[i] = t
	}
	for i := range e.Terms {
		if t, changed := m.mergeTerms(e.Terms[i]); changed {
			set(i, t)
		}
	}
	neutral := m.yes
	if e.Op == syntax.Or {
		neutral = m.no
	}
	isNeutral := func(t *Expr) bool { return t.Op == syntax.Sym && t.Left == neutral }
	for i := range e.Terms {
		for j := range e.Terms {
			if i == j || isNeutral(terms[i]) && !isNeutral(e.Terms[j]) {
				continue
			}
			if both := m.merge(e.Op, terms[i], terms[j]); both != nil {
				set(i, leaf(neutral))
				set(j, both)
			}
		}
	}
	if !again {
		return e, false
	}
	return &Expr{Op: e.Op, Terms: terms}, true
}

// dropConstants evaluates y and n in conjunctions and disjunctions.
func (m *Model) dropConstants(e *Expr) *Expr {
	if e.Op != syntax.And && e.Op != syntax.Or {
		return e
	}
	absorbing, neutral := m.no, m.yes
	if e.Op == syntax.Or {
		absorbing, neutral = m.yes, m.no
	}
	var kept []*Expr
	for _, t := range e.Terms {
		switch t = m.dropConstants(t); {
		case t.Op == syntax.Sym && t.Left == absorbing:
			return t
		case t.Op != syntax.Sym || t.Left != neutral:
			kept = append(kept, t.of(e.Op)...)
		}
	}
	switch len(kept) {
	case 0:
		return leaf(neutral)
	case 1:
		return kept[0]
	}
	return &Expr{Op: e.Op, Terms: kept}
}

// subject is the symbol that a simple term is about; nil for others.
func (e *Expr) subject() *Symbol {
	switch e.Op {
	case syntax.Sym, syntax.Equal, syntax.Unequal:
		return e.Left
	case syntax.Not:
		if t := e.Terms[0]; t.Op == syntax.Sym {
			return t.Left
		}
	}
	return nil
}

// values is the set of values of its symbol for which a comparison with n, m or y
// holds, a bit for each. For a symbol alone it has m and y, and plain is true.
func (m *Model) values(e *Expr) (set uint8, plain, ok bool) {
	if e.Op == syntax.Sym {
		return 1<<Mod | 1<<Yes, true, true
	}
	if e.Op != syntax.Equal && e.Op != syntax.Unequal {
		return 0, false, false
	}
	switch e.Right {
	case m.no:
		set = 1 << No
	case m.mod:
		set = 1 << Mod
	case m.yes:
		set = 1 << Yes
	default:
		return 0, false, false
	}
	if e.Op == syntax.Unequal {
		set ^= 7
	}
	return set, false, true
}

// merge returns what two terms of a conjunction or a disjunction say in one, or
// nil if that takes two.
func (m *Model) merge(op syntax.Op, x, y *Expr) *Expr {
	s := x.subject()
	if s != y.subject() {
		return nil
	}
	if s == nil {
		if same(x, y) {
			return y
		}
		return nil
	}
	if same(x, y) {
		return y
	}
	if op == syntax.Or && s.Type == syntax.Bool && (x.Op == syntax.Not && y.Op == syntax.Sym || x.Op == syntax.Sym && y.Op == syntax.Not) {
		return leaf(m.yes)
	}
	a, plainA, ok := m.values(x)
	b, plainB, ok2 := m.values(y)
	if !ok || !ok2 || !s.Type.Logical() {
		return nil
	}
	tristate := s.Type == syntax.Tristate
	symbol := [...]*Symbol{m.no, m.mod, m.yes}
	if op == syntax.Or {
		if tristate && x.Op == syntax.Equal && y.Op == syntax.Equal {
			for v, c := range symbol {
				if 7&^(a|b) == 1<<v {
					return compare(syntax.Unequal, s, c)
				}
			}
		}
		return nil
	}
	both := a & b
	switch {
	case plainA || plainB:
		if both == 0 || both == 1<<Mod {
			return nil
		}
	case !tristate || x.Op == syntax.Equal && y.Op == syntax.Equal:
		return nil
	case both == 0:
		return leaf(m.no)
	}
	for v, c := range symbol {
		if both == 1<<v {
			return compare(syntax.Equal, s, c)
		}
	}
	return leaf(s) // both is m and y
}

// same tells whether two expressions are equal, whatever the order of terms.
func same(x, y *Expr) bool {
	if x == y {
		return true
	}
	if x.Op != y.Op || x.Left != y.Left || x.Right != y.Right || len(x.Terms) != len(y.Terms) {
		return false
	}
	rest := slices.Clone(y.Terms)
	for _, t := range x.Terms {
		i := slices.IndexFunc(rest, func(u *Expr) bool { return same(t, u) })
		if i < 0 {
			return false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return true
}

// mentions tells whether a symbol occurs in an expression.
func (e *Expr) mentions(s *Symbol) bool {
	if e == nil {
		return false
	}
	return e.Left == s || e.Right == s || slices.ContainsFunc(e.Terms, func(t *Expr) bool { return t.mentions(s) })
}

// demands tells whether an expression can't hold without the symbol.
func (m *Model) demands(e *Expr, s *Symbol) bool {
	if e == nil {
		return false
	}
	switch e.Op {
	case syntax.And:
		return slices.ContainsFunc(e.Terms, func(t *Expr) bool { return m.demands(t, s) })
	case syntax.Sym:
		return e.Left == s
	case syntax.Equal:
		return e.Left == s && (e.Right == m.yes || e.Right == m.mod)
	case syntax.Unequal:
		return e.Left == s && e.Right == m.no
	}
	return false
}

// excludes tells whether part of an expression holds only while the symbol is less
// than it could be.
func (m *Model) excludes(e *Expr, s *Symbol) bool {
	if e == nil {
		return false
	}
	switch e.Op {
	case syntax.And, syntax.Or:
		return slices.ContainsFunc(e.Terms, func(t *Expr) bool { return m.excludes(t, s) })
	case syntax.Not:
		return e.Terms[0].Op == syntax.Sym && e.Terms[0].Left == s
	case syntax.Equal:
		return e.Left == s && e.Right == m.no
	case syntax.Unequal:
		return e.Left == s && (e.Right == m.yes || e.Right == m.mod)
	}
	return false
}

// format writes an expression as conf does in its warnings, each symbol by name.
func (e *Expr) format(b *strings.Builder, outer syntax.Op, name func(*strings.Builder, *Symbol)) {
	if e == nil {
		b.WriteByte('y')
		return
	}
	switch e.Op {
	case syntax.Sym:
		name(b, e.Left)
	case syntax.Not:
		b.WriteByte('!')
		e.Terms[0].format(b, syntax.Not, name)
	case syntax.And, syntax.Or:
		paren := outer == syntax.Not || outer == syntax.And && e.Op == syntax.Or
		if paren {
			b.WriteByte('(')
		}
		for i, t := range e.Terms {
			if i > 0 {
				b.WriteString(" " + e.Op.String() + " ")
			}
			t.format(b, e.Op, name)
		}
		if paren {
			b.WriteByte(')')
		}
	default:
		name(b, e.Left)
		b.WriteString(e.Op.String())
		name(b, e.Right)
	}
}
