// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"cmp"
	"math/big"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

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
		needs := []*node{s.least(n.symbol.Placed(), model.Mod)}
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
