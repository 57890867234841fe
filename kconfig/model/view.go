// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"slices"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// A Prompt is a place where users can set a symbol.
type Prompt struct {
	Node    *syntax.Node
	Visible *Expr // all that it takes to be visible; nil is y
}

// A Property is a default, a select, an imply or a range of a symbol.
type Property struct {
	Owner     *Symbol
	Source    *syntax.Property
	Node      *syntax.Node
	Value     *Expr   // of a default
	Target    *Symbol // of a select or an imply
	Low, High *Symbol // of a range
	Cond      *Expr   // with the dependencies of the place; nil is y
}

// Prompts are the places where users can set the symbol.
func (s *Symbol) Prompts() []Prompt {
	var list []Prompt
	for _, p := range s.prompts {
		list = append(list, Prompt{p.entry.node, p.visible})
	}
	return list
}

// Properties are the symbol's of all places, in the order of the files.
func (s *Symbol) Properties() []Property {
	var list []Property
	for _, e := range s.entries {
		for _, p := range e.properties {
			list = append(list, Property{
				Owner: s, Source: p.source, Node: e.node, Value: p.value, Target: p.target, Low: p.low, High: p.high, Cond: p.cond,
			})
		}
	}
	return list
}

// Depends is what conf takes for the dependencies of the symbol: that one of its places
// can be had, but for places without dependencies, which it forgets beside others. Selects
// and implies are held against it. Nil is y.
func (s *Symbol) Depends() *Expr { return s.depends }

// Placed is that one of the symbol's places can be had: what it takes to have a value by
// a prompt or a default. Nil is y.
func (s *Symbol) Placed() *Expr {
	if s.free {
		return nil
	}
	return s.depends
}

// Title is the name of the symbol; that of most choices is their prompt.
func (s *Symbol) Title() string {
	if s.Name == "" && len(s.prompts) > 0 {
		return "the choice " + strconv.Quote(s.prompts[0].source.Text)
	}
	return s.title()
}

// Constant tells whether it is a value, such as y, and no symbol.
func (s *Symbol) Constant() bool { return s.constant }

// Transitional tells whether the symbol is only read from an old .config.
func (s *Symbol) Transitional() bool { return s.transitional }

// Defined tells whether a Kconfig file defines the symbol. Others are only mentioned.
func (s *Symbol) Defined() bool { return len(s.entries) > 0 }

// Rivals are the other members of the choice that the symbol is a member of.
func (s *Symbol) Rivals() []*Symbol {
	if !s.member {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.choice.Members), func(m *Symbol) bool { return m == s })
}

// Names are those of the symbols that have one.
func (m *Model) Names() []string {
	var names []string
	for _, s := range m.Symbols {
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	return names
}

// String is the expression as it would be written.
func (e *Expr) String() string {
	var b strings.Builder
	e.format(&b, syntax.Or, func(b *strings.Builder, s *Symbol) {
		if s.constant && s.Type == syntax.NoType {
			b.WriteString(strconv.Quote(s.Name))
			return
		}
		b.WriteString(s.Title())
	})
	return b.String()
}

// Modules is the symbol that switches modules on; the constant n where no
// symbol does.
func (m *Model) Modules() *Symbol { return m.modules }

// Eval is the value of an expression.
func (s *State) Eval(e *Expr) Tristate { return s.eval(e) }

// EvalSource is the value of a condition as it was written.
func (s *State) EvalSource(e *syntax.Expr) Tristate { return s.eval(s.m.translate(e, true)) }

// Visible is the most that users can set a symbol to; n where they can't.
func (s *State) Visible(sym *Symbol) Tristate {
	s.calc(sym)
	return s.of(sym).visible
}

// Selected is the least that a symbol is, because others select it.
func (s *State) Selected(sym *Symbol) Tristate {
	s.calc(sym)
	return s.of(sym).select_
}

// Set tells whether the user has set a symbol, also to n, and also where that has no
// effect.
func (s *State) Set(sym *Symbol) bool {
	s.calc(sym)
	return s.of(sym).user
}

// Defaulted tells whether a symbol has the value that it has when the user says
// nothing of it.
func (s *State) Defaulted(sym *Symbol) bool {
	s.calc(sym)
	return !s.changeable(sym) || s.String(sym) == s.initialText(sym) || s.isFallback(sym)
}

// Value is what .config says of a symbol, spelled as there, with n for "is not
// set"; false where it says nothing.
func (s *State) Value(sym *Symbol) (text string, ok bool) {
	text = s.String(sym)
	if !s.of(sym).write {
		return "", false
	}
	if sym.Type == syntax.String {
		text = Quote(text)
	}
	return text, true
}

// Quote spells the value of a string as .config has it.
func Quote(text string) string { return `"` + escaper.Replace(text) + `"` }
