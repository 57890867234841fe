// SPDX-License-Identifier: GPL-3.0-only

// Package ansi removes escape sequences from text that others wrote: compilers,
// guests, file names.
package ansi

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Strip makes text fit for any terminal: without escape sequences and control
// characters, but for ends of lines and tabs. What isn't UTF-8 becomes U+FFFD.
func Strip(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return r == utf8.RuneError || r != '\n' && r != '\t' && unicode.IsControl(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for text = strings.ToValidUTF8(text, "\ufffd"); text != ""; {
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == 0x1b:
			n = escapeLen(text)
		case r == '\n' || r == '\t' || !unicode.IsControl(r):
			b.WriteRune(r)
		}
		text = text[n:]
	}
	return b.String()
}

// escapeLen is the length of the escape sequence of ECMA-48 that s begins with.
func escapeLen(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	i := 2
	switch s[1] {
	case '[': // parameters, then a final byte
		for ; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
			if s[i] < 0x20 || s[i] > 0x7e {
				return i
			}
		}
		return i
	case ']', 'P', 'X', '^', '_': // a text, ended by BEL or ESC \; never longer than the line
		for ; i < len(s) && s[i] != '\n'; i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b {
				return min(len(s), i+2)
			}
		}
		return i
	}
	for i = 1; i < len(s) && s[i] >= 0x20 && s[i] <= 0x2f; i++ {
	}
	if i < len(s) && s[i] >= 0x30 && s[i] <= 0x7e {
		i++
	}
	return i
}
