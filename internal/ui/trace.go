// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/internal/event"
)

// shownFrames is how many frames of a call trace are shown without Verbose.
const shownFrames = 20

// trace shows where a report comes from: the call trace, and the line at fault.
func (t *Text) trace(e event.KernelTrace) {
	shown := e.Frames
	if !t.o.Verbose && len(shown) > shownFrames+1 {
		shown = shown[:shownFrames]
	}
	width := 0
	for _, f := range shown {
		width = max(width, len(f.Function))
	}
	width = min(width, 36)
	t.mark(yellow, "kernel ", "the call trace of "+e.Title)
	for _, f := range shown {
		t.print(strings.TrimRight(fmt.Sprintf("         %-*s  %s", width, f.Function, frameEnd(f)), " "))
	}
	if rest := len(e.Frames) - len(shown); rest > 0 {
		t.print(fmt.Sprintf("         and %d more (-v shows them)", rest))
	}
	if len(e.Source) == 0 {
		return
	}
	where := fmt.Sprintf("       %s:%d", e.File, e.Line)
	if e.Edited {
		where += ", edited in this turn"
	}
	t.print(where)
	digits := len(fmt.Sprint(e.Source[len(e.Source)-1].Number))
	for _, line := range e.Source {
		mark := " "
		if line.Number == e.Line {
			mark = ">"
		}
		text := strings.TrimRight(fmt.Sprintf("       %s %*d | %s", mark, digits, line.Number, strings.ReplaceAll(line.Text, "\t", "        ")), " ")
		if line.Number == e.Line {
			t.mark(yellow, "", text)
		} else {
			t.print(text)
		}
	}
}

// frameEnd is what follows a frame's function.
func frameEnd(f event.KernelFrame) string {
	var end []string
	if f.File != "" {
		end = append(end, fmt.Sprintf("%s:%d", f.File, f.Line))
	} else if f.Size > 0 {
		end = append(end, fmt.Sprintf("+%#x/%#x", f.Offset, f.Size))
	}
	if f.Inlined {
		end = append(end, "(inlined)")
	} else if f.Module != "" {
		end = append(end, "["+f.Module+"]")
	}
	return strings.Join(end, " ")
}
