// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/internal/event"
)

// testLog is how many lines of what a failed test printed are shown.
const testLog = 25

// statusColor is that of the status of a test.
func statusColor(status string) string {
	switch status {
	case "passed":
		return green
	case "skipped", "no-tests":
		return yellow
	}
	return red
}

// testIndent shows how deep in groups a test is.
func testIndent(path []string) string { return strings.Repeat("  ", max(0, len(path)-1)) }

func lastOf(path []string) string {
	if len(path) == 0 || path[len(path)-1] == "" {
		return "(unnamed)"
	}
	return path[len(path)-1]
}

// testFinished shows a test as a line of the tree, and what a failed one printed.
func (t *Text) testFinished(e event.TestFinished) {
	code := statusColor(e.Status)
	name := lastOf(e.Path)
	if t.o.Quiet {
		name = strings.Join(e.Path, ".") // the groups aren't shown
	}
	text := fmt.Sprintf("%-7s %s", e.Status, name)
	if e.Elapsed > 0 {
		text += ", " + seconds(e.Elapsed)
	}
	switch {
	case e.Directive != "" && e.Reason != "":
		text += " (" + e.Directive + ": " + e.Reason + ")"
	case e.Directive+e.Reason != "":
		text += " (" + e.Directive + e.Reason + ")"
	}
	if code != red {
		t.sayIn(code, "test", "%s%s", testIndent(e.Path), text)
		return
	}
	t.mark(red, fmt.Sprintf("%-6s ", "test"), testIndent(e.Path)+text)
	for _, problem := range e.Errors {
		t.print("       ! " + problem)
	}
	log := e.Log
	if e.Group && e.Status == "failed" {
		log = nil // its tests have said it
	}
	if len(log) > testLog && !t.o.Verbose {
		t.print(fmt.Sprintf("       | … %d lines before (-v shows them)", len(log)-testLog))
		log = log[len(log)-testLog:]
	}
	for _, line := range log {
		t.print("       | " + line)
	}
}

// testsFinished sums the tests up, errors last.
func (t *Text) testsFinished(e event.TestsFinished) {
	var counts []string
	for _, n := range []struct {
		n    int
		what string
	}{{e.Passed, "passed"}, {e.Failed, "failed"}, {e.Crashed, "crashed"}, {e.Skipped, "skipped"}} {
		if n.n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n.n, n.what))
		}
	}
	if len(counts) == 0 {
		counts = []string{"none ran"}
	}
	for _, problem := range e.Errors {
		t.mark(red, fmt.Sprintf("%-6s ", "test"), problem)
	}
	for _, change := range []struct {
		code, what string
		tests      []string
	}{{green, "passes again", e.Ceased}, {red, "fails now", e.Began}} {
		for _, name := range change.tests {
			t.sayIn(change.code, "test", "%s: %s", change.what, name)
		}
	}
	text := fmt.Sprintf("%s: %s, after %s", e.Status, strings.Join(counts, ", "), seconds(e.Elapsed))
	if e.Compared && len(e.Began)+len(e.Ceased) == 0 {
		text += "; as in the turn before"
	}
	if code := statusColor(e.Status); code == red {
		t.mark(red, fmt.Sprintf("%-6s ", "tests"), text)
	} else {
		t.sayIn(code, "tests", "%s", text)
	}
}
