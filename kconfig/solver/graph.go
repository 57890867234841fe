// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"cmp"
	"container/heap"

	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// A goal is a bound of the value of a symbol or of an expression: at least the
// level, or at most.
type goal struct {
	symbol *model.Symbol // nil for that of an expression
	expr   *model.Expr
	most   bool
	level  model.Tristate
	value  string // of a symbol with an exact value instead of a bound
	// op makes the value one that the symbol's is compared with: GreaterEqual or
	// LessEqual for numbers, Unequal, whose text is without quotes.
	op syntax.Op
	// set is what a symbol is set to where a greater value than that will do.
	set string
}

// A node is a goal in the graph.
type node struct {
	goal
	ways    []*way
	needed  []*way // that have this goal among theirs
	best    *way
	reached bool
	cost    int
	edits   int  // how many make it hold; what several share counts for each
	holds   bool // already
}

// A kind is what brings about a way.
type kind uint8

const (
	logic    kind = iota // of an expression
	prompted             // the user sets the symbol
	selected
	implied
	defaulted
	rival   // another member of the choice
	clamped // by a range
	without // nothing that would raise it
)

// A way leads to a goal once all that it needs are reached.
type way struct {
	head    *node
	needs   []*node
	kind    kind
	set     string // the value that the head's symbol is set to; empty if it isn't
	weight  int
	pos     syntax.Pos // of what makes it one
	node    *syntax.Node
	by      *model.Symbol // that selects or implies
	missing int
	cost    int
	edits   int
}

// queue has the ways all of whose needs are reached, the cheapest first.
type queue []*way

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Less doesn't depend on the order in which the graph was made: of ways that cost
// the same, that with fewer edits comes first, then the more direct one, then the
// one that is written first.
func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.edits, b.edits), cmp.Compare(a.kind, b.kind),
		cmp.Compare(a.pos.File, b.pos.File), cmp.Compare(a.pos.Line, b.pos.Line), cmp.Compare(a.set, b.set)) < 0
}

func (q *queue) Push(x any) { *q = append(*q, x.(*way)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	*q = (*q)[:last]
	return w
}

// cheapest finds for each node the cheapest way. A way costs its weight and what
// its needs cost; what several of them share counts for each.
func cheapest(nodes []*node) {
	var q queue
	reach := func(n *node, cost, edits int) {
		n.reached, n.cost, n.edits = true, cost, edits
		for _, w := range n.needed {
			w.missing--
			w.cost += cost
			w.edits += edits
			if w.missing == 0 {
				heap.Push(&q, w)
			}
		}
	}
	for _, n := range nodes {
		for _, w := range n.ways {
			w.missing, w.cost, w.edits = len(w.needs), w.weight, 0
			if w.set != "" {
				w.edits = 1
			}
			if w.missing == 0 {
				heap.Push(&q, w)
			}
		}
	}
	for _, n := range nodes {
		if n.holds {
			reach(n, 0, 0)
		}
	}
	for q.Len() > 0 {
		w := heap.Pop(&q).(*way)
		if w.head.reached {
			continue
		}
		w.head.best = w
		reach(w.head, w.cost, w.edits)
	}
}
