// SPDX-License-Identifier: GPL-3.0-only

package closure

import (
	"slices"
	"strconv"

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
	// What was set in vain before.
	regretted map[*model.Symbol]string

	known  map[goal]*node
	nodes  []*node
	bounds []*node // of ranges; they have their ways from the start
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
	s.state, s.known, s.nodes, s.bounds = state, map[goal]*node{}, nil, nil
}

// run makes the graph of what the roots lead to, and searches it.
func (s *solver) run() {
	for i := 0; i < len(s.nodes); i++ {
		if n := s.nodes[i]; !n.holds {
			s.expand(n)
		}
	}
	search(append(s.nodes, s.bounds...))
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
	if g.value != "" {
		have, _ := s.state.Value(g.symbol)
		return have == g.value
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

var opposite = map[syntax.Op]syntax.Op{
	syntax.Equal: syntax.Unequal, syntax.Unequal: syntax.Equal, syntax.Less: syntax.GreaterEqual, syntax.GreaterEqual: syntax.Less,
	syntax.Greater: syntax.LessEqual, syntax.LessEqual: syntax.Greater,
}

// expandComparison knows the comparisons of a symbol with a value.
func (s *solver) expandComparison(n *node) {
	op, sym, value := n.expr.Op, n.expr.Left, n.expr.Right
	if n.goal.most {
		op = opposite[op]
	}
	if value.Defined() || !sym.Defined() {
		return
	}
	switch sym.Type {
	case syntax.Bool, syntax.Tristate:
		level, ok := tristate(value.Name)
		if !ok {
			return
		}
		least := func(l model.Tristate) *node { return s.add(goal{symbol: sym, level: l}) }
		most := func(l model.Tristate) *node { return s.add(goal{symbol: sym, most: true, level: l}) }
		switch op {
		case syntax.Equal:
			n.way(way{}, least(level), most(level))
		case syntax.Unequal:
			if level < model.Yes {
				n.way(way{}, least(level+1))
			}
			if level > model.No {
				n.way(way{}, most(level-1))
			}
		}
	case syntax.String:
		if op == syntax.Equal {
			n.way(way{}, s.add(goal{symbol: sym, value: model.Quote(value.Name)}))
		}
	case syntax.Int:
		number, err := strconv.ParseInt(value.Name, 10, 64)
		if err != nil {
			return
		}
		switch op {
		case syntax.Less:
			number--
		case syntax.Greater:
			number++
		case syntax.Unequal:
			return
		}
		n.way(way{}, s.add(goal{symbol: sym, value: strconv.FormatInt(number, 10)}))
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
	if g.most || g.level == model.No || g.value != "" {
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
	if g.value != "" {
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
	if s.settled(sym) {
		return
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
	s.prompt(n, n.value, 0, s.room(sym, n.value)...)
	if s.settled(sym) {
		return
	}
	depends := s.least(sym.Depends(), model.Mod)
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
	if s.settled(sym) {
		return
	}
	s.defaults(n, func(p model.Property) []*node {
		return []*node{most, s.least(p.Value, model.Mod), s.least(sym.Depends(), model.Mod)}
	})
}

// defaults adds the ways by which a default of a node's symbol counts: what serves
// wants for it besides its condition, nil meaning that it doesn't serve.
func (s *solver) defaults(n *node, serves func(model.Property) []*node) {
	var before []*node
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

// room are the goals that make the range of a number reach a value. Its upper end
// may be a symbol with a default for each case, as that of NR_CPUS.
func (s *solver) room(sym *model.Symbol, value string) []*node {
	number, err := strconv.ParseInt(value, 0, 64)
	if err != nil {
		return nil
	}
	for _, p := range sym.Properties() {
		if p.Source.Kind != syntax.Range || s.state.Eval(p.Cond) == model.No || !p.High.Defined() {
			continue
		}
		if high, err := strconv.ParseInt(s.state.String(p.High), 0, 64); err != nil || high >= number {
			return nil
		}
		n := &node{goal: goal{symbol: p.High, value: value}, bound: true}
		s.known[n.goal] = n
		s.defaults(n, func(d model.Property) []*node {
			if d.Value.Op == syntax.Sym {
				if high, err := strconv.ParseInt(d.Value.Left.Name, 0, 64); err == nil && high >= number {
					return []*node{}
				}
			}
			return nil
		})
		s.bounds = append(s.bounds, n)
		return []*node{n}
	}
	return nil
}
