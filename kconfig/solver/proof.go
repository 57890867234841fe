// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/spell"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/bounds"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// named is how many selectors a proof names.
const named = 4

// proof says why a requirement can't hold.
func (x *solution) proof(n *node, r kconfig.Requirement) kconfig.Step {
	if n == nil {
		return unknown(x.model, r)
	}
	if text := mistyped(n.symbol, r.Want); text != "" {
		return kconfig.Step{Symbol: r.Symbol, Want: r.Want.String(), Text: text, At: n.symbol.Nodes[0].Pos.String()}
	}
	if n.symbol.Defined() && !n.symbol.Type.Logical() && r.Want.Value == "n" {
		return kconfig.Step{Symbol: r.Symbol, Want: r.Want.String(), Text: unset(n.symbol), At: n.symbol.Nodes[0].Pos.String()}
	}
	if n.reached {
		return x.unreached(n, r)
	}
	return x.refute(n, map[*node]bool{})
}

// unset says why a text or a number isn't n: conf passes over a line by which it would be.
func unset(sym *model.Symbol) string {
	text := fmt.Sprintf("only an option that is y, m or n can be unset; of type %s, it is absent where what it depends on isn't met", sym.Type)
	if sym.Type == syntax.String {
		text += fmt.Sprintf(`; %s="" makes it empty`, sym.Name)
	}
	return text
}

// unknown says that a kernel has no such option.
func unknown(m *model.Model, r kconfig.Requirement) kconfig.Step {
	text := "no Kconfig file that belongs to this architecture mentions it"
	if question := spell.Question(strings.ToUpper(r.Symbol), m.Names()); question != "" {
		text += "; " + question
	}
	return kconfig.Step{Symbol: r.Symbol, Want: r.Want.String(), Text: text}
}

