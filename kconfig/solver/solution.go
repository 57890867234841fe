// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"fmt"
	"math"
	"slices"

	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// rounds is how often what is still open is solved again. Two are enough for all
// that was seen.
const rounds = 8

// Evaluate is what the kernel's conf makes of a .config.
func Evaluate(m *model.Model, f *kconfig.File) *model.State {
	s := m.NewState()
	s.Load(".config", f.Bytes())
	return s
}

// Check compares what the kernel's conf would make of a .config with
// requirements, in their order. Symbols that this kernel doesn't know, and what
// its conf would change, are seen: what isn't met by the former has a proof.
func Check(m *model.Model, state *model.State, requirements []kconfig.Requirement) []kconfig.Result {
	results := make([]kconfig.Result, len(requirements))
	for i, r := range requirements {
		results[i] = result(m, state, r)
		if !results[i].Met && m.Lookup(r.Symbol) == nil {
			proof := unknown(m, r)
			results[i].Proof = &proof
		}
	}
	return results
}

func result(m *model.Model, state *model.State, r kconfig.Requirement) kconfig.Result {
	have := ""
	if sym := m.Lookup(r.Symbol); sym != nil {
		have, _ = state.Value(sym)
	}
	return kconfig.Result{Requirement: r, Have: have, Met: r.Want.Met(have)}
}

// attempts is how often the choices are reconsidered that turned out to be in the
// way of a requirement.
const attempts = 4

// Solve finds the fewest edits of a .config that make requirements hold. An optional
// requirement gets no edit but those of optional ones. Of requirements that can't all
// be met, those are that can.
func Solve(m *model.Model, f *kconfig.File, requirements []kconfig.Requirement) (*kconfig.Solution, error) {
	best, err := search(newSolver(m, requirements), f, requirements)
	if err != nil {
		return nil, err
	}
	if err := best.minimize(); err != nil {
		return nil, err
	}
	if err := best.grant(); err != nil {
		return nil, err
	}
	return best.result()
}

// search looks for the settings that meet the most of the requirements, and more
// thoroughly for as long as some are open.
func search(solver *solver, f *kconfig.File, requirements []kconfig.Requirement) (*solution, error) {
	var best *solution
	for _, thorough := range []bool{false, true} {
		solver.thorough, solver.regretted = thorough, map[*model.Symbol]string{}
		for range attempts {
			next, err := newSolution(solver, f, requirements)
			if err != nil {
				return nil, err
			}
			if best == nil || len(next.open) < len(best.open) {
				best = next
			}
			if len(best.open) == 0 || !next.regret() {
				break
			}
		}
		if len(best.open) == 0 {
			break
		}
	}
	return best, nil
}

// A solution is a kconfig.Solution in the making.
type solution struct {
	*solver
	original *kconfig.File
	strict   []kconfig.Requirement
	optional []kconfig.Requirement
	settings map[string]kconfig.Setting
	order    []string              // of the settings
	open     []kconfig.Requirement // that can't be met
	first    *model.State          // before anything was set
	strained []string              // symbols that were so in first
}

// newSolution sets what is required and what that needs.
func newSolution(solver *solver, f *kconfig.File, requirements []kconfig.Requirement) (*solution, error) {
	own := *solver // with locks of its own
	x := &solution{solver: &own, original: f, settings: map[string]kconfig.Setting{}}
	x.locks = map[*model.Symbol]*lock{}
	for _, r := range requirements {
		if r.Optional {
			x.optional = append(x.optional, r)
			continue
		}
		x.strict = append(x.strict, r)
		if sym := x.model.Lookup(r.Symbol); sym != nil {
			x.locks[sym] = &lock{want: r.Want, by: fmt.Sprintf("needed by %s (%s)", r.Group, r.Why)}
		}
	}
	for i := range rounds {
		more, err := x.round(x.strict, math.MaxInt)
		if i == 0 && err == nil {
			x.strained = strained(x.first)
		}
		if err != nil || !more {
			return x, err
		}
	}
	return x, nil
}

