// SPDX-License-Identifier: GPL-3.0-only

package explain

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/solver"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// An Explanation is what there is to know of a symbol.
type Explanation struct {
	Symbol string  `json:"symbol"`
	Type   string  `json:"type"`
	Value  string  `json:"value"` // as in .config; empty where it isn't in it
	Why    Reason  `json:"why"`
	Places []Place `json:"places"` // where it is defined

	Defaults   []Default `json:"defaults,omitempty"`
	Ranges     []Range   `json:"ranges,omitempty"`
	SelectedBy []Link    `json:"selectedBy,omitempty"`
	ImpliedBy  []Link    `json:"impliedBy,omitempty"`
	Selects    []Link    `json:"selects,omitempty"`
	Choice     []string  `json:"choice,omitempty"` // the members of the choice that it is in

	Path *Path `json:"path,omitempty"` // to another value
}

// A Reason is why a symbol has its value.
type Reason struct {
	Text string `json:"text"`
	At   string `json:"at,omitempty"` // file:line
}

// A Place defines a symbol.
type Place struct {
	At      string `json:"at"`
	Prompt  string `json:"prompt,omitempty"`
	Visible string `json:"visible,omitempty"` // n, m or y: the most that the prompt allows
	Depends []Term `json:"depends,omitempty"`
	Help    string `json:"help,omitempty"`
}

// A Term is a condition, all of which must hold.
type Term struct {
	Text   string `json:"text"`  // with the value of each symbol
	Value  string `json:"value"` // n, m or y
	At     string `json:"at"`
	Prompt bool   `json:"prompt"` // for users to see the prompt only
}

// A Default is one of a symbol's; the first whose condition holds counts.
type Default struct {
	Value  string `json:"value"`
	If     string `json:"if,omitempty"`
	Active bool   `json:"active"` // this one would count
	At     string `json:"at"`
}

// A Range is one of a number's; the first whose condition holds counts.
type Range struct {
	Low    string `json:"low"`
	High   string `json:"high"`
	If     string `json:"if,omitempty"`
	Active bool   `json:"active"`
	At     string `json:"at"`
}

// A Link is a select or an imply.
type Link struct {
	Symbol string `json:"symbol"` // on the other end
	If     string `json:"if,omitempty"`
	Value  string `json:"value"` // n, m or y: what it makes of its target now
	At     string `json:"at"`
}

// A Path leads to a value, or says that there is none.
type Path struct {
	Want     string            `json:"want"`
	Require  string            `json:"require"`            // as ParseRequire takes it
	Settings []kconfig.Setting `json:"settings,omitempty"` // in .config, the fewest that will do
	Proof    *kconfig.Step     `json:"proof,omitempty"`    // why it isn't had
	Verdict  kconfig.Verdict   `json:"verdict,omitempty"`  // how sure that is
}

// Explain explains a symbol of a model, as it is with a .config, and looks for a
// path to what is wanted of it; none if that is nil.
func Explain(m *model.Model, f *kconfig.File, sym *model.Symbol, want *kconfig.Requirement) (*Explanation, error) {
	x := newExplainer(m, solver.Evaluate(m, f), raisers(m))
	e := x.explain(sym)
	if want == nil && e.Value == "" && sym.Type.Logical() {
		e.Value = "n"
	}
	if want == nil {
		return e, nil
	}
	s, err := solver.Solve(m, f, []kconfig.Requirement{*want})
	if err != nil {
		return nil, err
	}
	e.Path = &Path{Want: want.Want.String(), Require: want.Text()}
	if len(s.Refused) > 0 {
		e.Path.Proof, e.Path.Verdict = s.Refused[0].Proof, s.Refused[0].Verdict
	} else {
		e.Path.Settings = s.Settings
	}
	return e, nil
}

// raisers are the selects and implies of a model, by their targets.
func raisers(m *model.Model) map[*model.Symbol][]model.Property {
	index := map[*model.Symbol][]model.Property{}
	for _, sym := range m.Symbols {
		for _, p := range sym.Properties() {
			if p.Target != nil {
				index[p.Target] = append(index[p.Target], p)
			}
		}
	}
	return index
}

