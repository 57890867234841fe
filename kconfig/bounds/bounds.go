// SPDX-License-Identifier: GPL-3.0-only

package bounds

import (
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// Bounds are those of a model, in configurations in which some symbols are fixed.
type Bounds struct {
	model   *model.Model
	forced  bool
	raisers map[*model.Symbol][]model.Property
	texts   map[*model.Symbol]kconfig.Want // what is fixed of numbers and strings
	masks   map[*model.Symbol]levels       // what is left of the others
	order   []*model.Symbol                // of masks
	known   map[*model.Symbol]*domain
	open    map[*model.Symbol]bool
	changed bool
	failed  bool // there is no configuration left
}

// New bounds the symbols of a model in all configurations. With forced, these are
// also configurations in which a select forces its target past what that depends
// on, as conf permits it with a warning.
func New(m *model.Model, forced bool) *Bounds {
	b := &Bounds{
		model: m, forced: forced, raisers: map[*model.Symbol][]model.Property{},
		open: map[*model.Symbol]bool{},
	}
	for _, sym := range m.Symbols {
		for _, p := range sym.Properties() {
			if p.Target != nil {
				b.raisers[p.Target] = append(b.raisers[p.Target], p)
			}
		}
	}
	b.Reset()
	return b
}

// Reset lets go of what is fixed.
func (b *Bounds) Reset() {
	b.texts, b.masks, b.order, b.failed = map[*model.Symbol]kconfig.Want{}, map[*model.Symbol]levels{}, nil, false
	b.forget()
}

// Fix leaves the configurations in which a symbol has a wanted value.
func (b *Bounds) Fix(sym *model.Symbol, want kconfig.Want) {
	b.forget()
	if !sym.Type.Logical() {
		b.texts[sym] = want
		return
	}
	mask := none
	for level, text := range []string{"n", "m", "y"} {
		if want.Met(text) {
			mask |= 1 << level
		}
	}
	b.mask(sym, mask)
}

func (b *Bounds) forget() { b.known = map[*model.Symbol]*domain{} }

// mask leaves the configurations in which a symbol has one of some values.
func (b *Bounds) mask(sym *model.Symbol, set levels) {
	old, ok := b.masks[sym]
	if !ok {
		old = all
		b.order = append(b.order, sym)
	}
	if old&set != old || !ok {
		b.masks[sym] = old & set
		b.changed = true
	}
}

// Possible tells whether there may be a configuration in which all that is fixed
// holds. False is a proof that there is none.
func (b *Bounds) Possible() bool {
	for !b.failed {
		b.changed = false
		b.forget()
		for sym, want := range b.texts {
			if !b.Can(sym, want) {
				return false
			}
		}
		for i := 0; i < len(b.order); i++ {
			sym := b.order[i]
			if !sym.Defined() && b.masks[sym]&n == 0 || sym.Defined() && b.of(sym).levels == none {
				return false
			}
			b.follow(sym)
		}
		if !b.changed {
			break
		}
	}
	return !b.failed
}

// follow fixes what a symbol takes that can't have all values any more.
func (b *Bounds) follow(sym *model.Symbol) {
	if !sym.Defined() || sym.IsChoice() || sym.Transitional() {
		return
	}
	set := b.of(sym).levels
	switch {
	case set == n:
		for _, p := range b.raisers[sym] {
			if p.Source.Kind != syntax.Select || !b.forced && b.eval(sym.Depends())&n != 0 {
				continue
			}
			if b.of(p.Owner).levels&n == 0 {
				b.require(p.Cond, n)
			} else if b.eval(p.Cond)&n == 0 {
				b.mask(p.Owner, n)
			}
		}
		return
	case set&n != 0:
		return
	}
	least := m | y
	if sym.Type == syntax.Tristate && set == y && b.of(b.model.Modules()).levels == y {
		least = y
	}
	if rivals := sym.Rivals(); rivals != nil {
		if prompts := sym.Prompts(); len(prompts) == 1 {
			b.require(prompts[0].Visible, m|y)
		}
		if set == y {
			for _, r := range rivals {
				b.mask(r, n)
			}
		}
		return
	}
	selected, initial := b.selected(sym), b.initial(sym)
	if !b.forced || selected == n {
		b.require(sym.Placed(), least)
	}
	if prompts := sym.Prompts(); selected == n && initial == n && len(prompts) == 1 {
		b.require(prompts[0].Visible, least)
	}
}

// require fixes what an expression takes to have one of some values.
func (b *Bounds) require(e *model.Expr, set levels) {
	if set == all {
		return
	}
	if b.eval(e)&set == 0 {
		b.failed = true
		return
	}
	if e == nil {
		return
	}
	switch e.Op {
	case syntax.Sym:
		switch {
		case e.Left.Constant():
		case e.Left.Type == syntax.Bool && set&n == 0:
			b.mask(e.Left, y)
		case e.Left.Defined() && e.Left.Type.Logical() || set&n == 0:
			b.mask(e.Left, set)
		}
	case syntax.Not:
		b.require(e.Terms[0], inverse(set))
	case syntax.And, syntax.Or:
		every := n // of an or, all terms must be n; of an and, none may be
		if e.Op == syntax.And {
			every = y
		}
		switch {
		case set&(n|y) == 0:
		case e.Op == syntax.And && set&n == 0 || e.Op == syntax.Or && set == n:
			for _, t := range e.Terms {
				b.require(t, set|every)
			}
		case e.Op == syntax.Or && set&n == 0 || e.Op == syntax.And && set == n:
			// One will do; it's known which where the others can't.
			var last *model.Expr
			for _, t := range e.Terms {
				if b.eval(t)&set == 0 {
					continue
				}
				if last != nil {
					return
				}
				last = t
			}
			if last != nil {
				b.require(last, set)
			}
		}
	case syntax.Equal, syntax.Unequal:
		sym, value := e.Left, e.Right
		if !sym.Type.Logical() || !sym.Defined() || !value.Constant() {
			return
		}
		match := b.of(value).levels
		switch {
		case match == n && value.Name != "n":
			return // a text
		case e.Op == syntax.Unequal:
			match = all &^ match
		}
		switch {
		case set&n == 0:
			b.mask(sym, match)
		case set == n:
			b.mask(sym, all&^match)
		}
	}
}

// Can tells whether a symbol may have a wanted value. False means that it has it in
// no configuration.
func (b *Bounds) Can(sym *model.Symbol, want kconfig.Want) bool {
	if !sym.Defined() {
		return want.Met("") // it isn't in any .config
	}
	return b.of(sym).can(sym, want)
}

// of is what a symbol can be.
func (b *Bounds) of(sym *model.Symbol) *domain {
	if d := b.known[sym]; d != nil {
		return d
	}
	if b.open[sym] {
		// Members of a choice depend on each other.
		return &domain{levels: all, any: true}
	}
	b.open[sym] = true
	d := b.compute(sym)
	delete(b.open, sym)
	b.known[sym] = d
	return d
}

func (b *Bounds) compute(sym *model.Symbol) *domain {
	if sym.Constant() || !sym.Defined() {
		d := &domain{levels: n, texts: map[string]bool{sym.Name: true}}
		if sym.Constant() {
			switch sym.Name {
			case "m":
				d.levels = m
			case "y":
				d.levels = y
			}
		}
		return d
	}
	if sym.Type.Logical() {
		d := &domain{levels: b.tristate(sym)}
		if mask, ok := b.masks[sym]; ok {
			d.levels &= mask
		}
		return d
	}
	d := b.text(sym)
	if want, ok := b.texts[sym]; ok && want.Value != "n" {
		if !d.can(sym, want) {
			b.failed = true
			return d
		}
		value := number(want.Value, sym.Type)
		switch {
		case sym.Type == syntax.String:
			d.any, d.texts = false, map[string]bool{unquote(want.Value): true}
		case want.Min:
			d.low = greater(d.low, value)
		default:
			d.any, d.texts, d.low, d.high = false, map[string]bool{want.Value: true}, value, value
		}
	}
	return d
}

// visible are the values of the most that users can set a symbol to.
func (b *Bounds) visible(sym *model.Symbol) levels {
	set := n
	for _, p := range sym.Prompts() {
		set = higher(set, b.eval(p.Visible))
	}
	return set
}

func (b *Bounds) tristate(sym *model.Symbol) levels {
	if sym.Transitional() {
		return all // whatever an old .config says
	}
	visible := b.visible(sym)
	modules := n
	if b.model.Modules() != sym {
		modules = b.of(b.model.Modules()).levels
	}
	typed := func(set levels) levels {
		if set&m != 0 && (sym.Type == syntax.Bool || modules&n != 0) {
			set |= y
		}
		if sym.Type == syntax.Bool || modules == n {
			set &^= m
		}
		return set
	}
	set := none
	if visible&^n != 0 {
		// A prompt that is m allows y of what is a bool then.
		set |= below(typed(visible))
	}
	if sym.Rivals() != nil || sym.IsChoice() {
		return typed(set | n)
	}
	selected := typed(b.selected(sym))
	return typed(higher(set|typed(b.initial(sym)), selected))
}

// initial are the values that a symbol may have by its defaults and what implies it.
func (b *Bounds) initial(sym *model.Symbol) levels {
	initial, settled := none, false
	for _, p := range sym.Properties() {
		if p.Source.Kind != syntax.Default || settled {
			continue
		}
		cond := b.eval(p.Cond)
		if cond&^n != 0 {
			initial |= lower(b.eval(p.Value), cond&^n)
		}
		settled = cond&n == 0
	}
	if !settled {
		initial |= n
	}
	implied := n
	for _, p := range b.raisers[sym] {
		if p.Source.Kind == syntax.Imply {
			implied = higher(implied, lower(b.of(p.Owner).levels, b.eval(p.Cond)))
		}
	}
	if implied&^n != 0 {
		depends := b.eval(sym.Depends())
		initial |= lower(higher(initial, implied), depends|depends&m<<1)
	}
	return initial
}

// selected are the values of what selects a symbol.
func (b *Bounds) selected(sym *model.Symbol) levels {
	selected := n
	for _, p := range b.raisers[sym] {
		if p.Source.Kind == syntax.Select {
			selected = higher(selected, lower(b.of(p.Owner).levels, b.eval(p.Cond)))
		}
	}
	if !b.forced {
		depends := b.eval(sym.Depends())
		if depends&m != 0 {
			depends |= y // to a bool, that is as good
		}
		selected = lower(selected, depends)
	}
	return selected
}

// text is what a symbol with text or a number can be.
func (b *Bounds) text(sym *model.Symbol) *domain {
	d := &domain{texts: map[string]bool{}}
	if sym.Transitional() || b.visible(sym)&^n != 0 {
		d.any = true
	}
	settled := false
	var ranges []model.Property
	for _, p := range sym.Properties() {
		switch p.Source.Kind {
		case syntax.Range:
			ranges = append(ranges, p)
		case syntax.Default:
			cond := b.eval(p.Cond)
			if settled || cond&^n == 0 {
				continue
			}
			settled = cond&n == 0
			if p.Value.Op != syntax.Sym {
				d.any = true // conf warns of it
				continue
			}
			d.join(b.of(p.Value.Left), sym.Type)
		}
	}
	if !settled {
		d.texts[""], d.texts["0"] = true, true
	}
	if sym.Type == syntax.String {
		return d
	}
	d.span(sym.Type)
	d.clamp(b, sym, ranges)
	return d
}
