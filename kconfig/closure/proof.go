// SPDX-License-Identifier: GPL-3.0-only

package closure

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/internal/spell"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// shown is how many selectors a proof names.
const shown = 4

// proof says why a requirement can't hold.
func (x *solution) proof(n *node, r kconfig.Requirement) kconfig.Step {
	if n == nil {
		text := "no Kconfig file that belongs to this architecture mentions it"
		if near := spell.Nearest(strings.ToUpper(r.Symbol), x.model.Names()); near != "" {
			text += "; did you mean " + near + "?"
		}
		return kconfig.Step{Symbol: r.Symbol, Want: r.Want.String(), Text: text}
	}
	if text := mistyped(n.symbol, r.Want); text != "" {
		return kconfig.Step{Symbol: r.Symbol, Want: r.Want.String(), Text: text, At: n.symbol.Nodes[0].Pos.String()}
	}
	if n.reached {
		return kconfig.Step{Symbol: r.Symbol, Want: r.Want.String(), Text: x.unreached(n, r)}
	}
	return x.refute(n, map[*node]bool{})
}

// mistyped says why a symbol can't have what is wanted, by its type; nothing when
// it can. To conf, a hex number is one without 0x as well, which others read
// otherwise: it isn't taken for either.
func mistyped(sym *model.Symbol, want kconfig.Want) string {
	if !sym.Defined() {
		return ""
	}
	value := want.Value
	_, isTristate := tristate(value)
	quoted := strings.HasPrefix(value, `"`)
	hex := len(value) > 2 && strings.EqualFold(value[:2], "0x")
	switch sym.Type {
	case syntax.Bool:
		if !isTristate || value == "m" {
			return "it is a bool, which is y or n"
		}
	case syntax.Tristate:
		if !isTristate {
			return "it is a tristate, which is y, m or n"
		}
	case syntax.String:
		if !quoted && value != "n" {
			return `it is a string, which comes in "quotes"`
		}
	case syntax.Int:
		if isTristate && value != "n" || quoted || hex {
			return "it is an int, a decimal number"
		}
	case syntax.Hex:
		if isTristate && value != "n" || quoted {
			return "it is a hex number, such as 0x10"
		}
		if number, err := strconv.ParseUint(value, 10, 64); err == nil && number > 9 && !hex {
			return fmt.Sprintf("it is a hex number: is %#x meant, or 0x%s?", number, value)
		}
	}
	return ""
}

// unreached says why a requirement wasn't met that could be.
func (x *solution) unreached(n *node, r kconfig.Requirement) string {
	for _, p := range n.symbol.Properties() {
		if p.Source.Kind == syntax.Range && x.state.Eval(p.Cond) != model.No {
			return fmt.Sprintf("its range is %s to %s, by %s", x.state.String(p.Low), x.state.String(p.High), p.Source.Pos)
		}
	}
	if !r.Wish {
		return "it has been set, but the kernel's conf makes something else of that"
	}
	var names []string
	x.extras(n, &names)
	return "a wish isn't worth other edits: it would take " + strings.Join(names, ", ")
}

// extras lists what the way to a goal sets.
func (x *solution) extras(n *node, names *[]string) {
	if n.holds || n.best == nil {
		return
	}
	for _, need := range n.best.needs {
		x.extras(need, names)
	}
	if s := n.best.set; s != "" {
		if text := n.symbol.Name + "=" + s; !slices.Contains(*names, text) {
			*names = append(*names, text)
		}
	}
}

