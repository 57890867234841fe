// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"io"
	"strings"

	"github.com/metaspace/run-kernel/internal/ansi"
)

// say tells what a part of run-kernel did, after its name.
func (t *Text) say(what, format string, args ...any) { t.sayIn("", what, format, args...) }

// sayIn is say in a colour.
func (t *Text) sayIn(code, what, format string, args ...any) {
	if !t.o.Quiet {
		t.write(t.paint(bold, fmt.Sprintf("%-6s", what)) + " " + t.paint(code, ansi.Strip(fmt.Sprintf(format, args...))))
	}
}

// Codes of colours; see "Select Graphic Rendition" in ECMA-48.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (t *Text) paint(code, text string) string {
	if !t.o.Color || code == "" || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// mark writes lines that begin in a colour.
func (t *Text) mark(code, start, text string) {
	first, rest, more := strings.Cut(ansi.Strip(start+text), "\n")
	line := t.paint(code, first)
	if more {
		line += "\n" + rest
	}
	t.write(line)
}

// print writes lines of others, above the progress line if there is one.
func (t *Text) print(text string) { t.write(ansi.Strip(text)) }

// write writes lines as they are.
func (t *Text) write(text string) {
	t.erase()
	if t.midline {
		text = "\n" + text
		t.midline = false
	}
	end := "\n"
	if t.raw {
		end = "\r\n"
		text = strings.ReplaceAll(text, "\n", end)
	}
	_, _ = io.WriteString(t.o.Err, text+end)
}

func (t *Text) erase() {
	if t.progress != "" {
		_, _ = io.WriteString(t.o.Err, "\r\x1b[K")
		t.progress = ""
	}
}
