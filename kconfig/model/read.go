// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/kconfig/syntax"
)

const configPrefix = "CONFIG_"

func (s *State) warn(name string, line int, format string, args ...any) {
	fmt.Fprintf(&s.Warnings, "%s:%d:warning: %s\n", name, line, fmt.Sprintf(format, args...))
	s.warnings++
}

// Read takes the values of the user from the contents of a .config; name is for
// warnings. What was set before is forgotten.
func (s *State) Read(name string, data []byte) {
	s.warnings, s.changed = 0, false
	for _, sym := range s.m.hashed {
		v := s.of(sym)
		v.valid, v.user, v.userTri, v.userText, v.userChosen = false, sym.IsChoice() && !s.m.dialect.Priority, No, "", nil
	}
	_, warnUnknown := s.Getenv("KCONFIG_WARN_UNKNOWN_SYMBOLS")
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line, ended := strings.CutSuffix(line, "\n")
		if ended {
			line = strings.TrimSuffix(line, "\r")
		}
		if line == "" || line[0] == '\r' && !s.m.dialect.Stripped || line[0] == 0 && s.m.dialect.Stripped {
			continue
		}
		if i := strings.IndexByte(line, 0); i >= 0 {
			line = line[:i] // as for a string of C's
		}
		var sym *Symbol
		switch {
		case strings.HasPrefix(line, "#"):
			name2, ok := s.notSet(line)
			if !ok {
				continue
			}
			if sym = s.m.byName[name2]; sym == nil {
				s.changed = true
				continue
			}
			if s.of(sym).user {
				s.warn(name, number, "override: reassigning to symbol %s", sym.Name)
			}
			if !s.set(sym, "n", true, name, number) {
				continue
			}
		case strings.HasPrefix(line, configPrefix):
			name2, text, ok := strings.Cut(line[len(configPrefix):], "=")
			if !ok {
				if s.m.dialect.Stripped {
					s.warn(name, number, "unexpected data: %s", line)
				}
				continue
			}
			if sym = s.m.byName[name2]; sym == nil {
				if warnUnknown {
					s.warn(name, number, "unknown symbol: %s", name2)
				}
				s.changed = true
				continue
			}
			if s.of(sym).user {
				s.warn(name, number, "override: reassigning to symbol %s", sym.Name)
			}
			if !s.set(sym, text, false, name, number) {
				continue
			}
		default:
			if !s.m.dialect.Stripped {
				line, _, _ = strings.Cut(line, "\r")
			}
			s.warn(name, number, "unexpected data: %s", line)
			continue
		}
		if sym.member {
			s.setMember(sym, name, number)
		}
	}
	s.calc(s.m.modules)
}

// notSet reads "# CONFIG_X is not set".
func (s *State) notSet(line string) (name string, ok bool) {
	if len(line) < 2 || line[1] != ' ' && !s.m.dialect.LooseComment || !strings.HasPrefix(line[2:], configPrefix) {
		return "", false
	}
	name, rest, ok := strings.Cut(line[2+len(configPrefix):], " ")
	if !ok {
		return "", false
	}
	if s.m.dialect.LooseNotSet {
		return name, strings.HasPrefix(rest, "is not set")
	}
	return name, rest == "is not set"
}

// set takes the text behind the = of a line, or the n of one that says "is not set".
func (s *State) set(sym *Symbol, text string, notSet bool, name string, line int) bool {
	v := s.of(sym)
	first := ""
	if text != "" {
		first = text[:1]
	}
	invalid := func() bool {
		s.warn(name, line, "symbol value '%s' invalid for %s", text, sym.Name)
		return false
	}
	switch sym.Type {
	case syntax.Bool, syntax.Tristate:
		i := strings.Index("nmy", first)
		if first == "" || i < 0 || i == int(Mod) && sym.Type == syntax.Bool {
			return invalid()
		}
		v.user, v.userTri = true, Tristate(i)
	case syntax.String:
		if first != `"` {
			return true
		}
		value, ok := unquote(text[1:])
		if !ok {
			s.warn(name, line, "invalid string found")
			return false
		}
		v.user, v.userText = true, value
	case syntax.Int, syntax.Hex:
		if notSet && s.m.dialect.SilentNotSet {
			return true
		}
		if !validNumber(text, sym.Type) {
			return invalid()
		}
		v.user, v.userText = true, text
	}
	return true
}

// unquote reads a string up to its closing quote; what follows doesn't matter.
func unquote(text string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), true
		case '\\':
			i++
			if i == len(text) {
				return "", false
			}
		}
		b.WriteByte(text[i])
	}
	return "", false
}

func validNumber(text string, t syntax.Type) bool {
	set := "0123456789"
	if t == syntax.Hex {
		set += "abcdefABCDEF"
		if len(text) > 1 && text[0] == '0' && text[1]|' ' == 'x' {
			text = text[2:]
		}
	} else {
		text = strings.TrimPrefix(text, "-")
		if len(text) > 1 && text[0] == '0' {
			return false
		}
	}
	return text != "" && strings.Trim(text, set) == ""
}

// setMember tells a choice that one of its members has been set.
func (s *State) setMember(sym *Symbol, name string, line int) {
	if s.m.dialect.Priority {
		s.prefer(sym)
		return
	}
	c := s.of(sym.choice.Symbol)
	tri := s.of(sym).userTri
	switch tri {
	case Mod:
		if c.userTri == Yes {
			s.warn(name, line, "%s creates inconsistent choice state", sym.Name)
			c.user = false
		}
	case Yes:
		if c.userTri != No {
			s.warn(name, line, "override: %s changes choice state", sym.Name)
		}
		c.userChosen = sym
	}
	c.userTri = max(c.userTri, tri)
}

// reconcile compares what was read with what comes of it, and forgets what
// conf forgets then.
func (s *State) reconcile() {
	unsaved := 0
	for _, sym := range s.m.hashed {
		s.calc(sym)
		if sym.unwritten && !sym.transitional {
			continue
		}
		v := s.of(sym)
		switch {
		case v.user && v.write:
			if sym.Type.Logical() && v.userTri == s.written(sym) || !sym.Type.Logical() && v.userText == v.text {
				continue
			}
		case !v.user && !v.write:
			continue
		}
		unsaved++
	}
	for _, sym := range s.m.hashed {
		v := s.of(sym)
		if !s.m.dialect.ResetRange || !v.user || sym.member {
			continue
		}
		// It'll be new when it becomes visible again.
		if v.visible == No && unsaved == 0 {
			v.user = false
		}
		if (sym.Type == syntax.Int || sym.Type == syntax.Hex) && !s.inRange(sym, v.userText) {
			v.user, v.valid = false, false
			unsaved++
		}
	}
	s.changed = s.changed || unsaved > 0 || s.warnings > 0
}

// written is the value of a bool or tristate as it would be written.
func (s *State) written(sym *Symbol) Tristate {
	return Tristate(strings.Index("nmy", s.String(sym)))
}

func (s *State) inRange(sym *Symbol, text string) bool {
	if !validNumber(text, sym.Type) {
		return false
	}
	low, high := s.bounds(sym)
	if low == nil {
		return true
	}
	n := prefix(text, sym.Type)
	return n >= s.bound(low, sym.Type) && n <= s.bound(high, sym.Type)
}