// verdict says how sure it is that a requirement can't be met while others are, and
// which of them are in its way. Package bounds is asked, which shares nothing with
// the search.
func (x *solution) verdict(n *node, r kconfig.Requirement, met []kconfig.Requirement) (v kconfig.Verdict, with []string) {
	if n == nil || !n.symbol.Defined() || mistyped(n.symbol, r.Want) != "" {
		return kconfig.Impossible, nil
	}
	if n.reached && r.Optional {
		return kconfig.Declined, nil
	}
	b := bounds.New(x.model, true)
	possible := func(b *bounds.Bounds, others ...kconfig.Requirement) bool {
		b.Reset()
		for _, other := range others {
			if sym := x.model.Lookup(other.Symbol); sym != nil && sym.Defined() {
				b.Fix(sym, other.Want)
			}
		}
		b.Fix(n.symbol, r.Want)
		return b.Possible()
	}
	switch {
	case !possible(b):
		return kconfig.Impossible, nil
	case !possible(b, met...):
		for _, other := range met {
			if !possible(b, other) {
				with = append(with, other.Text())
			}
		}
		return kconfig.Impossible, with
	case !possible(bounds.New(x.model, false), met...):
		return kconfig.Forced, nil
	}
	return kconfig.NotFound, nil
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

// unreached says why a requirement wasn't met to which there seemed to be a way.
func (x *solution) unreached(n *node, r kconfig.Requirement) kconfig.Step {
	step := kconfig.Step{Symbol: r.Symbol, Want: r.Want.String()}
	var names []string
	x.extras(n, &names)
	if r.Optional {
		step.Text = "an optional requirement isn't worth other edits: it would take " + strings.Join(names, ", ")
		return step
	}
	text, at := x.kept(n.symbol, r.Want)
	if above := x.above(n.symbol, r.Want.Value); above != "" {
		text, at = above, n.symbol.Nodes[0].Pos.String()
	}
	if text != "" {
		step.Text, step.At = text, at
		return step
	}
	step.Text = fmt.Sprintf("with %s, the kernel's conf makes it %s", strings.Join(names, ", "), x.state.String(n.symbol))
	if len(names) == 0 {
		step.Text = fmt.Sprintf("the kernel's conf makes it %s, whatever was tried", x.state.String(n.symbol))
	}
	return step
}

// kept says what keeps a symbol from a value that the user may give it: who selects
// it, or its range. It returns nothing where neither does.
func (x *solution) kept(sym *model.Symbol, want kconfig.Want) (text, at string) {
	selected := x.state.Selected(sym)
	if level, ok := tristate(want.Value); ok && selected > level && !want.Met(selected.String()) {
		for _, p := range x.raisers[sym] {
			if p.Source.Kind == syntax.Select && min(x.state.Tristate(p.Owner), x.state.Eval(p.Cond)) == selected {
				return fmt.Sprintf("%s, which is %s, selects it", p.Owner.Title(), x.state.Tristate(p.Owner)), p.Source.Pos.String()
			}
		}
	}
	for _, p := range sym.Properties() {
		if p.Source.Kind != syntax.Range || x.state.Eval(p.Cond) == model.No {
			continue
		}
		low, high := x.state.String(p.Low), x.state.String(p.High)
		if !compare(syntax.GreaterEqual, want.Value, low) || !compare(syntax.LessEqual, want.Value, high) {
			return fmt.Sprintf("its range is %s to %s, by %s", low, high, p.Source.Pos), sym.Nodes[0].Pos.String()
		}
		break
	}
	return "", ""
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

// refute says why a goal of a symbol can't be reached. open are the goals that are being
// refuted by way of this one.
func (x *solution) refute(n *node, open map[*node]bool) kconfig.Step {
	sym := n.symbol
	step := kconfig.Step{Symbol: sym.Title(), Want: n.describe()}
	if len(sym.Nodes) > 0 {
		step.At = sym.Nodes[0].Pos.String()
	}
	text, plain := x.plainly(n, open)
	if plain {
		step.Text = text
		return step
	}
	open[n] = true
	defer delete(open, n)
	reasons, raisers := x.reasons(n, &step, open)
	if len(reasons) > 0 {
		step.Text = strings.Join(reasons, "; ")
	} else {
		x.standstill(n, &step)
	}
	if more := raisers - named; more > 0 && len(sym.Prompts()) == 0 {
		step.Text += fmt.Sprintf("; and %d more select it, none of which can be had", more)
	}
	return step
}

// plainly says why a goal can't be reached where that takes no look at the ways to it.
func (x *solution) plainly(n *node, open map[*node]bool) (text string, plain bool) {
	sym := n.symbol
	switch l := x.locked(n.goal); {
	case l != nil && contradicts(n.goal, l.want):
		return fmt.Sprintf("it must be %s, %s", l.want, l.by), true
	case l != nil:
		for _, r := range sym.Rivals() {
			if x.locks[r] == l {
				text = fmt.Sprintf("it is in one choice with %s, which must be y, %s", r.Name, l.by)
			}
		}
		return text, true
	case sym.Constant():
		return "a constant", true
	case !sym.Defined():
		return "no Kconfig file that belongs to this architecture defines it", true
	case open[n]:
		return "that needs " + sym.Name + " itself", true
	case n.value != "" && n.op == syntax.Sym && x.literalRange(sym):
		text, _ = x.kept(sym, kconfig.Want{Value: n.value})
		return text, text != ""
	case n.op == syntax.GreaterEqual:
		text = x.above(sym, n.value)
		return text, text != ""
	}
	return "", false
}

// reasons says what each way to a goal lacks. Of those by a select, which it counts, it
// names a few.
func (x *solution) reasons(n *node, step *kconfig.Step, open map[*node]bool) (reasons []string, raisers int) {
	promptless := len(n.symbol.Prompts()) == 0
	for _, w := range n.ways {
		if !slices.ContainsFunc(w.needs, func(n *node) bool { return !n.reached }) {
			continue
		}
		switch w.kind {
		case prompted, without:
			what := "depends on"
			if n.goal.most {
				what = "needs"
			}
			reasons = append(reasons, x.because(step, w, what, open))
		case defaulted, rival:
			if promptless {
				reasons = append(reasons, x.because(step, w, "has its default from", open))
			}
		case clamped:
		case selected, implied:
			raisers++
			if promptless && raisers <= named {
				reasons = append(reasons, x.because(step, w, fmt.Sprintf("selected by %s, which needs", w.by.Name), open))
			}
		}
	}
	return slices.Compact(reasons), raisers
}

// standstill says what a symbol is that no way leads away from.
func (x *solution) standstill(n *node, step *kconfig.Step) {
	sym := n.symbol
	switch {
	case n.op == syntax.GreaterEqual:
		step.Text = fmt.Sprintf("it is %s here, and nowhere that much", x.state.String(sym))
		for _, p := range sym.Properties() {
			if text := x.expansions(p.Source.Pos, x.state.String(sym)); text != "" && p.Source.Kind == syntax.Default {
				step.Text = fmt.Sprintf("it is the %s%s", x.state.String(sym), text)
				step.At = p.Source.Pos.String()
			}
		}
	case n.op == syntax.LessEqual:
		step.Text = fmt.Sprintf("it is %s here, and nowhere that little", x.state.String(sym))
	case n.op == syntax.Unequal:
		step.Text = fmt.Sprintf("it is %s everywhere", x.state.String(sym))
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
}

// written is the place that has a constant on a way, and what put it there.
func (x *solution) written(w *way, constant string) (at syntax.Pos, from string) {
	places := []syntax.Pos{w.pos}
	for n := w.node; n != nil; n = n.Parent {
		for _, d := range n.Depends {
			places = append(places, d.Pos)
		}
		if n.Prompt != nil {
			places = append(places, n.Prompt.Pos)
		}
	}
	for _, at := range places {
		if text := x.expansions(at, constant); text != "" {
			return at, text
		}
	}
	return w.pos, " that is written there"
}

// expansions says what in a line came to a value.
func (x *solution) expansions(at syntax.Pos, value string) string {
	var list []string
	for _, e := range x.model.Tree.Expansions[at] {
		switch {
		case e.Value != value:
		case e.Command == "":
			list = append(list, "$("+e.Name+")")
		default:
			list = append(list, "the command "+shown(e.Command))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return " that " + strings.Join(slices.Compact(list), " or ") + " came to"
}

// tested is a command of which only the status counts; see $(success) in the
// kernel's scripts/Kconfig.include.
var tested = pattern.New(`^(?:set -e; )?\{ (.*); \} >/dev/null 2>&1 && echo`)

// shown is a command as users know it, and what it lacks.
func shown(command string) string {
	if m := tested.FindStringSubmatch(command); m != nil {
		command = m[1]
	}
	text := strconv.Quote(command)
	if fields := strings.Fields(command); len(fields) > 0 && !strings.ContainsAny(fields[0], "$=({[\"'") {
		if _, err := exec.LookPath(fields[0]); err != nil {
			text += " (there is no " + fields[0] + ")"
		}
	}
	return text
}

// literalRange tells whether a range of a number that holds ends at numbers that are
// written there.
func (x *solution) literalRange(sym *model.Symbol) bool {
	for _, p := range sym.Properties() {
		if p.Source.Kind == syntax.Range && x.state.Eval(p.Cond) != model.No {
			return !p.Low.Defined() && !p.High.Defined()
		}
	}
	return false
}

// above says that a number is above the range that a symbol has whatever else is set;
// nothing where it isn't, or where there is no such range.
func (x *solution) above(sym *model.Symbol, value string) string {
	if _, ok := tristate(value); ok {
		return "" // n is absence
	}
	for _, p := range sym.Properties() {
		if p.Source.Kind != syntax.Range {
			continue
		}
		if p.Source.Cond == nil && len(sym.Nodes) == 1 && !p.Low.Defined() && !p.High.Defined() && !compare(syntax.LessEqual, value, p.High.Name) {
			return fmt.Sprintf("its range is %s to %s, by %s", p.Low.Name, p.High.Name, p.Source.Pos)
		}
		break
	}
	return ""
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
			at, from := x.written(w, leaf.symbol.Name)
			step.At = at.String()
			text = append(text, "something else than the "+leaf.symbol.Name+from)
			continue
		}
		if leaf.op != syntax.Sym {
			text = append(text, leaf.symbol.Title()+" "+leaf.describe())
		} else {
			text = append(text, leaf.symbol.Title()+"="+leaf.describe())
		}
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