func newExplainer(m *model.Model, state *model.State, raisers map[*model.Symbol][]model.Property) *explainer {
	return &explainer{model: m, state: state, raisers: raisers}
}

// explain is all but the path.
func (x *explainer) explain(sym *model.Symbol) *Explanation {
	x.symbol = sym
	e := &Explanation{Symbol: sym.Name, Type: sym.Type.String()}
	e.Value, _ = x.state.Value(sym)
	for _, n := range sym.Nodes {
		e.Places = append(e.Places, x.place(n))
	}
	x.properties(e)
	for _, p := range x.raisers[sym] {
		link := x.link(p, p.Owner)
		if p.Source.Kind == syntax.Select {
			e.SelectedBy = append(e.SelectedBy, link)
		} else {
			e.ImpliedBy = append(e.ImpliedBy, link)
		}
	}
	// Those that matter now come first.
	for _, list := range [][]Link{e.SelectedBy, e.ImpliedBy} {
		slices.SortStableFunc(list, func(a, b Link) int { return level(b.Value) - level(a.Value) })
	}
	if rivals := sym.Rivals(); len(rivals) > 0 {
		for _, r := range rivals {
			e.Choice = append(e.Choice, r.Name+"="+x.state.String(r))
		}
	}
	e.Why = x.why(e)
	return e
}

func level(value string) int { return slices.Index([]string{"n", "m", "y"}, value) }

// isNumber tells numbers, which may be written without quotes, from symbols.
func isNumber(name string) bool {
	// KASAN_SHADOW_OFFSET takes 64 bits without a sign.
	_, ok := new(big.Int).SetString(name, 0)
	return ok
}

type explainer struct {
	model   *model.Model
	state   *model.State
	raisers map[*model.Symbol][]model.Property
	symbol  *model.Symbol
}

// show is an expression with the value of each of its symbols.
func (x *explainer) show(e *syntax.Expr) string {
	if e == nil {
		return ""
	}
	return e.Format(func(s *syntax.Symbol) string {
		if sym := x.model.Lookup(s.Name); sym != nil && !s.Const && sym.Defined() {
			return s.Name + " [=" + x.state.String(sym) + "]"
		}
		if isNumber(s.Name) {
			return s.Name
		}
		return s.Name + " [not defined]"
	})
}

func (x *explainer) place(n *syntax.Node) Place {
	p := Place{At: n.Pos.String(), Help: n.Help()}
	if n.Prompt != nil {
		p.Prompt = n.Prompt.Text
		for _, prompt := range x.symbol.Prompts() {
			if prompt.Node == n {
				p.Visible = x.state.Eval(prompt.Visible).String()
			}
		}
		if c := n.Prompt.Cond; c != nil {
			p.Depends = append(p.Depends, x.terms(c, n.Prompt.Pos, true)...)
		}
	}
	for up := n; up != nil; up = up.Parent {
		for _, d := range up.Depends {
			p.Depends = append(p.Depends, x.terms(d.Expr, d.Pos, false)...)
		}
		if up != n && n.Prompt != nil {
			for _, v := range up.Visible {
				p.Depends = append(p.Depends, x.terms(v, up.Pos, true)...)
			}
		}
	}
	return p
}

// terms are those of a conjunction.
func (x *explainer) terms(e *syntax.Expr, at syntax.Pos, prompt bool) []Term {
	if e.Op == syntax.And {
		return append(x.terms(e.X, at, prompt), x.terms(e.Y, at, prompt)...)
	}
	return []Term{{Text: x.show(e), Value: x.state.EvalSource(e).String(), At: at.String(), Prompt: prompt}}
}

