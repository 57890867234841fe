// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"slices"

	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// A Model is a Kconfig tree made ready for evaluation: each symbol with all of
// its properties and inherited dependencies. It doesn't change; values are in a
// State.
type Model struct {
	Tree    *syntax.Tree
	Symbols []*Symbol // that are defined, choices among them, in the order of the tree
	// Diagnostics are those of the tree, and those of the inheritance after them.
	Diagnostics []syntax.Diagnostic

	dialect      Dialect
	symbols      []*Symbol // by their index in Tree.Symbols
	byName       map[string]*Symbol
	hashed       []*Symbol // defined or not, in the order in which conf visits them
	yes, mod, no *Symbol
	modules      *Symbol
	root         *entry
	size         int // how many there are, choices included
	prompts      int // how many prompts
	err          error
	at           syntax.Pos // of the entry that is being read
}

// A Symbol is a configuration symbol, a choice, or a constant.
type Symbol struct {
	Name  string // empty for most choices
	Type  syntax.Type
	Nodes []*syntax.Node // where it is defined

	index    int
	constant bool
	prompts  []*prompt
	defaults []*property
	ranges   []*property
	selects  []*property
	implies  []*property
	depends  *Expr    // direct dependencies of all places that have some
	free     bool     // a place has none
	selected *Expr    // by what; nil is n
	implied  *Expr    // by what; nil is n
	choice   *Choice  // that it is a member of, or that it stands for
	entries  []*entry // in the order of the files
	member   bool
	checked  bool // for mistakes in its properties
	leaf     Expr // the symbol as an expression

	// The terms of what becomes selected and implied. Some symbols are selected in
	// hundreds of places: a new disjunction for each would be quadratic.
	selectedBy, impliedBy []*Expr

	transitional bool
	unwritten    bool // never belongs into .config
	allnoconfigY bool
}

// A Choice is a group of symbols of which one may be y.
type Choice struct {
	Symbol   *Symbol // stands for the choice itself
	Members  []*Symbol
	Optional bool
	entry    *entry
}

// IsChoice tells whether the symbol stands for a choice.
func (s *Symbol) IsChoice() bool { return s.choice != nil && !s.member }

// A prompt of a symbol, with all that it takes to be visible.
type prompt struct {
	source  *syntax.Prompt
	entry   *entry
	visible *Expr
	index   int
}

// A property that has inherited the dependencies of its entry.
type property struct {
	source    *syntax.Property
	value     *Expr   // of a default
	target    *Symbol // of a select or an imply
	low, high *Symbol // of a range
	cond      *Expr
}

// An entry is a node in the tree that users see: what follows a symbol and
// depends on it is within it, and an if is none.
type entry struct {
	node        *syntax.Node
	symbol      *Symbol
	parent      *entry
	first, next *entry // child and sibling
	depends     *Expr
	prompt      *prompt
	prompts     []*prompt // those that prompt replaced, and prompt
	properties  []*property
	conditions  []*Expr // of a menu's visible if, where m is m
}

// New makes a model of a tree, as the conf of a dialect understands it. It fails
// with a *syntax.Error, a *RecursionError or an *UnsupportedError.
func New(tree *syntax.Tree, d Dialect) (*Model, error) {
	m := &Model{
		Tree: tree, Diagnostics: slices.Clone(tree.Diagnostics), dialect: d,
		symbols: make([]*Symbol, len(tree.Symbols)), byName: make(map[string]*Symbol, len(tree.Symbols)),
	}
	all := make([]Symbol, len(tree.Symbols))
	for i, s := range tree.Symbols {
		t := &all[i]
		*t = Symbol{Name: s.Name, Type: s.Type, Nodes: s.Nodes, index: i, constant: s.Const, leaf: Expr{Left: t}}
		m.symbols[i] = t
		if !s.Const {
			m.byName[s.Name] = t
			continue
		}
		switch s.Name {
		case "y":
			m.yes = t
		case "m":
			m.mod = t
		case "n":
			m.no = t
		}
	}
	m.size = len(tree.Symbols)
	for _, c := range []struct {
		at   **Symbol
		name string
	}{{&m.yes, "y"}, {&m.mod, "m"}, {&m.no, "n"}} {
		if *c.at == nil {
			*c.at = &Symbol{Name: c.name, constant: true, index: m.size}
			(*c.at).leaf.Left = *c.at
			m.size++
		}
		(*c.at).Type = syntax.Tristate
	}
	m.modules = m.no
	if tree.Modules != nil {
		m.modules = m.symbols[tree.Modules.Index]
	}
	if tree.DefconfigList != nil {
		m.symbols[tree.DefconfigList.Index].unwritten = true
	}
	m.root = m.build(tree.Root, nil)
	for _, s := range m.symbols {
		for _, e := range s.entries {
			for _, p := range e.properties {
				s.add(p)
			}
			s.prompts = append(s.prompts, e.prompts...)
		}
	}
	m.finish(m.root)
	for _, s := range m.symbols {
		s.selected, s.implied = disjunction(s.selectedBy), disjunction(s.impliedBy)
		s.selectedBy, s.impliedBy = nil, nil
	}
	m.order()
	m.checkModules()
	m.checkTransitional()
	if m.err != nil {
		return nil, m.err
	}
	if err := m.checkRecursion(); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Model) say(d syntax.Diagnostic) { m.Diagnostics = append(m.Diagnostics, d) }

