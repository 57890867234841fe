// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"bytes"
	"strings"

	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// seen tells whether users see an entry in the menus.
func (s *State) seen(e *entry) bool {
	if e.prompt == nil {
		return false
	}
	for _, c := range e.conditions {
		if s.eval(c) == No {
			return false
		}
	}
	if e.symbol == nil {
		return s.eval(e.prompt.visible) != No
	}
	s.calc(e.symbol)
	if s.prompts[e.prompt.index] != No {
		return true
	}
	if s.Tristate(e.symbol) == No {
		return false
	}
	for child := e.first; child != nil; child = child.next {
		if s.seen(child) {
			s.of(e.symbol).user = true
			return true
		}
	}
	return false
}

// An input collects what came out other than it was read.
type input struct {
	*State
	wanted bool
	noted  []bool
	text   strings.Builder
}

func (s *State) newInput() *input {
	value, _ := s.Getenv("KCONFIG_WARN_CHANGED_INPUT")
	return &input{State: s, wanted: s.m.dialect.ChangedInput && value != "", noted: make([]bool, s.m.size)}
}

// note looks at a symbol that has been computed, the first time.
func (in *input) note(sym *Symbol) {
	if !in.wanted || in.noted[sym.index] {
		return
	}
	in.noted[sym.index] = true
	v := in.of(sym)
	if !v.user || sym.Type == syntax.NoType {
		return
	}
	user := v.userText
	if sym.Type.Logical() {
		user = v.userTri.String()
	}
	if now := in.String(sym); user != now {
		in.text.WriteString("  " + configPrefix + sym.Name + ": " + user + " -> " + now + "\n")
	}
}

// warn says what was noted.
func (in *input) warn() {
	if in.text.Len() > 0 {
		in.Warnings.WriteString("warning: user-provided values changed by Kconfig:\n" + in.text.String())
	}
}

// Config is the .config, as conf writes it.
func (s *State) Config() []byte {
	var b bytes.Buffer
	b.WriteString("#\n# Automatically generated file; DO NOT EDIT.\n")
	comment(&b, s.m.Tree.Root.Prompt.Text)
	if !s.changed {
		s.invalidate() // and so do conf's warnings come twice
	}
	written := make([]bool, s.m.size)
	changed := s.newInput()
	newline := false
	var write func(parent *entry)
	write = func(parent *entry) {
		for e := parent.first; e != nil; e = e.next {
			switch {
			case e.symbol == nil:
				if s.seen(e) {
					b.WriteByte('\n')
					b.WriteString("#\n")
					comment(&b, e.node.Prompt.Text)
					newline = false
				}
			case !e.symbol.IsChoice() && !written[e.symbol.index]:
				s.calc(e.symbol)
				changed.note(e.symbol)
				if !s.of(e.symbol).write {
					break
				}
				if newline {
					b.WriteByte('\n')
					newline = false
				}
				written[e.symbol.index] = true
				s.writeSymbol(&b, e.symbol, "# "+configPrefix+e.symbol.Name+" is not set")
			}
			write(e)
			if (e.first != nil || s.m.dialect.EndsEmpty && e.node.Kind == syntax.Menu) && e.symbol == nil && s.seen(e) {
				b.WriteString("# end of " + e.node.Prompt.Text + "\n")
				newline = true
			}
		}
	}
	write(s.m.root)
	changed.warn()
	return b.Bytes()
}

func comment(b *bytes.Buffer, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString("# " + line + "\n")
	}
	b.WriteString("#\n")
}

var escaper = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// writeSymbol writes the line of a symbol; notSet is that of n.
func (s *State) writeSymbol(b *bytes.Buffer, sym *Symbol, notSet string) {
	text := s.String(sym)
	switch {
	case sym.Type.Logical() && text == "n":
		b.WriteString(notSet + "\n")
	case sym.Type == syntax.String:
		b.WriteString(configPrefix + sym.Name + `="` + escaper.Replace(text) + "\"\n")
	default:
		b.WriteString(configPrefix + sym.Name + "=" + text + "\n")
	}
}

// changeable tells whether a user can give a symbol another value.
func (s *State) changeable(sym *Symbol) bool {
	v := s.of(sym)
	return v.visible > v.select_
}

// Defconfig is the least .config that olddefconfig makes the same of.
func (s *State) Defconfig() []byte {
	var b bytes.Buffer
	s.invalidate()
	done := make([]bool, s.m.size)
	changed := s.newInput()
	var write func(parent *entry)
	write = func(parent *entry) {
		for e := parent.first; e != nil; e = e.next {
			if e.symbol == nil {
				s.seen(e) // what that computes may have something to warn of
			} else if sym := e.symbol; !sym.IsChoice() {
				s.calc(sym)
				changed.note(sym)
				if s.of(sym).write && !done[sym.index] {
					done[sym.index] = true
					if s.changeable(sym) && s.String(sym) != s.initialText(sym) && !s.isFallback(sym) {
						s.writeSymbol(&b, sym, "# "+configPrefix+sym.Name+" is not set")
					}
				}
			}
			write(e)
		}
	}
	write(s.m.root)
	changed.warn()
	return b.Bytes()
}

// isFallback tells whether a member of a choice is y as it would be by default.
func (s *State) isFallback(sym *Symbol) bool {
	return sym.member && !sym.choice.Optional && sym.Type == syntax.Bool && s.fallback(sym.choice) == sym && s.Tristate(sym) == Yes
}

// initialText is the value of a symbol that the user says nothing of.
func (s *State) initialText(sym *Symbol) string {
	s.see(sym)
	s.calc(s.m.modules)
	tri, text := No, ""
	p, cond := s.initial(sym)
	if !sym.Type.Logical() {
		if p != nil && p.value.Op == syntax.Sym {
			s.calc(p.value.Left)
			text = s.of(p.value.Left).text
		}
		if text == "" && s.m.dialect.Zero {
			switch sym.Type {
			case syntax.Int:
				text = "0"
			case syntax.Hex:
				text = "0x0"
			}
		}
		return text
	}
	if p != nil {
		tri = min(s.eval(p.value), cond)
	}
	v := s.of(sym)
	tri = max(tri, v.select_)
	if tri == Mod && (sym.Type == syntax.Bool || !sym.member && s.of(s.m.modules).tri == No) {
		tri = Yes
	}
	return max(tri, v.imply).String()
}

// NewSymbols lists the symbols that the user could set and hasn't, in lines as
// of a .config.
func (s *State) NewSymbols() []byte {
	var b bytes.Buffer
	var list func(e *entry)
	list = func(e *entry) {
		if !s.seen(e) {
			return
		}
		// Choices have names only in kernels that list them.
		if sym := e.symbol; sym != nil && sym.Name != "" && !s.of(sym).user && (s.changeable(sym) || sym.IsChoice() && s.Tristate(sym) == Yes) {
			s.writeSymbol(&b, sym, configPrefix+sym.Name+"=n")
		}
		for child := e.first; child != nil; child = child.next {
			list(child)
		}
	}
	list(s.m.root)
	return b.Bytes()
}
