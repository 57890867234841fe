// SPDX-License-Identifier: GPL-3.0-only

package syntax

import (
	"fmt"
	"strings"
)

type tokenKind uint8

const (
	word    tokenKind = iota
	keyword           // a word that is one, and was written as it is
	quoted            // a string, without its quotes
	punct             // an operator or a parenthesis
)

type token struct {
	kind tokenKind
	text string
}

// A lexer splits a file into statements.
type lexer struct {
	name   string
	text   string
	at     int // in text
	line   int // of at, from 1
	macros *macros
	// keywords can't be names, unless they come of a macro.
	keywords map[string]bool
	ends     bool // the last line must, with a newline
	// tokens are those of the present statement, which begins in the line first.
	tokens []token
	first  int
	// value is what is assigned; the tokens are then a word and the operator.
	value string
}

func (l *lexer) pos() where { return where{l.name, l.line} }

// wordByte tells the bytes of words.
var wordByte = func() (set [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") {
		set[c] = true
	}
	return set
}()

// next reads the next statement that has tokens. At the end of the file it
// returns false.
func (l *lexer) next() (bool, error) {
	l.tokens = l.tokens[:0]
	for l.at < len(l.text) {
		c := l.text[l.at]
		switch {
		case c == '\n':
			l.at++
			l.line++
			if len(l.tokens) > 0 {
				return true, nil
			}
			continue
		case c == ' ' || c == '\t':
			l.at++
			continue
		case c == '#':
			l.skipLine()
			continue
		case c == '\\' && strings.HasPrefix(l.text[l.at:], "\\\n"):
			l.at += 2
			l.line++
			continue
		}
		if len(l.tokens) == 0 {
			l.first = l.line
		}
		switch {
		case wordByte[c] || c == '$':
			t, err := l.word()
			if err != nil {
				return false, err
			}
			if t.text != "" {
				l.tokens = append(l.tokens, t)
			}
		case c == '"' || c == '\'':
			text, err := l.quoted(c)
			if err != nil {
				return false, err
			}
			l.tokens = append(l.tokens, token{quoted, text})
		default:
			if !l.punctuation() {
				l.macros.say(Diagnostic{Text: fmt.Sprintf("%s:%d:warning: ignoring unsupported character '%s'\n", l.name, l.line, l.text[l.at:l.at+1])})
				l.at++
				continue
			}
			if len(l.tokens) == 2 && l.tokens[0].kind == word {
				switch l.tokens[1].text {
				case "=", ":=", "+=":
					l.assigned()
					return true, nil
				}
			}
		}
	}
	if len(l.tokens) > 0 {
		const missing = "no new line at end of file"
		if l.ends {
			return false, &Error{Pos: l.pos(), Problem: missing}
		}
		l.macros.say(Diagnostic{Text: fmt.Sprintf("%s:%d:warning: %s\n", l.name, l.line, missing)})
		return true, nil
	}
	return false, nil
}

// skipLine goes to the newline.
func (l *lexer) skipLine() {
	if i := strings.IndexByte(l.text[l.at:], '\n'); i >= 0 {
		l.at += i
		return
	}
	l.at = len(l.text)
}

// assigned takes the rest of the line as a value.
func (l *lexer) assigned() {
	start := l.at
	l.skipLine()
	l.value = strings.TrimLeft(l.text[start:l.at], " \t")
}

// word reads a word, and expands the references in it.
func (l *lexer) word() (token, error) {
	start := l.at
	for l.at < len(l.text) && wordByte[l.text[l.at]] {
		l.at++
	}
	if l.at == len(l.text) || l.text[l.at] != '$' {
		t := token{word, l.text[start:l.at]}
		if l.keywords[t.text] {
			t.kind = keyword
		}
		return t, nil
	}
	text := l.text[start:l.at]
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case wordByte[c]:
			text += string(rune(c))
			l.at++
		case c == '$':
			value, err := l.reference()
			if err != nil {
				return token{}, err
			}
			text += value
		default:
			return token{word, text}, nil
		}
	}
	return token{word, text}, nil
}

// reference expands the reference that begins at the dollar. It ends in its line.
func (l *lexer) reference() (string, error) {
	rest := l.text[l.at+1:]
	if i := strings.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[:i]
	}
	value, after, err := l.macros.dollar(l.pos(), rest, nil)
	l.at += 1 + len(rest) - len(after)
	return value, err
}

// quoted reads a string, whose quote is at the present place.
func (l *lexer) quoted(quote byte) (string, error) {
	l.at++
	end := l.at
	for end < len(l.text) && l.text[end] != quote && l.text[end] != '\n' && l.text[end] != '\\' && l.text[end] != '$' {
		end++
	}
	if end < len(l.text) && l.text[end] == quote {
		text := l.text[l.at:end]
		l.at = end + 1
		return text, nil
	}
	var b strings.Builder
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case c == quote:
			l.at++
			return b.String(), nil
		case c == '\n':
			l.macros.say(Diagnostic{Text: fmt.Sprintf("%s:%d:warning: multi-line strings not supported\n", l.name, l.line)})
			return b.String(), nil
		case c == '\\':
			l.at++
			if l.at < len(l.text) && l.text[l.at] != '\n' {
				b.WriteByte(l.text[l.at])
				l.at++
			}
		case c == '$':
			value, err := l.reference()
			if err != nil {
				return "", err
			}
			b.WriteString(value)
		default:
			b.WriteByte(c)
			l.at++
		}
	}
	return b.String(), nil
}

// punctuation reads an operator or a parenthesis, if one is there.
func (l *lexer) punctuation() bool {
	rest := l.text[l.at:]
	for _, p := range [...]string{"&&", "||", "!=", "<=", ">=", ":=", "+=", "=", "<", ">", "(", ")", "!"} {
		if strings.HasPrefix(rest, p) {
			l.tokens = append(l.tokens, token{punct, p})
			l.at += len(p)
			return true
		}
	}
	return false
}

// help reads a help text: all lines up to one, not blank, that is indented less
// than the first.
func (l *lexer) help() string {
	start, indent := l.at, 0
	for l.at < len(l.text) {
		end := strings.IndexByte(l.text[l.at:], '\n')
		if end < 0 {
			end = len(l.text)
		} else {
			end += l.at
		}
		line := l.text[l.at:end]
		blanks := 0
		for blanks < len(line) && (line[blanks] == ' ' || line[blanks] == '\t') {
			blanks++
		}
		if blanks < len(line) {
			column := columns(line[:blanks])
			if l.at > start && column == 0 || column < indent {
				break
			}
			if indent == 0 {
				indent = column
			}
		}
		l.at = min(end+1, len(l.text))
		l.line++
	}
	return l.text[start:l.at]
}