// Lookup returns the symbol of a name, and nil if there is none.
func (m *Model) Lookup(name string) *Symbol { return m.byName[name] }

func (s *Symbol) add(p *property) {
	switch p.source.Kind {
	case syntax.Default:
		s.defaults = append(s.defaults, p)
	case syntax.Range:
		s.ranges = append(s.ranges, p)
	case syntax.Select:
		s.selects = append(s.selects, p)
	case syntax.Imply:
		s.implies = append(s.implies, p)
	}
}

// build makes entries of a node and its children.
func (m *Model) build(n *syntax.Node, parent *entry) *entry {
	e := &entry{node: n, parent: parent}
	for _, p := range n.Earlier {
		m.addPrompt(e, p)
	}
	if n.Prompt != nil {
		m.addPrompt(e, n.Prompt)
	}
	switch n.Kind {
	case syntax.Config, syntax.MenuConfig:
		e.symbol = m.symbols[n.Symbol.Index]
		e.symbol.transitional = e.symbol.transitional || n.Transitional
		e.symbol.unwritten = e.symbol.unwritten || n.Transitional
		e.symbol.allnoconfigY = e.symbol.allnoconfigY || n.AllnoconfigY
	case syntax.Choice:
		if n.Symbol != nil {
			e.symbol = m.symbols[n.Symbol.Index]
		} else {
			e.symbol = &Symbol{index: m.size, Nodes: []*syntax.Node{n}}
			e.symbol.leaf.Left = e.symbol
			m.size++
			m.symbols = append(m.symbols, e.symbol)
		}
		if e.symbol.Type == syntax.NoType {
			e.symbol.Type = n.Type
		}
		if e.symbol.choice == nil {
			e.symbol.choice, e.symbol.unwritten = &Choice{Symbol: e.symbol, entry: e}, true
		}
		e.symbol.choice.Optional = e.symbol.choice.Optional || n.Optional
	}
	if e.symbol != nil {
		if len(e.symbol.entries) == 0 {
			m.Symbols = append(m.Symbols, e.symbol)
		}
		e.symbol.entries = append(e.symbol.entries, e)
	}
	for _, v := range n.Visible {
		e.conditions = append(e.conditions, m.translate(v, false))
	}
	for _, p := range n.Properties {
		q := &property{source: p, value: m.translate(p.Value, false)}
		if p.Target != nil {
			q.target = m.symbols[p.Target.Index]
		}
		if p.Low != nil {
			q.low, q.high = m.symbols[p.Low.Index], m.symbols[p.High.Index]
		}
		e.properties = append(e.properties, q)
	}
	last := &e.first
	for _, c := range n.Children {
		*last = m.build(c, e)
		last = &(*last).next
	}
	return e
}

func (m *Model) addPrompt(e *entry, p *syntax.Prompt) {
	e.prompt = &prompt{source: p, entry: e, index: m.prompts}
	e.prompts = append(e.prompts, e.prompt)
	m.prompts++
}

// and makes a conjunction and simplifies it, where one side is simplified already.
func (m *Model) and(simplified, more *Expr) *Expr {
	if more == nil {
		return simplified
	}
	return m.simplify(join(syntax.And, simplified, m.normalize(more)))
}

// inherit gives the children of an entry the dependencies that they inherit.
func (m *Model) inherit(parent *entry, inherited *Expr) {
	for e := parent.first; e != nil; e = e.next {
		m.at = e.node.Pos
		var own *Expr
		for _, d := range e.node.Depends {
			own = join(syntax.And, own, m.translate(d.Expr, true))
		}
		e.depends = m.and(inherited, own)
		for _, p := range e.prompts {
			cond := m.translate(p.source.Cond, true)
			if e.symbol != nil {
				for up := e.parent; up != nil; up = up.parent {
					var all *Expr
					for _, c := range up.node.Visible {
						all = join(syntax.And, all, m.translate(c, true))
					}
					cond = join(syntax.And, cond, all)
				}
			}
			p.visible = m.and(e.depends, cond)
		}
		for _, p := range e.properties {
			p.cond = m.and(e.depends, m.translate(p.source.Cond, true))
			switch p.source.Kind {
			case syntax.Select:
				p.target.selectedBy = append(p.target.selectedBy, join(syntax.And, leaf(e.symbol), p.cond).of(syntax.Or)...)
			case syntax.Imply:
				p.target.impliedBy = append(p.target.impliedBy, join(syntax.And, leaf(e.symbol), p.cond).of(syntax.Or)...)
			}
		}
	}
}

