// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"cmp"
	"math/big"
	"slices"
	"strconv"
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
	// What was set in vain before.
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

var opposite = map[syntax.Op]syntax.Op{
	syntax.Equal: syntax.Unequal, syntax.Unequal: syntax.Equal, syntax.Less: syntax.GreaterEqual, syntax.GreaterEqual: syntax.Less,
	syntax.Greater: syntax.LessEqual, syntax.LessEqual: syntax.Greater,
}

// expandComparison adds the ways to have a comparison hold, or not.
func (s *solver) expandComparison(n *node) {
	op, left, right := n.expr.Op, n.expr.Left, n.expr.Right
	if n.goal.most {
		op = opposite[op]
	}
	if !left.Defined() {
		left, right = right, left
		op = mirrored(op)
	}
	if !left.Defined() {
		return // constants
	}
	switch left.Type {
	case syntax.Bool, syntax.Tristate:
		s.compareTristates(n, op, left, right)
	case syntax.String:
		if right.Defined() {
			if op == syntax.Equal {
				n.way(way{}, s.add(goal{symbol: left, value: model.Quote(s.state.String(right))}))
				n.way(way{}, s.add(goal{symbol: right, value: model.Quote(s.state.String(left))}))
			}
			if op == syntax.Unequal {
				n.way(way{}, s.add(goal{symbol: left, op: op, value: s.state.String(right)}))
				n.way(way{}, s.add(goal{symbol: right, op: op, value: s.state.String(left)}))
			}
			return
		}
		switch op {
		case syntax.Equal:
			n.way(way{}, s.add(goal{symbol: left, value: model.Quote(right.Name)}))
		case syntax.Unequal:
			n.way(way{}, s.add(goal{symbol: left, op: op, value: right.Name}))
		}
	case syntax.Int, syntax.Hex:
		s.compareNumber(n, op, left, s.text(right))
		if right.Defined() {
			s.compareNumber(n, mirrored(op), right, s.text(left))
		}
	}
}

// text is the value of a symbol, or what is written in its place.
func (s *solver) text(sym *model.Symbol) string {
	if sym.Defined() {
		return s.state.String(sym)
	}
	return sym.Name
}

// mirrored is an operator for its operands in the other order.
func mirrored(op syntax.Op) syntax.Op {
	switch op {
	case syntax.Less:
		return syntax.Greater
	case syntax.Greater:
		return syntax.Less
	case syntax.LessEqual:
		return syntax.GreaterEqual
	case syntax.GreaterEqual:
		return syntax.LessEqual
	}
	return op
}

// compareTristates adds a way for each two values of which a comparison holds.
func (s *solver) compareTristates(n *node, op syntax.Op, left, right *model.Symbol) {
	values := []model.Tristate{model.No, model.Mod, model.Yes}
	others := values
	if !right.Defined() {
		level, ok := tristate(right.Name)
		if !ok {
			return
		}
		others = []model.Tristate{level}
	}
	exactly := func(sym *model.Symbol, level model.Tristate) []*node {
		var list []*node
		if sym.Defined() {
			if level > model.No {
				list = append(list, s.add(goal{symbol: sym, level: level}))
			}
			if level < model.Yes {
				list = append(list, s.add(goal{symbol: sym, most: true, level: level}))
			}
		}
		return list
	}
	for _, b := range others {
		var fits []model.Tristate
		for _, a := range values {
			if a == model.Mod && left.Type == syntax.Bool || b == model.Mod && right.Type == syntax.Bool && right.Defined() {
				continue
			}
			if compare(op, strconv.Itoa(int(a)), strconv.Itoa(int(b))) {
				fits = append(fits, a)
			}
		}
		for i, a := range fits {
			switch {
			case len(fits) > 1 && fits[0] == model.No && fits[len(fits)-1] != model.Yes:
				if i == len(fits)-1 { // at most this
					n.way(way{}, append(exactly(right, b), s.add(goal{symbol: left, most: true, level: a}))...)
				}
			case len(fits) > 1 && fits[0] != model.No:
				if i == 0 { // at least this
					n.way(way{}, append(exactly(right, b), s.add(goal{symbol: left, level: a}))...)
				}
			default:
				n.way(way{}, append(exactly(right, b), exactly(left, a)...)...)
			}
		}
	}
}

// compareNumber adds the way to have a number compare with another as it is.
func (s *solver) compareNumber(n *node, op syntax.Op, sym *model.Symbol, text string) {
	value := number(text)
	if value == nil {
		return
	}
	switch op {
	case syntax.Less:
		op, value = syntax.LessEqual, value.Sub(value, big.NewInt(1))
	case syntax.Greater:
		op, value = syntax.GreaterEqual, value.Add(value, big.NewInt(1))
	case syntax.Equal:
		op = syntax.Sym
	}
	n.way(way{}, s.add(goal{symbol: sym, op: op, value: spelled(sym, value)}))
}