// regret raises the cost of those of its own settings that are in the way of what it
// can't meet. It tells whether there were any.
func (x *solution) regret() bool {
	seen := map[*node]bool{}
	found := false
	var visit func(n *node)
	visit = func(n *node) {
		if n.reached || seen[n] {
			return
		}
		seen[n] = true
		if n.symbol != nil {
			if l := x.locked(n.goal); l != nil && x.wants[n.symbol] == nil && x.regretted[n.symbol] == "" {
				x.regretted[n.symbol] = l.want.Value
				found = true
			}
		}
		for _, w := range n.ways {
			for _, need := range w.needs {
				visit(need)
			}
		}
	}
	for _, r := range x.open {
		if n := x.root(r); n != nil {
			visit(n)
		}
	}
	return found
}

// file is the .config with the edits but for one.
func (x *solution) file(without string) (*kconfig.File, error) {
	f, err := kconfig.Parse(".config", x.original.Bytes())
	if err != nil {
		return nil, err
	}
	for _, name := range x.order {
		if name == without {
			continue
		}
		e := x.settings[name]
		if sym := x.model.Lookup(name); sym != nil && e.Value == "y" {
			for _, r := range sym.Rivals() {
				f.Set(r.Name, "n")
			}
		}
		f.Set(name, e.Value)
	}
	return f, nil
}

func (x *solution) evaluate(without string) (*model.State, error) {
	f, err := x.file(without)
	if err != nil {
		return nil, err
	}
	return Evaluate(x.model, f), nil
}

// unmet are the requirements that don't hold.
func (x *solution) unmet(state *model.State, list []kconfig.Requirement) []kconfig.Requirement {
	return slices.DeleteFunc(slices.Clone(list), func(r kconfig.Requirement) bool { return result(x.model, state, r).Met })
}

// grant makes the edits of optional requirements that cost nothing else, and as long as what is
// required holds.
func (x *solution) grant() error {
	for range rounds {
		before := len(x.order)
		if more, err := x.round(x.optional, edit); err != nil || !more {
			return err
		}
		state, err := x.evaluate("")
		if err != nil {
			return err
		}
		if x.breaks(state) {
			// One of the optional ones is in the way of something that matters.
			return x.withdraw(before)
		}
	}
	return nil
}

// round makes the edits for what doesn't hold yet, each for less than a limit. It
// tells whether there was anything to do.
func (x *solution) round(list []kconfig.Requirement, limit int) (more bool, err error) {
	state, err := x.evaluate("")
	if err != nil {
		return false, err
	}
	if x.first == nil {
		x.first = state
	}
	open := x.unmet(state, list)
	if limit == math.MaxInt {
		x.open = open
	}
	if len(open) == 0 {
		return false, nil
	}
	x.reset(state)
	roots := make([]*node, len(open))
	for i, r := range open {
		roots[i] = x.root(r)
	}
	x.run()
	before := len(x.order)
	for _, root := range roots {
		if root != nil && root.reached && root.cost < limit {
			x.collect(root, nil)
		}
	}
	return len(x.order) > before, nil
}

// withdraw takes back the edits from a place on, and makes them one by one, as
// long as what is kept holds.
func (x *solution) withdraw(from int) error {
	names := slices.Clone(x.order[from:])
	x.order = x.order[:from]
	for _, name := range names {
		x.order = append(x.order, name)
		state, err := x.evaluate("")
		if err != nil {
			return err
		}
		if x.breaks(state) {
			x.order = x.order[:len(x.order)-1]
			delete(x.settings, name)
		}
	}
	return nil
}

// root is the goal of a requirement; nil for a symbol that isn't known.
func (x *solution) root(r kconfig.Requirement) *node {
	sym := x.model.Lookup(r.Symbol)
	if sym == nil {
		return nil
	}
	if mistyped(sym, r.Want) != "" {
		return &node{goal: goal{symbol: sym, value: r.Want.Setting()}} // without a way
	}
	if level, ok := tristate(r.Want.Value); ok && sym.Type.Logical() {
		switch {
		case level == model.No:
			return x.add(goal{symbol: sym, most: true})
		case r.Want.Module || r.Want.Builtin:
			return x.add(goal{symbol: sym, level: model.Mod})
		case level == model.Yes:
			return x.add(goal{symbol: sym, level: model.Yes})
		}
	}
	if r.Want.Min {
		return x.add(goal{symbol: sym, op: syntax.GreaterEqual, value: r.Want.Value, set: r.Want.Setting()})
	}
	return x.add(goal{symbol: sym, value: r.Want.Setting()})
}

