// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/internal/event"
)

func (t *Text) configFixed(e event.ConfigFixed) {
	t.say("config", "%s: %s changed", e.Path, count(len(e.Edits), "option"))
	shown := 0
	for _, d := range e.Edits {
		if d.Why == "" && !t.o.Verbose {
			continue
		}
		shown++
		t.say("", "  %-24s %s -> %s%s", d.Symbol, orAbsent(d.From), orAbsent(d.To), ifAny("  ", d.Why))
	}
	if rest := len(e.Edits) - shown; rest > 0 {
		t.say("", "  and %d more that the kernel's conf changed (-v shows them)", rest)
	}
}

func (t *Text) diagnostic(d event.Diagnostic) {
	if d.Severity == event.Note || d.Severity == event.Warn && t.o.Quiet {
		return
	}
	var where string
	if d.File != "" {
		where = d.File + ":"
		if d.Line > 0 {
			where += fmt.Sprintf("%d:", d.Line)
		}
		if d.Column > 0 {
			where += fmt.Sprintf("%d:", d.Column)
		}
		where += " "
	}
	code := ""
	switch d.Severity {
	case event.Error:
		code = red
		t.errors++
	case event.Warn:
		code = yellow
	}
	if d.Severity != event.Unknown {
		where += string(d.Severity) + ": "
	}
	t.mark(code, where, d.Message)
	if d.Severity == event.Warn && !t.o.Verbose {
		return
	}
	for _, l := range d.Detail {
		t.print(l)
	}
}

func (t *Text) buildFinished(e event.BuildFinished) {
	t.clock = nil
	switch {
	case errors.Is(e.Err, context.Canceled):
		t.say("build", "stopped after %s", seconds(e.Elapsed))
	case e.Err != nil:
		t.sayIn(red, "build", "failed after %s; the log is %s", seconds(e.Elapsed), e.Log)
	case e.NewImage:
		t.say("build", "%s: %s in %s", e.Image, count(e.Objects, "object"), seconds(e.Elapsed))
	case e.External != "" && e.NewModules:
		t.say("build", "%s: %s in %s", e.External, count(e.Objects, "object"), seconds(e.Elapsed))
	case e.External != "":
		t.say("build", "%s is up to date, after %s", e.External, seconds(e.Elapsed))
	case e.NewModules:
		t.say("build", "modules: %s in %s", count(e.Objects, "object"), seconds(e.Elapsed))
	default:
		t.say("build", "%s is up to date, after %s", e.Image, seconds(e.Elapsed))
	}
}

// modulesSwapped says which modules the guest has now.
func (t *Text) modulesSwapped(e event.ModulesSwapped) {
	if len(e.Modules) > 0 {
		t.say("swap", "%s, after %s", strings.Join(e.Modules, ", "), seconds(e.Elapsed))
	}
	if len(e.Lost) > 0 {
		t.say("", "parameters that can't be kept, and have their defaults again: %s", strings.Join(e.Lost, ", "))
	}
	switch {
	case e.Refused != "":
		t.sayIn(yellow, "swap", "failed: %s", e.Refused)
	case len(e.Idle) > 0:
		t.say("swap", "not loaded in the guest, which finds the new one: %s", strings.Join(e.Idle, ", "))
	case len(e.Modules) == 0:
		t.say("swap", "the guest has these modules already")
	}
}