// number is what a text says as a number; nil if it says none.
func number(text string) *big.Int {
	base := 10
	if rest, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		text, base = rest, 16
	}
	value, ok := new(big.Int).SetString(text, base)
	if !ok {
		return nil
	}
	return value
}

// spelled is a number as a symbol has it.
func spelled(sym *model.Symbol, value *big.Int) string {
	if sym.Type == syntax.Hex {
		return "0x" + value.Text(16)
	}
	return value.String()
}

// compare compares numbers, or else texts, of which none is less.
func compare(op syntax.Op, left, right string) bool {
	order := strings.Compare(left, right)
	if a, b := number(left), number(right); a != nil && b != nil {
		order = a.Cmp(b)
	} else if op != syntax.Equal && op != syntax.Unequal {
		return false
	}
	return op.Holds(order)
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
	s.defaults(n, func(p model.Property) []*node {
		return []*node{most, s.least(p.Value, model.Mod), s.least(sym.Depends(), model.Mod)}
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

// expandCompared adds the ways to have the value of a symbol compare with another.
func (s *solver) expandCompared(n *node) {
	sym := n.symbol
	switch {
	case n.op != syntax.Unequal:
		low, high := n.value, ""
		if n.op == syntax.LessEqual {
			low, high = high, low
		}
		set := n.value
		if n.set != "" {
			set = n.set
		}
		s.prompt(n, set, 0, s.room(sym, low, high)...)
		s.ends(n, n.op, n.value)
	case sym.Type == syntax.String:
		// Which text, only the user knows. A blank does no harm that is known.
		text, extra := "", 0
		if n.value == "" {
			text, extra = " ", lowered
		}
		s.prompt(n, model.Quote(text), extra)
	default:
		if value := number(n.value); value != nil {
			for _, step := range []int64{1, -1} {
				next := spelled(sym, new(big.Int).Add(value, big.NewInt(step)))
				s.prompt(n, next, 0, s.room(sym, next, next)...)
			}
		}
	}
	s.defaults(n, func(p model.Property) []*node {
		if p.Value.Op != syntax.Sym {
			return nil
		}
		switch from := p.Value.Left; {
		case from.Defined():
			return []*node{s.add(goal{symbol: from, op: n.op, value: n.value})}
		case compare(n.op, from.Name, n.value):
			return []*node{}
		}
		return nil
	})
}

// room are the goals that leave room in the ranges of a number: for one between low
// and high, an empty one of which doesn't matter.
func (s *solver) room(sym *model.Symbol, low, high string) []*node {
	if low == "" || sym.Type == syntax.String {
		low = ""
	}
	var all []*node
	for _, p := range sym.Properties() {
		if p.Source.Kind != syntax.Range || sym.Type == syntax.String {
			continue
		}
		either := s.anonymous()
		if p.Cond != nil {
			either.way(way{}, s.most(p.Cond, model.No))
		}
		var ends []*node
		if high != "" {
			ends = append(ends, s.add(goal{symbol: p.Low, op: syntax.LessEqual, value: high}))
		}
		if low != "" {
			ends = append(ends, s.add(goal{symbol: p.High, op: syntax.GreaterEqual, value: low}))
		}
		either.way(way{}, ends...)
		all = append(all, either)
	}
	return all
}

// ends adds the ways by which the range of a number makes it compare well with a
// value: by the end that decides, or by both for what is to be that value.
func (s *solver) ends(n *node, op syntax.Op, value string) {
	for _, p := range n.symbol.Properties() {
		if p.Source.Kind != syntax.Range {
			continue
		}
		deciding := []*model.Symbol{p.Low, p.High}
		switch op {
		case syntax.GreaterEqual:
			deciding = deciding[:1]
		case syntax.LessEqual:
			deciding = deciding[1:]
		}
		needs := []*node{s.least(n.symbol.Depends(), model.Mod)}
		if p.Cond != nil {
			needs = append(needs, s.least(p.Cond, model.Mod))
		}
		possible := true
		for _, end := range deciding {
			switch {
			case end.Defined():
				needs = append(needs, s.add(goal{symbol: end, op: op, value: value}))
			case !compare(cmp.Or(op, syntax.Equal), end.Name, value):
				possible = false
			}
		}
		if possible {
			n.way(way{kind: clamped, weight: indirect, pos: p.Source.Pos, node: p.Node}, needs...)
		}
	}
}

// anonymous is a node for which others stand.
func (s *solver) anonymous() *node {
	n := &node{}
	s.nodes = append(s.nodes, n)
	return n
}
