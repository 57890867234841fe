// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/kconfig/syntax"
)

func (m *Model) warn(at syntax.Pos, format string, args ...any) {
	m.say(syntax.Diagnostic{Text: at.String() + ":warning: " + fmt.Sprintf(format, args...) + "\n"})
}

// check warns of mistakes in what a symbol's entries say, as conf does.
func (m *Model) check(e *entry) {
	s := e.symbol
	if s.Type == syntax.NoType {
		m.warn(e.node.Pos, "config symbol defined without type")
	}
	if s.IsChoice() && e.prompt == nil {
		m.fault(e.node.Pos, m.dialect.Priority, "choice must have a prompt")
	}
	for _, e := range s.entries {
		for _, p := range e.properties {
			m.checkProperty(s, p)
		}
	}
}

func (m *Model) checkProperty(s *Symbol, p *property) {
	at := p.source.Pos
	number := s.Type == syntax.Int || s.Type == syntax.Hex
	switch p.source.Kind {
	case syntax.Default:
		if p.value.Op != syntax.Sym {
			if number || s.Type == syntax.String {
				m.warn(at, "default for config symbol '%s' must be a single symbol", s.Name)
			}
			return
		}
		value := p.value.Left
		if number && !isNumber(s, value) {
			m.warn(at, "'%s': number is invalid", s.Name)
		}
		if s.IsChoice() && !(value.member && value.choice == s.choice) {
			m.warn(at, "choice default symbol '%s' is not contained in the choice", value.Name)
		}
	case syntax.Select, syntax.Imply:
		if !s.Type.Logical() {
			m.warn(at, "config symbol '%s' uses %s, but is not bool or tristate", s.Name, p.source.Kind)
		} else if p.target.Type != syntax.NoType && !p.target.Type.Logical() {
			m.warn(at, "'%s' has wrong type. '%s' only accept arguments of bool and tristate type", p.target.Name, p.source.Kind)
		}
	case syntax.Range:
		if !number {
			m.warn(at, "range is only allowed for int or hex symbols")
		}
		if !isNumber(s, p.low) || !isNumber(s, p.high) {
			m.warn(at, "range is invalid")
		}
	}
}

// isNumber tells whether a symbol, or what is written in its place, can be the
// value of a number; conf takes everything for a string's.
func isNumber(s, value *Symbol) bool {
	switch value.Type {
	case syntax.Int, syntax.Hex:
		return true
	case syntax.NoType:
		return s.Type == syntax.String || (s.Type == syntax.Int || s.Type == syntax.Hex) && validNumber(value.Name, s.Type)
	}
	return false
}

// fault is a mistake that some confs refuse and others only warn of.
func (m *Model) fault(at syntax.Pos, refused bool, text string) {
	if !refused {
		m.warn(at, "%s", text)
	} else if m.err == nil {
		m.err = &syntax.Error{Pos: at, Problem: text}
	}
}

// checkMember looks for mistakes in what makes a symbol a member of a choice.
func (m *Model) checkMember(e *entry) {
	refused := m.dialect.Priority
	if e.prompt == nil {
		m.fault(e.node.Pos, refused, "choice value must have a prompt")
	}
	if refused && e.symbol.Type != syntax.Bool {
		m.fault(e.node.Pos, true, "choice member must be bool")
	}
	for _, other := range e.symbol.entries {
		if other.prompt != nil && other != e && (m.dialect.LonePrompt || other.parent.symbol != e.symbol.choice.Symbol) {
			m.fault(other.node.Prompt.Pos, refused, "choice value used outside its choice group")
		}
		for _, p := range other.properties {
			if p.source.Kind == syntax.Default {
				m.fault(p.source.Pos, refused, "defaults for choice values not supported")
			}
		}
	}
}

// An UnsupportedError is a construct of which it isn't known what conf makes.
type UnsupportedError struct {
	Pos     syntax.Pos
	Problem string
}

func (e *UnsupportedError) Error() string { return e.Pos.String() + ": " + e.Problem }

// checkModules refuses what some confs compute with a value of the symbol that
// enables modules that isn't the final one.
func (m *Model) checkModules() {
	if !m.dialect.Priority || m.err != nil {
		return
	}
	for _, s := range m.Symbols {
		if s.member && (m.modules.selected.mentions(s) || m.modules.implied.mentions(s)) {
			m.err = &UnsupportedError{s.Nodes[0].Pos, "a member of a choice selects or implies " + m.modules.Name + ": the conf of this kernel reads it before it is known"}
			return
		}
	}
}

