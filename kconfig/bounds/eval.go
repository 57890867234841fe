// SPDX-License-Identifier: GPL-3.0-only

package bounds

import (
	"math/big"
	"strings"

	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// eval are the values that an expression can have.
func (b *Bounds) eval(e *model.Expr) levels {
	if e == nil {
		return y
	}
	switch e.Op {
	case syntax.Sym:
		if e.Left.Type.Logical() {
			return b.of(e.Left).levels
		}
		return n
	case syntax.Not:
		return inverse(b.eval(e.Terms[0]))
	case syntax.And:
		set := y
		for _, t := range e.Terms {
			set = lower(set, b.eval(t))
		}
		return set
	case syntax.Or:
		set := n
		for _, t := range e.Terms {
			set = higher(set, b.eval(t))
		}
		return set
	}
	return b.compare(e.Op, e.Left, e.Right)
}

// compare are the values that a comparison can have.
func (b *Bounds) compare(op syntax.Op, left, right *model.Symbol) levels {
	l, r := b.of(left), b.of(right)
	ls, lok := l.values(left)
	rs, rok := r.values(right)
	var set levels
	if lok && rok && len(ls)*len(rs) <= 256 {
		for _, x := range ls {
			for _, z := range rs {
				set |= holds(op, x, z, left, right)
			}
		}
		return set
	}
	if !numeric(left) && !numeric(right) || op == syntax.Equal || op == syntax.Unequal {
		// Two that have no number in common are never the same.
		if numeric(left) && numeric(right) && apart(l, r, left, right) {
			if op == syntax.Equal {
				return n
			}
			return y
		}
		return n | y
	}
	ll, lh := ends(l, left)
	rl, rh := ends(r, right)
	less := func(a, b *big.Int) bool { return a != nil && b != nil && a.Cmp(b) < 0 }
	switch op {
	case syntax.Less: // impossible where no left is less than a right
		if rh != nil && ll != nil && ll.Cmp(rh) >= 0 {
			return n
		}
		if less(lh, rl) {
			return y
		}
	case syntax.LessEqual:
		if less(rh, ll) {
			return n
		}
		if lh != nil && rl != nil && lh.Cmp(rl) <= 0 {
			return y
		}
	case syntax.Greater:
		return inverse(b.compare(syntax.LessEqual, left, right))
	case syntax.GreaterEqual:
		return inverse(b.compare(syntax.Less, left, right))
	}
	return n | y
}

func numeric(s *model.Symbol) bool {
	switch s.Type {
	case syntax.Int, syntax.Hex:
		return true
	}
	return !s.Defined() && number(s.Name, syntax.Int) != nil
}

// ends are the least and the greatest number of a domain.
func ends(d *domain, s *model.Symbol) (low, high *big.Int) {
	if !s.Defined() {
		value := number(s.Name, syntax.Int)
		return value, value
	}
	return d.low, d.high
}

func apart(l, r *domain, left, right *model.Symbol) bool {
	ll, lh := ends(l, left)
	rl, rh := ends(r, right)
	return lh != nil && rl != nil && lh.Cmp(rl) < 0 || rh != nil && ll != nil && rh.Cmp(ll) < 0
}

// holds is whether a comparison of two texts holds. Where it isn't clear how conf
// reads them, it may.
func holds(op syntax.Op, x, z string, left, right *model.Symbol) levels {
	order, known := strings.Compare(x, z), true
	switch {
	case tristates(left, x) && tristates(right, z):
		order = strings.Index("nmy", x) - strings.Index("nmy", z)
	case left.Type == syntax.String || right.Type == syntax.String || !numeric(left) && !numeric(right):
		known = op == syntax.Equal || op == syntax.Unequal
	default:
		a, c := number(x, left.Type), number(z, right.Type)
		if known = a != nil && c != nil; known {
			order = a.Cmp(c)
		}
	}
	if !known {
		return n | y
	}
	yes := false
	switch op {
	case syntax.Equal:
		yes = order == 0
	case syntax.Unequal:
		yes = order != 0
	case syntax.Less:
		yes = order < 0
	case syntax.LessEqual:
		yes = order <= 0
	case syntax.Greater:
		yes = order > 0
	case syntax.GreaterEqual:
		yes = order >= 0
	}
	if yes {
		return y
	}
	return n
}

func tristates(s *model.Symbol, text string) bool {
	return (s.Type.Logical() || s.Constant()) && len(text) == 1 && strings.Contains("nmy", text)
}
