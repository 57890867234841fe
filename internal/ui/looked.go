// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/internal/event"
)

const (
	// callersShown is how many callers of a function are shown.
	callersShown = 4
	// linesShown is how many lines of the kernel's are: a screen.
	linesShown = 20
)

// looked tells what a guest was doing.
func (t *Text) looked(e event.GuestLooked) {
	for _, c := range e.Processors {
		t.mark(yellow, "cpu    ", fmt.Sprintf("%d %s", c.Index, doing(c)))
	}
	t.lines(e.Tasks)
	if len(e.Log) > 0 {
		t.print("last messages in the kernel's memory:")
		t.lines(e.Log)
	}
}

// lines shows the first lines of some from the console.
func (t *Text) lines(lines []string) {
	for _, line := range lines[:min(len(lines), linesShown)] {
		t.print("| " + line)
	}
	if more := len(lines) - linesShown; more > 0 {
		t.print(fmt.Sprintf("| … and %s in the log of the console", count(more, "more line")))
	}
}

// doing says what a processor was doing, after its number.
func doing(c event.CPU) string {
	switch c.State {
	case "idle":
		return "is idle"
	case "off":
		return "isn't started"
	case "user":
		return "runs a program"
	}
	text := "is in "
	if c.State == "halted" {
		text = "has halted in "
	}
	var places []string
	for _, f := range c.Frames {
		// What was inlined has the line of its call in the function around it.
		if !f.Inlined && len(places) <= callersShown {
			places = append(places, place(f))
		}
	}
	if len(places) == 0 {
		return text + "unknown code at " + c.PC
	}
	text += places[0]
	if callers := places[1:]; len(callers) > 0 {
		text += "; on its stack: " + strings.Join(callers, ", ")
	}
	return text
}

func place(f event.KernelFrame) string {
	if f.File == "" {
		return f.Function
	}
	return fmt.Sprintf("%s (%s:%d)", f.Function, f.File, f.Line)
}
