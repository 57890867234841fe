// SPDX-License-Identifier: GPL-3.0-only

package explain

import (
	"slices"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/solver"
)

// A Difference is a symbol that differs in two configurations, and why it has its
// value in each.
type Difference struct {
	Symbol string `json:"symbol"`
	From   string `json:"from"` // as in .config; empty where it isn't in it
	To     string `json:"to"`
	// User: one of the two says so itself. What differs else follows from that.
	User    bool   `json:"user"`
	WhyFrom Reason `json:"whyFrom"`
	WhyTo   Reason `json:"whyTo"`
}

// said is the reason of what .config says itself.
const said = ".config says so"

// Diff lists what differs in what conf makes of two configurations, in the order of
// the Kconfig files: first what a user has decided, then what follows.
func Diff(m *model.Model, from, to *kconfig.File) []Difference {
	index := raisers(m)
	a, b := newExplainer(m, solver.Evaluate(m, from), index), newExplainer(m, solver.Evaluate(m, to), index)
	var list []Difference
	for _, sym := range m.Symbols {
		old, _ := a.state.Value(sym)
		value, _ := b.state.Value(sym)
		if sym.Name == "" || old == value || old == "" && value == "n" || old == "n" && value == "" {
			continue
		}
		d := Difference{Symbol: sym.Name, From: old, To: value, WhyFrom: a.explain(sym).Why, WhyTo: b.explain(sym).Why}
		d.User = decided(a, sym, d.WhyFrom) || decided(b, sym, d.WhyTo)
		list = append(list, d)
	}
	slices.SortStableFunc(list, func(a, b Difference) int {
		switch {
		case a.User == b.User:
			return 0
		case a.User:
			return -1
		}
		return 1
	})
	return list
}

// decided tells whether a value is the user's, and not what it would be anyway.
func decided(x *explainer, sym *model.Symbol, why Reason) bool {
	if why.Text != said && why.Text != "it is what its choice came to" {
		return false
	}
	return !x.state.Defaulted(sym)
}