// refute says why a goal of a symbol can't be reached.
func (x *solution) refute(n *node, open map[*node]bool) kconfig.Step {
	sym := n.symbol
	step := kconfig.Step{Symbol: sym.Title(), Want: n.describe()}
	if len(sym.Nodes) > 0 {
		step.At = sym.Nodes[0].Pos.String()
	}
	switch l := x.locked(n.goal); {
	case l != nil && contradicts(n.goal, l.want):
		step.Text = fmt.Sprintf("it must be %s, %s", l.want, l.by)
		return step
	case l != nil:
		for _, r := range sym.Rivals() {
			if x.locks[r] == l {
				step.Text = fmt.Sprintf("it is in one choice with %s, which must be y, %s", r.Name, l.by)
			}
		}
		return step
	case sym.Constant():
		step.Text = "a constant"
		return step
	case !sym.Defined():
		step.Text = "no Kconfig file that belongs to this architecture defines it"
		return step
	case open[n]:
		step.Text = "that needs " + sym.Name + " itself"
		return step
	}
	open[n] = true
	defer delete(open, n)
	var reasons []string
	raisers := 0
	for _, w := range n.ways {
		failed := slices.IndexFunc(w.needs, func(n *node) bool { return !n.reached })
		if failed < 0 {
			continue
		}
		switch w.kind {
		case prompted, without:
			if n.goal.most {
				reasons = append(reasons, x.because(&step, w, "needs", open))
				continue
			}
			reasons = append(reasons, x.because(&step, w, "depends on", open))
		case defaulted, rival:
			if len(sym.Prompts()) == 0 {
				reasons = append(reasons, x.because(&step, w, "has its default from", open))
			}
		case selected, implied:
			raisers++
			if len(sym.Prompts()) == 0 && raisers <= shown {
				reasons = append(reasons, x.because(&step, w, fmt.Sprintf("selected by %s, which needs", w.by.Name), open))
			}
		}
	}
	reasons = slices.Compact(reasons)
	switch {
	case len(reasons) > 0:
		step.Text = strings.Join(reasons, "; ")
	case n.bound:
		step.Text = fmt.Sprintf("it is %s here, and nowhere that much", x.state.String(sym))
	case n.value != "" && len(sym.Prompts()) == 0:
		have, ok := x.state.Value(sym)
		if !ok {
			have = "absent"
		}
		step.Text = fmt.Sprintf("it is %s, and has neither a prompt nor a default of %s", have, n.value)
	case len(sym.Prompts()) == 0:
		step.Text = "it has no prompt, and nothing sets it"
	default:
		step.Text = "it can't be set to that"
	}
	if more := raisers - shown; more > 0 && len(sym.Prompts()) == 0 {
		step.Text += fmt.Sprintf("; and %d more select it, none of which can be had", more)
	}
	return step
}

// because adds to a step why one way is closed, and returns what the way needs.
func (x *solution) because(step *kconfig.Step, w *way, what string, open map[*node]bool) string {
	var text []string
	for _, leaf := range x.blocked(w, open) {
		if leaf.symbol == nil {
			if leaf.expr == nil {
				continue
			}
			text = append(text, leaf.expr.String())
			continue
		}
		if leaf.symbol.Constant() {
			// Commands and functions leave a constant where they stood.
			step.At = w.pos.String()
			text = append(text, "something else than the "+leaf.symbol.Name+" that is written there, or that a $(…) came to")
			continue
		}
		text = append(text, leaf.symbol.Title()+"="+leaf.describe())
		next := x.refute(leaf, open)
		if place, ok := x.selectedAt(step.Symbol, leaf.symbol); ok && leaf.goal.most {
			step.At = place.String()
		} else if place, ok := mention(w.node, leaf.symbol); ok {
			step.At = place.String()
		}
		if !slices.ContainsFunc(step.Because, func(s kconfig.Step) bool { return s.Symbol == next.Symbol && s.Want == next.Want }) {
			step.Because = append(step.Because, next)
		}
	}
	return what + " " + strings.Join(text, " or ")
}

// blocked are the goals of symbols because of which a way is closed: one of those
// that it takes all of, all of those of which it takes one.
func (x *solution) blocked(w *way, open map[*node]bool) []*node {
	var best []*node
	for _, need := range w.needs {
		if need.reached {
			continue
		}
		if list := x.leaves(need, open); best == nil || simpler(list, best) {
			best = list
		}
	}
	return best
}

// simpler prefers what takes fewer words to refute.
func simpler(a, b []*node) bool {
	effort := func(list []*node) int {
		n := 0
		for _, l := range list {
			switch {
			case l.symbol == nil || len(l.ways) == 0:
				n++
			default:
				n += 3 + len(l.ways)
			}
		}
		return n
	}
	return effort(a) < effort(b)
}

func (x *solution) leaves(n *node, open map[*node]bool) []*node {
	if n.symbol != nil || len(n.ways) == 0 {
		return []*node{n}
	}
	var list []*node
	for _, w := range n.ways {
		for _, l := range x.blocked(w, open) {
			if !slices.Contains(list, l) {
				list = append(list, l)
			}
		}
	}
	return list
}

// selectedAt is where one symbol selects another, by its name.
func (x *solution) selectedAt(target string, by *model.Symbol) (syntax.Pos, bool) {
	for _, p := range by.Properties() {
		if p.Source.Kind == syntax.Select && p.Target.Name == target {
			return p.Source.Pos, true
		}
	}
	return syntax.Pos{}, false
}

// mention is where a dependency of a node, or of what it is in, names a symbol.
func mention(n *syntax.Node, sym *model.Symbol) (syntax.Pos, bool) {
	for ; n != nil; n = n.Parent {
		if n.Prompt != nil && n.Prompt.Cond.Mentions(sym.Name) {
			return n.Prompt.Pos, true
		}
		for _, d := range n.Depends {
			if d.Expr.Mentions(sym.Name) {
				return d.Pos, true
			}
		}
		for _, p := range n.Properties {
			if p.Cond.Mentions(sym.Name) || p.Value.Mentions(sym.Name) {
				return p.Pos, true
			}
		}
	}
	return syntax.Pos{}, false
}
