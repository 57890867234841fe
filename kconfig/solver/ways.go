// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"slices"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// raise adds the ways to have at least n, m or y of a symbol.
func (s *solver) raise(n *node) {
	sym := n.symbol
	// A bool that depends on what is m can be y.
	needed := n.level
	if sym.Type == syntax.Bool {
		needed = model.Mod
	}
	if n.level == model.Mod {
		s.prompt(n, "m", indirect)
	}
	s.prompt(n, "y", 0)
	for _, p := range s.raisers[sym] {
		w, counts := s.raising(sym, p)
		if !counts {
			continue
		}
		n.way(w, s.add(goal{symbol: p.Owner, level: needed}), s.least(p.Cond, needed), s.least(sym.Depends(), needed))
	}
	s.defaults(n, func(p model.Property) []*node {
		return []*node{s.least(p.Cond, needed), s.least(p.Value, needed)}
	})
}

// settled says that a symbol is what the user has set, whatever its defaults say.
func (s *solver) settled(sym *model.Symbol) bool {
	return s.state.Set(sym) && s.state.Visible(sym) != model.No
}

// raising is the way by a select or an imply of a symbol, and says whether that
// counts: an imply doesn't where the user has settled it.
func (s *solver) raising(sym *model.Symbol, p model.Property) (w way, counts bool) {
	w = way{kind: selected, weight: indirect + detour(p.Owner, sym), pos: p.Source.Pos, node: p.Node, by: p.Owner}
	if p.Source.Kind == syntax.Imply {
		w.kind = implied
	}
	return w, w.kind == selected || !s.settled(sym)
}

// lower adds the ways to have at most n or m of a symbol.
func (s *solver) lower(n *node) {
	sym := n.symbol
	if rivals := sym.Rivals(); len(rivals) > 0 {
		for _, r := range rivals {
			n.way(way{kind: rival, by: r, pos: r.Nodes[0].Pos, node: r.Nodes[0]}, s.add(goal{symbol: r, level: model.Yes}))
		}
		return
	}
	w := way{kind: without, pos: sym.Nodes[0].Pos}
	var needs []*node
	if sym.IsChoice() {
		// It is there while it can be seen.
		for _, p := range sym.Prompts() {
			needs = append(needs, s.most(p.Visible, model.No))
		}
		n.way(w, needs...)
		return
	}
	for _, p := range s.raisers[sym] {
		if _, counts := s.raising(sym, p); !counts {
			continue
		}
		need := s.most(both(leaf(p.Owner), p.Cond), n.level)
		if needs = append(needs, need); !need.holds {
			w.pos, w.node = p.Source.Pos, p.Node
		}
	}
	s.prompt(n, n.level.String(), 0, needs...)
	if s.state.Visible(sym) != model.No {
		return
	}
	for _, p := range sym.Properties() {
		if p.Source.Kind != syntax.Default {
			continue
		}
		need := s.most(both(p.Value, p.Cond), n.level)
		if needs = append(needs, need); !need.holds {
			w.pos, w.node = p.Source.Pos, p.Node
		}
	}
	n.way(w, needs...)
}

func leaf(sym *model.Symbol) *model.Expr { return &model.Expr{Op: syntax.Sym, Left: sym} }

// both is the conjunction of an expression and a condition, where nil is y.
func both(e, cond *model.Expr) *model.Expr {
	if cond == nil {
		return e
	}
	return &model.Expr{Op: syntax.And, Terms: []*model.Expr{e, cond}}
}

// expandValue adds the ways to give a symbol a value that is no bound.
func (s *solver) expandValue(n *node) {
	if n.symbol.Type == syntax.Tristate {
		s.expandModule(n)
		return
	}
	sym := n.symbol
	s.prompt(n, n.value, 0, s.room(sym, n.value, n.value)...)
	if sym.Type != syntax.String {
		s.ends(n, syntax.Sym, n.value)
	}
	depends := s.least(sym.Placed(), model.Mod)
	s.defaults(n, func(p model.Property) []*node {
		if p.Value.Op != syntax.Sym {
			return nil
		}
		switch from := p.Value.Left; {
		case from.Defined():
			return []*node{depends, s.add(goal{symbol: from, value: n.value})}
		case n.means(from.Name):
			return []*node{depends}
		}
		return nil
	})
}

// means says whether the text of a default is the value that a node wants.
func (n *node) means(text string) bool {
	if n.symbol.Type == syntax.String {
		return model.Quote(text) == n.value
	}
	return text == n.value || kconfig.Want{Value: n.value}.Met(text)
}

// expandModule adds the ways to have a tristate symbol m, no more and no less.
func (s *solver) expandModule(n *node) {
	sym := n.symbol
	most := s.add(goal{symbol: sym, most: true, level: model.Mod})
	s.prompt(n, "m", 0, most)
	for _, p := range s.raisers[sym] {
		w, counts := s.raising(sym, p)
		if !counts || p.Owner.Type != syntax.Tristate {
			continue
		}
		n.way(w, most, s.add(goal{symbol: p.Owner, value: "m"}), s.least(p.Cond, model.Mod), s.least(sym.Depends(), model.Mod))
	}
	s.defaults(n, func(p model.Property) []*node {
		return []*node{most, s.least(p.Value, model.Mod), s.least(sym.Placed(), model.Mod)}
	})
}

// defaults adds the ways by which a default of a node's symbol counts: what serves
// wants for it besides its condition, nil meaning that it doesn't serve.
func (s *solver) defaults(n *node, serves func(model.Property) []*node) {
	var before []*node
	if s.settled(n.symbol) {
		// They count where the user can't set it.
		if !s.thorough || len(n.symbol.Prompts()) == 0 {
			return
		}
		for _, p := range n.symbol.Prompts() {
			before = append(before, s.most(p.Visible, model.No))
		}
	}
	for _, p := range n.symbol.Properties() {
		if p.Source.Kind != syntax.Default {
			continue
		}
		if needs := serves(p); needs != nil {
			w := way{kind: defaulted, weight: indirect, pos: p.Source.Pos, node: p.Node}
			n.way(w, slices.Concat(needs, []*node{s.least(p.Cond, model.Mod)}, before)...)
		}
		before = append(before, s.most(p.Cond, model.No))
	}
}

// prompt adds the ways to set a symbol at its prompts.
func (s *solver) prompt(n *node, value string, extra int, needs ...*node) {
	if l := s.locks[n.symbol]; l != nil && !l.want.Met(value) {
		return // another goal of the symbol's would never be met
	}
	level := model.Mod
	switch {
	case n.symbol.Type == syntax.Tristate && value == "y":
		level = model.Yes
	case value == "m" && n.symbol.Type != syntax.Tristate:
		return
	case value == "m":
		needs = append(needs, s.add(goal{symbol: s.model.Modules(), level: model.Yes}))
	}
	for _, p := range n.symbol.Prompts() {
		if n.symbol.IsChoice() {
			// Its members set it.
			n.way(way{kind: prompted, pos: p.Node.Pos, node: p.Node}, s.least(p.Visible, model.Mod))
			continue
		}
		w := way{kind: prompted, set: value, weight: s.weight(n.symbol, value) + extra, pos: p.Node.Pos, node: p.Node}
		n.way(w, append(slices.Clone(needs), s.least(p.Visible, level))...)
	}
}
