// SPDX-License-Identifier: GPL-3.0-only

package tty

import "io"

// The keys that act on run-kernel, after a new line, as in ssh(1).
const (
	escapeKey = '~'
	endKey    = '.'
	helpKey   = '?'
)

// EscapeHelp explains the keys.
const EscapeHelp = "Supported keys, at the start of a line:\r\n" +
	" ~.  end this session\r\n ~?  this text\r\n ~~  the character ~\r\n"

// Escapes passes on what is typed, and acts on the escape keys.
type Escapes struct {
	r    io.Reader
	end  func()
	help func()

	lineStart bool
	escaped   bool
	passed    []byte // for the next Read: a ~ held back may make it one more than was asked for
}

// NewEscapes returns a reader of what r gives, less the escape keys. For those
// it calls end or help.
func NewEscapes(r io.Reader, end, help func()) *Escapes {
	return &Escapes{r: r, end: end, help: help, lineStart: true}
}

// Read implements io.Reader.
func (e *Escapes) Read(p []byte) (int, error) {
	for len(e.passed) == 0 {
		n, err := e.r.Read(p)
		for _, b := range p[:n] {
			e.passed = e.key(e.passed, b)
		}
		if err != nil && len(e.passed) == 0 {
			return 0, err
		}
	}
	n := copy(p, e.passed)
	e.passed = e.passed[n:]
	return n, nil
}

func (e *Escapes) key(out []byte, b byte) []byte {
	if e.escaped {
		e.escaped = false
		switch b {
		case endKey:
			e.end()
			return out
		case helpKey:
			e.help()
			e.lineStart = true
			return out
		case escapeKey:
			e.lineStart = false
			return append(out, escapeKey)
		}
		out = append(out, escapeKey)
	} else if b == escapeKey && e.lineStart {
		e.escaped = true
		return out
	}
	e.lineStart = b == '\r' || b == '\n'
	return append(out, b)
}