// checkTransitional refuses transitional symbols that have more than a type and a
// help text.
func (m *Model) checkTransitional() {
	for _, s := range m.Symbols {
		if !s.transitional {
			continue
		}
		properties := slices.Concat(s.defaults, s.selects, s.implies, s.ranges)
		for _, e := range s.entries {
			at := e.node.Pos
			switch {
			case e.depends != nil && !(e.depends.Op == syntax.Sym && e.depends.Left == m.yes):
			case len(s.prompts) > 0:
				at = s.prompts[0].source.Pos
			case len(properties) > 0:
				at = properties[0].source.Pos
			default:
				continue
			}
			m.fault(at, true, "transitional symbols can only have help sections")
		}
	}
}

// A RecursionError names symbols each of which depends on the next, and the last
// on the first.
type RecursionError struct{ Chain []*Symbol }

func (e *RecursionError) Error() string {
	var b strings.Builder
	b.WriteString("recursive dependency detected:")
	for i, s := range e.Chain {
		next := e.Chain[(i+1)%len(e.Chain)]
		at := "?"
		if len(s.Nodes) > 0 {
			at = s.Nodes[0].Pos.String()
		}
		fmt.Fprintf(&b, "\n\t%s: %s depends on %s", at, s.title(), next.title())
	}
	return b.String()
}

func (s *Symbol) title() string {
	if s.Name == "" {
		return "<choice>"
	}
	return s.Name
}

// unit is what depends on itself or not: a symbol, or a choice with its members.
func (s *Symbol) unit() *Symbol {
	if s.choice != nil {
		return s.choice.Symbol
	}
	return s
}

// checkRecursion looks for symbols that depend on themselves.
func (m *Model) checkRecursion() error {
	r := &recursion{model: m, state: make([]visited, m.size)}
	for _, s := range m.Symbols {
		if err := r.visit(s); err != nil {
			return err
		}
	}
	return nil
}

// A recursion is a walk from symbols to those that they depend on. Its errors are of type
// *RecursionError.
type recursion struct {
	model *Model
	state []visited // of the units, by their index
	path  []*Symbol // to the one that is being visited
}

// visited says how far the visit of a unit has come.
type visited uint8

const (
	unseen visited = iota
	onPath
	finished
)

// visit visits the unit of a symbol, and all that it depends on.
func (r *recursion) visit(s *Symbol) error {
	u := s.unit()
	switch r.state[u.index] {
	case finished:
		return nil
	case onPath:
		i := slices.IndexFunc(r.path, func(p *Symbol) bool { return p.unit() == u })
		return &RecursionError{slices.Clone(r.path[i:])}
	}
	r.state[u.index] = onPath
	if err := r.one(u); err != nil {
		return err
	}
	if u.choice != nil {
		for _, member := range u.choice.Members {
			if err := r.one(member); err != nil {
				return err
			}
		}
	}
	r.state[u.index] = finished
	return nil
}

// one visits what one symbol of a unit depends on.
func (r *recursion) one(s *Symbol) error {
	r.path = append(r.path, s)
	depends := s.depends
	if s.member && r.model.dialect.Priority {
		depends = nil // it counts where a prompt has it, which may have folded it away
	}
	for _, e := range [...]*Expr{s.selected, s.implied, depends} {
		if err := r.expr(s, e); err != nil {
			return err
		}
	}
	for _, p := range s.prompts {
		if err := r.expr(s, p.visible); err != nil {
			return err
		}
	}
	for _, list := range [...][]*property{s.defaults, s.ranges} {
		for _, p := range list {
			if err := r.expr(s, p.cond); err != nil {
				return err
			}
			if s.IsChoice() {
				continue
			}
			if err := r.expr(s, p.value); err != nil {
				return err
			}
		}
	}
	r.path = r.path[:len(r.path)-1]
	return nil
}

// expr visits the symbols of an expression.
func (r *recursion) expr(from *Symbol, e *Expr) error {
	if e == nil {
		return nil
	}
	for _, t := range e.Terms {
		if err := r.expr(from, t); err != nil {
			return err
		}
	}
	for _, to := range [...]*Symbol{e.Left, e.Right} {
		if to == nil || to.constant || from.member && from.choice.Symbol == to {
			continue
		}
		if err := r.visit(to); err != nil {
			return err
		}
	}
	return nil
}