// collect makes the edits on the way to a goal, those first that others need.
func (x *solution) collect(n, from *node) {
	if n.holds || n.best == nil {
		return
	}
	w := n.best
	if slices.ContainsFunc(n.ways, func(w *way) bool { return w.kind == rival && x.settings[w.by.Name].Value == "y" }) {
		return // another goal has had one of the choice's others set
	}
	owner := from
	if n.symbol != nil {
		owner = n
	}
	for _, need := range w.needs {
		x.collect(need, owner)
	}
	if w.set == "" {
		return
	}
	name := n.symbol.Name
	if old, ok := x.settings[name]; ok {
		if old.Value != w.set {
			return // the next round finds another way, or that there is none
		}
		return
	}
	set := kconfig.Setting{Symbol: name, Value: w.set}
	if from != nil && x.wants[n.symbol] == nil {
		set.For, set.At = from.symbol.Title(), from.best.pos.String()
		x.locks[n.symbol] = &lock{want: kconfig.Want{Value: w.set}, by: fmt.Sprintf("needed by %s", set.For)}
	}
	x.settings[name] = set
	x.order = append(x.order, name)
}

// breaks tells whether a requirement that could be met isn't.
func (x *solution) breaks(state *model.State) bool {
	return slices.ContainsFunc(x.unmet(state, x.strict), func(r kconfig.Requirement) bool { return !slices.Contains(x.open, r) })
}

// minimize takes back each edit that nothing required needs, and those of what
// can't be met.
func (x *solution) minimize() error {
	state, err := x.evaluate("")
	if err != nil {
		return err
	}
	before := len(strained(state))
	for _, name := range slices.Backward(slices.Clone(x.order)) {
		sym := x.model.Lookup(name)
		if r := x.wants[sym]; r != nil && !slices.Contains(x.open, *r) {
			continue
		}
		state, err := x.evaluate(name)
		if err != nil {
			return err
		}
		if x.breaks(state) || len(strained(state)) > before {
			continue
		}
		x.order = slices.DeleteFunc(x.order, func(n string) bool { return n == name })
		delete(x.settings, name)
		if x.wants[sym] == nil {
			delete(x.locks, sym)
		}
	}
	return nil
}

var unmetDependencies = pattern.New(`unmet direct dependencies detected for (\w+)`)

// strained are the symbols that are selected although their dependencies don't hold.
func strained(state *model.State) []string {
	var names []string
	for _, m := range unmetDependencies.FindAllStringSubmatch(state.Warnings.String(), -1) {
		if !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

func (x *solution) result() (*kconfig.Solution, error) {
	f, err := x.file("")
	if err != nil {
		return nil, err
	}
	s := &kconfig.Solution{File: f}
	for _, name := range x.order {
		s.Settings = append(s.Settings, x.settings[name])
	}
	state := Evaluate(x.model, f)
	x.reset(state)
	open := x.unmet(state, slices.Concat(x.strict, x.optional))
	roots := make([]*node, len(open))
	for i, r := range open {
		roots[i] = x.root(r)
	}
	x.run()
	met := slices.DeleteFunc(slices.Clone(x.strict), func(r kconfig.Requirement) bool { return slices.Contains(open, r) })
	for i, r := range open {
		refused, proof := result(x.model, state, r), x.proof(roots[i], r)
		refused.Proof = &proof
		refused.Verdict, refused.With = x.verdict(roots[i], r, met)
		s.Refused = append(s.Refused, refused)
	}
	s.Strained = slices.DeleteFunc(strained(state), func(name string) bool {
		return slices.Contains(x.strained, name)
	})
	return s, nil
}

// describe is the value of a symbol as a goal has it.
func (g goal) describe() string {
	switch {
	case g.op == syntax.Unequal && g.symbol.Type == syntax.String:
		return g.op.String() + " " + model.Quote(g.value)
	case g.op != syntax.Sym:
		return g.op.String() + " " + g.value
	case g.value != "":
		return g.value
	case g.most && g.level == model.Mod:
		return "n or m"
	case g.most:
		return "n"
	case g.level == model.Mod && g.symbol != nil && g.symbol.Type == syntax.Tristate:
		return "y or m"
	}
	return "y"
}