func (x *explainer) properties(e *Explanation) {
	ranged, defaulted := false, false
	for _, p := range x.symbol.Properties() {
		holds := x.state.Eval(p.Cond) != model.No
		at, cond := p.Source.Pos.String(), x.show(p.Source.Cond)
		switch p.Source.Kind {
		case syntax.Default:
			e.Defaults = append(e.Defaults, Default{Value: x.show(p.Source.Value), If: cond, Active: holds && !defaulted, At: at})
			defaulted = defaulted || holds
		case syntax.Range:
			e.Ranges = append(e.Ranges, Range{Low: x.state.String(p.Low), High: x.state.String(p.High), If: cond, Active: holds && !ranged, At: at})
			ranged = ranged || holds
		case syntax.Select:
			e.Selects = append(e.Selects, x.link(p, p.Target))
		}
	}
}

func (x *explainer) link(p model.Property, other *model.Symbol) Link {
	value := min(x.state.Tristate(p.Owner), x.state.Eval(p.Cond))
	return Link{Symbol: other.Name, If: x.show(p.Source.Cond), Value: value.String(), At: p.Source.Pos.String()}
}

// why says what the value comes from, in the order in which that is decided.
func (x *explainer) why(e *Explanation) Reason {
	sym, s := x.symbol, x.state
	visible, set := s.Visible(sym), s.Set(sym)
	value := s.Tristate(sym)
	is := sym.Type.Logical()
	switch {
	case !sym.Defined():
		return Reason{Text: "no Kconfig file that belongs to this architecture defines it"}
	case is && len(e.Choice) > 0 && value == model.Yes:
		return Reason{Text: "it is what its choice came to"}
	case is && len(e.Choice) > 0 && visible != model.No:
		for _, r := range sym.Rivals() {
			if s.Tristate(r) == model.Yes {
				return Reason{Text: "its choice came to " + r.Name, At: r.Nodes[0].Pos.String()}
			}
		}
	case is && value != model.No && effective(sym, s.Selected(sym)) == value:
		for _, l := range e.SelectedBy {
			if l.Value == s.Selected(sym).String() {
				return Reason{Text: "it is selected by " + l.Symbol, At: l.At}
			}
		}
	case visible != model.No && set && is && visible < model.Yes && value == visible && sym.Type == syntax.Tristate:
		return Reason{Text: fmt.Sprintf(".config says so, and its dependencies allow no more than %s", visible)}
	case visible != model.No && set:
		return Reason{Text: ".config says so"}
	}
	if _, has := s.Value(sym); is && value == model.No || !is && !has {
		if t := blocking(e.Places); t != nil {
			return Reason{Text: "it depends on " + t.Text, At: t.At}
		}
	}
	for _, d := range e.Defaults {
		if d.Active {
			text := "its default is " + d.Value
			if d.If != "" {
				text += ", if " + d.If
			}
			return Reason{Text: text, At: d.At}
		}
	}
	for _, l := range e.ImpliedBy {
		if is && value != model.No && l.Value != "n" {
			return Reason{Text: "it is implied by " + l.Symbol, At: l.At}
		}
	}
	switch {
	case len(sym.Prompts()) == 0 && len(e.SelectedBy) > 0:
		return Reason{Text: "nothing that selects it is set, and it has no prompt"}
	case len(e.Defaults) > 0:
		return Reason{Text: "none of its defaults applies"}
	}
	return Reason{Text: "nothing sets it"}
}

// effective is what a bound makes of a symbol: there is no bool that is m.
func effective(sym *model.Symbol, bound model.Tristate) model.Tristate {
	if sym.Type == syntax.Bool && bound == model.Mod {
		return model.Yes
	}
	return bound
}

// blocking is a term that makes all places impossible; nil if there is one that
// isn't.
func blocking(places []Place) *Term {
	var found *Term
	for i := range places {
		j := slices.IndexFunc(places[i].Depends, func(t Term) bool { return t.Value == "n" && !t.Prompt })
		if j < 0 {
			return nil
		}
		if found == nil {
			found = &places[i].Depends[j]
		}
	}
	return found
}
