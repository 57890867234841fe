// SPDX-License-Identifier: GPL-3.0-only

package bounds

import (
	"math/big"
	"strings"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// A levels is a set of n, m and y, a bit for each.
type levels uint8

const (
	none levels = 0
	n    levels = 1 << model.No
	m    levels = 1 << model.Mod
	y    levels = 1 << model.Yes
	all         = n | m | y
)

// combine are the results of an operation on any two of two sets.
func combine(a, b levels, op func(x, y model.Tristate) model.Tristate) levels {
	var out levels
	for x := model.No; x <= model.Yes; x++ {
		for y := model.No; y <= model.Yes; y++ {
			if a&(1<<x) != 0 && b&(1<<y) != 0 {
				out |= 1 << op(x, y)
			}
		}
	}
	return out
}

func lower(a, b levels) levels {
	return combine(a, b, func(x, y model.Tristate) model.Tristate { return min(x, y) })
}

func higher(a, b levels) levels {
	return combine(a, b, func(x, y model.Tristate) model.Tristate { return max(x, y) })
}

func inverse(a levels) levels {
	return combine(a, n, func(x, _ model.Tristate) model.Tristate { return model.Yes - x })
}

// below are the values that are at most one of a set.
func below(a levels) levels { return lower(all, a) }

// A domain is what a symbol can be.
type domain struct {
	levels levels // of a bool or tristate
	// The texts of others: any, or a few. Those of numbers are between low and high
	// as well; a nil is without end.
	any       bool
	texts     map[string]bool
	low, high *big.Int
}

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
	if !isTristate(sym) {
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

func isTristate(sym *model.Symbol) bool {
	return sym.Type == syntax.Bool || sym.Type == syntax.Tristate
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
		b.require(sym.Depends(), least)
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
		case e.Left.Defined() && isTristate(e.Left) || set&n == 0:
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
		if !isTristate(sym) || !sym.Defined() || !value.Constant() {
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

func (d *domain) can(sym *model.Symbol, want kconfig.Want) bool {
	switch sym.Type {
	case syntax.Bool, syntax.Tristate:
		for level, text := range []string{"n", "m", "y"} {
			if d.levels&(1<<level) != 0 && want.Met(text) {
				return true
			}
		}
		return false
	case syntax.String:
		if d.any || want.Met("") {
			return true
		}
		for text := range d.texts {
			if want.Met(model.Quote(text)) {
				return true
			}
		}
		return false
	}
	if want.Met("") {
		return true // it may be absent
	}
	if !d.any {
		for text := range d.texts {
			if want.Met(text) && d.within(number(text, sym.Type)) {
				return true
			}
		}
	}
	value := number(want.Value, sym.Type)
	switch {
	case value == nil:
		return false
	case want.Min:
		return d.any && (d.high == nil || d.high.Cmp(value) >= 0)
	}
	return d.any && d.within(value)
}

func (d *domain) within(value *big.Int) bool {
	return value != nil && (d.low == nil || d.low.Cmp(value) <= 0) && (d.high == nil || d.high.Cmp(value) >= 0)
}

// number is the number that a text is, as conf reads it; nil if it is none.
func number(text string, t syntax.Type) *big.Int {
	base := 10
	if rest, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		text, base = rest, 16
	} else if t == syntax.Hex {
		base = 16
	}
	value, ok := new(big.Int).SetString(text, base)
	if !ok {
		return nil
	}
	return value
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
	if isTristate(sym) {
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

// unquote is the text of a string as a .config has it.
func unquote(value string) string {
	text := strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		out.WriteByte(text[i])
	}
	return out.String()
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
	d.clamp(b, ranges, sym.Type)
	return d
}

// join adds what another symbol can be, of which this one is a copy.
func (d *domain) join(from *domain, t syntax.Type) {
	d.any = d.any || from.any
	for text := range from.texts {
		d.texts[text] = true
	}
	// Between what ends a copy of a number is, is not kept.
	if t != syntax.String && !from.any && from.low != nil && from.high != nil && len(from.texts) == 0 {
		d.any = true
	}
}

// span is between the least and the greatest number of a few.
func (d *domain) span(t syntax.Type) {
	if d.any {
		return
	}
	for text := range d.texts {
		value := number(text, t)
		if value == nil {
			value = new(big.Int)
		}
		if d.low == nil || value.Cmp(d.low) < 0 {
			d.low = value
		}
		if d.high == nil || value.Cmp(d.high) > 0 {
			d.high = value
		}
	}
}

// clamp moves numbers into the ranges that may hold.
func (d *domain) clamp(b *Bounds, ranges []model.Property, t syntax.Type) {
	low, high := d.low, d.high
	var ends []*domain
	var lows, highs []*domain
	covered := false
	for _, p := range ranges {
		cond := b.eval(p.Cond)
		if cond&^n == 0 {
			continue
		}
		l, h := b.end(p.Low, t), b.end(p.High, t)
		lows, highs, ends = append(lows, l), append(highs, h), append(ends, l, h)
		if covered = cond&n == 0; covered {
			break
		}
	}
	if len(ends) == 0 {
		return
	}
	// What is out of a range becomes one of its ends.
	for _, e := range ends {
		d.any = d.any || e.any
		for text := range e.texts {
			d.texts[text] = true
		}
	}
	l0, l1 := hull(lows)
	h0, h1 := hull(highs)
	inner, outer := greater(low, l0), lesser(high, h1)
	// What is above the upper end falls to it, and what is below the lower one rises.
	if h0 == nil || inner != nil && h0.Cmp(inner) < 0 {
		inner = h0
	}
	if l1 == nil || outer != nil && l1.Cmp(outer) > 0 {
		outer = l1
	}
	if covered {
		d.low, d.high = inner, outer
		return
	}
	if low != nil && (inner == nil || inner.Cmp(low) < 0) {
		d.low = inner
	}
	if high != nil && (outer == nil || outer.Cmp(high) > 0) {
		d.high = outer
	}
}

// end is what an end of a range can be.
func (b *Bounds) end(sym *model.Symbol, t syntax.Type) *domain {
	d := b.of(sym)
	if sym.Defined() {
		return d
	}
	value := number(sym.Name, t)
	return &domain{texts: d.texts, low: value, high: value}
}

// hull are the least and the greatest number of several.
func hull(list []*domain) (low, high *big.Int) {
	low, high = list[0].low, list[0].high
	for _, d := range list[1:] {
		if low != nil && (d.low == nil || d.low.Cmp(low) < 0) {
			low = d.low
		}
		if high != nil && (d.high == nil || d.high.Cmp(high) > 0) {
			high = d.high
		}
	}
	return low, high
}

// greater is the greater of two lower ends, of which nil is the least.
func greater(a, b *big.Int) *big.Int {
	if a == nil || b != nil && b.Cmp(a) > 0 {
		return b
	}
	return a
}

// lesser is the lesser of two upper ends, of which nil is the greatest.
func lesser(a, b *big.Int) *big.Int {
	if a == nil || b != nil && b.Cmp(a) < 0 {
		return b
	}
	return a
}

// eval are the values that an expression can have.
func (b *Bounds) eval(e *model.Expr) levels {
	if e == nil {
		return y
	}
	switch e.Op {
	case syntax.Sym:
		switch e.Left.Type {
		case syntax.Bool, syntax.Tristate:
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

// values are the texts of a domain, where these are few.
func (d *domain) values(s *model.Symbol) ([]string, bool) {
	if s.Defined() && (s.Type == syntax.Bool || s.Type == syntax.Tristate) {
		var list []string
		for level, text := range []string{"n", "m", "y"} {
			if d.levels&(1<<level) != 0 {
				list = append(list, text)
			}
		}
		return list, true
	}
	if d.any {
		return nil, false
	}
	var list []string
	for text := range d.texts {
		list = append(list, text)
	}
	return list, true
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
	return (s.Type == syntax.Bool || s.Type == syntax.Tristate || s.Constant()) && len(text) == 1 && strings.Contains("nmy", text)
}
