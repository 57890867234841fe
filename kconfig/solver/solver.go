// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"strings"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// A solver makes the graph of the goals, as things are.
type solver struct {
	model   *model.Model
	state   *model.State
	raisers map[*model.Symbol][]model.Property // selects and implies, by their target
	wants   map[*model.Symbol]*kconfig.Requirement
	locks   map[*model.Symbol]*lock
	// Values that an earlier attempt set, and that were in the way of what it missed.
	regretted map[*model.Symbol]string

	// thorough looks for ways by which what the user has set becomes invisible, so
	// that a default counts.
	thorough bool

	known map[goal]*node
	nodes []*node
}

// A lock is a value that a symbol must keep.
type lock struct {
	want kconfig.Want
	by   string // for whom, as a sentence goes on after "must be y:"
}

func newSolver(m *model.Model, requirements []kconfig.Requirement) *solver {
	s := &solver{
		model: m, raisers: map[*model.Symbol][]model.Property{}, wants: map[*model.Symbol]*kconfig.Requirement{}, regretted: map[*model.Symbol]string{},
	}
	for i, r := range requirements {
		if sym := m.Lookup(r.Symbol); sym != nil {
			s.wants[sym] = &requirements[i]
		}
	}
	for _, sym := range m.Symbols {
		for _, p := range sym.Properties() {
			if p.Target != nil {
				s.raisers[p.Target] = append(s.raisers[p.Target], p)
			}
		}
	}
	return s
}

// reset forgets the graph, for a new state.
func (s *solver) reset(state *model.State) {
	s.state, s.known, s.nodes = state, map[goal]*node{}, nil
}

// run makes the graph of what the roots lead to, and searches it.
func (s *solver) run() {
	for i := 0; i < len(s.nodes); i++ {
		if n := s.nodes[i]; !n.holds {
			s.expand(n)
		}
	}
	cheapest(s.nodes)
}

// canonical gives goals that are the same the same form.
func canonical(g goal) goal {
	for g.expr != nil {
		switch g.expr.Op {
		case syntax.Sym:
			g.symbol, g.expr = g.expr.Left, nil
		case syntax.Not:
			g.expr, g.most, g.level = g.expr.Terms[0], !g.most, model.Yes-g.level
		default:
			return g
		}
	}
	if g.symbol != nil && g.value == "" && g.symbol.Type == syntax.Bool && g.level == model.Mod {
		g.level = model.Yes
		if g.most {
			g.level = model.No
		}
	}
	return g
}

// add returns the node of a goal.
func (s *solver) add(g goal) *node {
	g = canonical(g)
	if n, ok := s.known[g]; ok {
		return n
	}
	n := &node{goal: g}
	switch {
	case g.symbol != nil:
		// What holds, but must not, will not for long.
		n.holds = s.holds(g) && s.locked(g) == nil
	case g.expr == nil || g.expr.Terms == nil:
		n.holds = s.holds(g)
	}
	s.known[g] = n
	s.nodes = append(s.nodes, n)
	return n
}

func (s *solver) holds(g goal) bool {
	if g.value != "" || g.op != syntax.Sym {
		if g.op != syntax.Sym {
			return compare(g.op, s.state.String(g.symbol), g.value)
		}
		have, _ := s.state.Value(g.symbol)
		return kconfig.Want{Value: g.value}.Met(have)
	}
	value := model.Yes
	switch {
	case g.symbol != nil:
		value = s.state.Tristate(g.symbol)
	case g.expr != nil:
		value = s.state.Eval(g.expr)
	}
	if g.most {
		return value <= g.level
	}
	return value >= g.level
}

// way adds a way to a node.
func (n *node) way(w way, needs ...*node) {
	w.head, w.needs = n, needs
	n.ways = append(n.ways, &w)
	for _, need := range needs {
		need.needed = append(need.needed, &w)
	}
}

func (s *solver) expand(n *node) {
	switch {
	case n.expr != nil:
		s.expandExpr(n)
	case n.symbol == nil || n.symbol.Constant() || !n.symbol.Defined() || s.locked(n.goal) != nil:
	case n.op != syntax.Sym:
		s.expandCompared(n)
	case n.value != "":
		s.expandValue(n)
	case n.most:
		s.lower(n)
	default:
		s.raise(n)
	}
}

// least and most are the goals that an expression has a bound.
func (s *solver) least(e *model.Expr, level model.Tristate) *node {
	return s.add(goal{expr: e, level: level})
}

func (s *solver) most(e *model.Expr, level model.Tristate) *node {
	return s.add(goal{expr: e, most: true, level: level})
}

func (s *solver) expandExpr(n *node) {
	switch n.expr.Op {
	case syntax.And, syntax.Or:
		var terms []*node
		for _, t := range n.expr.Terms {
			terms = append(terms, s.add(goal{expr: t, most: n.goal.most, level: n.level}))
		}
		if (n.expr.Op == syntax.And) != n.goal.most {
			n.way(way{}, terms...)
			return
		}
		for _, t := range terms {
			n.way(way{}, t)
		}
	default:
		s.expandComparison(n)
	}
}

func tristate(name string) (model.Tristate, bool) {
	switch name {
	case "n":
		return model.No, true
	case "m":
		return model.Mod, true
	case "y":
		return model.Yes, true
	}
	return model.No, false
}

// locked returns the lock that a goal contradicts; nil if there is none.
func (s *solver) locked(g goal) *lock {
	if l := s.locks[g.symbol]; l != nil && contradicts(g, l.want) {
		return l
	}
	if g.most || g.level == model.No || g.value != "" || g.op != syntax.Sym {
		return nil
	}
	for _, r := range g.symbol.Rivals() {
		if l := s.locks[r]; l != nil && l.want.Value == "y" {
			return l
		}
	}
	return nil
}

func contradicts(g goal, want kconfig.Want) bool {
	if want.Builtin {
		want = kconfig.Want{Value: "y", Module: true} // either will do
	}
	switch {
	case g.op == syntax.Unequal:
		text := want.Value
		if strings.HasPrefix(text, `"`) {
			return text == model.Quote(g.value)
		}
		return !want.Min && compare(syntax.Equal, text, g.value)
	case g.op != syntax.Sym && want.Min:
		return g.op == syntax.LessEqual && compare(syntax.Less, g.value, want.Value)
	case g.op != syntax.Sym:
		return !compare(g.op, want.Value, g.value)
	case g.value != "":
		return !want.Met(g.value)
	}
	level, ok := tristate(want.Value)
	if !ok {
		return false
	}
	switch {
	case !g.most:
		return level < g.level
	case want.Module:
		return g.level == model.No
	}
	return level > g.level
}

// anonymous is a node for which others stand.
func (s *solver) anonymous() *node {
	n := &node{}
	s.nodes = append(s.nodes, n)
	return n
}