// finish makes the tree that users see of what is below an entry, from the top
// to the bottom.
func (m *Model) finish(parent *entry) {
	s := parent.symbol
	if parent.first != nil {
		inherited := parent.depends
		switch {
		case parent.node.Kind == syntax.Choice:
			m.typeMembers(parent)
			if !m.dialect.Priority {
				inherited = leaf(s)
			}
		case parent.prompt != nil:
			inherited = parent.prompt.visible
		}
		m.inherit(parent, inherited)
		for e := parent.first; e != nil; e = e.next {
			m.finish(e)
		}
	} else if s != nil && !m.inChoice(parent) {
		m.adopt(parent)
	}
	if s != nil {
		s.depends = join(syntax.Or, s.depends, parent.depends)
		s.free = s.free || parent.depends == nil
	}
	for e := parent.first; e != nil; e = e.next {
		if parent.node.Kind == syntax.Choice && e.symbol != nil && !e.symbol.member {
			m.enroll(parent.symbol.choice, e)
		}
		if e.first != nil && e.prompt == nil {
			last := e.first
			for last.parent = parent; last.next != nil; last.parent = parent {
				last = last.next
			}
			last.next, e.next, e.first = e.next, e.first, nil
		}
	}
	if s != nil && s.IsChoice() && !s.choice.Optional && parent.prompt != nil {
		s.selectedBy = append(s.selectedBy, join(syntax.And, parent.prompt.visible, leaf(m.mod)).of(syntax.Or)...)
	}
	if s != nil && !s.checked {
		s.checked = true
		m.check(parent)
	}
}

// inChoice tells whether an entry is in a choice whose members are all that is
// between its ends, whatever they depend on.
func (m *Model) inChoice(e *entry) bool {
	if !m.dialect.Priority {
		return false
	}
	for up := e.parent; up != nil; up = up.parent {
		if up.node.Kind == syntax.Choice {
			return true
		}
	}
	return false
}

// typeMembers settles the types of a choice and its members.
func (m *Model) typeMembers(parent *entry) {
	if m.dialect.Priority {
		parent.symbol.Type = syntax.Bool
		return
	}
	first := parent.first
	for first != nil && first.symbol == nil {
		first = first.next
	}
	if first != nil && parent.symbol.Type == syntax.NoType {
		if parent.symbol.Type = first.symbol.Type; parent.symbol.Type == syntax.NoType && m.err == nil {
			m.err = &UnsupportedError{first.node.Pos, "the first member of a choice has no type, and so the choice has none"}
		}
	}
	for e := parent.first; e != nil; e = e.next {
		if e.symbol != nil && e.symbol.Type == syntax.NoType {
			e.symbol.Type = parent.symbol.Type
		}
	}
}

// enroll makes a symbol a member of a choice.
func (m *Model) enroll(c *Choice, e *entry) {
	s := e.symbol
	s.member, s.choice = true, c
	c.Members = append(c.Members, s)
	m.checkMember(e)
	if c.Symbol.Type == syntax.Tristate && s.Type != syntax.Tristate {
		// It can be y only when the choice is.
		mode := compare(syntax.Equal, c.Symbol, m.yes)
		e.depends = join(syntax.And, mode, e.depends)
		for _, p := range e.prompts {
			p.visible = join(syntax.And, mode, p.visible)
		}
		for _, p := range e.properties {
			p.cond = join(syntax.And, mode, p.cond)
		}
	}
}

// adopt moves the entries that follow a symbol, and depend on it, below it.
// See "Menu structure" in Documentation/kbuild/kconfig-language.rst.
func (m *Model) adopt(parent *entry) {
	var own *Expr
	if parent.prompt != nil {
		own = parent.prompt.visible
	}
	var last *entry
	for e := parent.next; e != nil; e = e.next {
		depends := e.depends
		if e.prompt != nil {
			depends = e.prompt.visible
		}
		if !depends.mentions(parent.symbol) {
			break
		}
		if !m.demands(depends, parent.symbol) && (m.dialect.NegativeEnds && m.excludes(depends, parent.symbol) || !m.implies(depends, own)) {
			break
		}
		m.finish(e)
		e.parent = parent
		last = e
	}
	if last != nil {
		parent.first, parent.next, last.next = parent.next, last.next, nil
	}
}

// implies tells whether the terms of one conjunction are among those of another.
func (m *Model) implies(e, of *Expr) bool {
	if of == nil {
		return true
	}
	if e == nil {
		return false
	}
	have := m.simplify(m.normalize(m.truth(e))).of(syntax.And)
	for _, t := range m.simplify(m.normalize(m.truth(of))).of(syntax.And) {
		if t.Op == syntax.Sym && t.Left == m.yes {
			continue
		}
		if t.Op == syntax.Sym && t.Left == m.no {
			return false // what never holds is in no other, to conf, not even in itself
		}
		if !slices.ContainsFunc(have, func(h *Expr) bool { return same(h, t) }) {
			return false
		}
	}
	return true
}

// truth reads symbols as comparisons with n.
func (m *Model) truth(e *Expr) *Expr {
	switch e.Op {
	case syntax.And, syntax.Or:
		return e.rewrite(e.Op, m.truth)
	case syntax.Sym:
		if e.Left.constant {
			return e
		}
		return compare(syntax.Unequal, e.Left, m.no)
	case syntax.Not:
		if e.Terms[0].Op == syntax.Sym {
			return compare(syntax.Equal, e.Terms[0].Left, m.no)
		}
	}
	return e
}
