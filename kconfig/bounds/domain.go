// SPDX-License-Identifier: GPL-3.0-only

package bounds

import (
	"math/big"
	"strings"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// A domain is what a symbol can be.
type domain struct {
	levels levels // of a bool or tristate
	// The texts of others: any, or a few. Those of numbers are between low and high
	// as well; a nil is without end.
	any       bool
	texts     map[string]bool
	low, high *big.Int
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

// clamp moves numbers into the ranges of a symbol that may hold.
func (d *domain) clamp(b *Bounds, sym *model.Symbol, ranges []model.Property) {
	t, low, high := sym.Type, d.low, d.high
	var ends []*domain
	var lows, highs []*domain
	covered, placed := false, false
	for _, p := range ranges {
		cond := b.eval(p.Cond)
		if cond&^n == 0 {
			continue
		}
		l, h := b.end(p.Low, t), b.end(p.High, t)
		lows, highs, ends = append(lows, l), append(highs, h), append(ends, l, h)
		covered = cond&n == 0
		// One without an if of its own holds wherever the symbol's only place can be had.
		// Elsewhere, the symbol has no value but 0.
		placed = len(sym.Nodes) == 1 && p.Source.Cond == nil && !sym.Transitional()
		if covered || placed {
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
	if placed && !covered {
		zero := &domain{low: new(big.Int), high: new(big.Int)}
		inner, outer = hull([]*domain{{low: inner, high: outer}, zero})
	}
	if covered || placed {
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

// values are the texts of a domain, where these are few.
func (d *domain) values(s *model.Symbol) ([]string, bool) {
	if s.Defined() && s.Type.Logical() {
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
