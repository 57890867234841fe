// SPDX-License-Identifier: GPL-3.0-only

package ktap

import (
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
)

// Tell has events tell of each test.
func (o Options) Tell(events event.Sink) Options {
	o.Started = func(path []string, t *Test) {
		events.Emit(event.TestStarted{Path: clonePath(path), Plan: t.Plan})
	}
	o.Finished = func(path []string, t *Test) { events.Emit(t.event(path)) }
	return o
}

// Tell has events tell of a whole output again, which has been read.
func (t *Test) Tell(events event.Sink) {
	t.tell(nil, Options{}.Tell(events))
	events.Emit(t.Summary(t.Elapsed))
}

func (t *Test) tell(path []string, o Options) {
	for _, sub := range t.Tests {
		own := append(path[:len(path):len(path)], sub.Name)
		if sub.Group {
			o.Started(own, sub)
			sub.tell(own, o)
		}
		o.Finished(own, sub)
	}
}

func clonePath(path []string) []string { return append([]string(nil), path...) }

func (t *Test) event(path []string) event.TestFinished {
	e := event.TestFinished{
		Path: clonePath(path), Group: t.Group, Status: t.Status.String(), Directive: t.Directive, Reason: t.Reason,
		Elapsed: t.Elapsed, Missing: t.Missing, Errors: t.Errors, Log: t.Log,
	}
	if !t.Status.Good() {
		e.File, e.Line = t.Where()
	}
	return e
}

// Summary is the event that sums up a whole output.
func (t *Test) Summary(elapsed time.Duration) event.TestsFinished {
	c := t.Counts
	return event.TestsFinished{
		Status: t.Status.String(), Passed: c.Passed, Failed: c.Failed, Crashed: c.Crashed, Skipped: c.Skipped,
		Elapsed: elapsed, Errors: t.Errors,
	}
}

// place is how tests say where a check failed: those of KUnit "EXPECTATION FAILED at
// lib/list-test.c:30", those of the selftests "# file.c:30:test:Expected …".
var place = pattern.New(`(?:^|[\s(])([\w./+-]+\.(?:[chS]|rs|py|sh)):(\d+)\b`)

// Where returns the first place in a source file that the test's log names; an empty
// one without any. KUnit's is relative to the source tree.
func (t *Test) Where() (file string, line int) {
	for _, l := range t.Log {
		if strings.IndexByte(l, ':') < 0 {
			continue
		}
		if m := place.FindStringSubmatch(l); m != nil {
			return m[1], number(m[2])
		}
	}
	return "", 0
}

// Failing are the paths of the test cases that failed or crashed, joined by dots, and
// those of the groups that did so by themselves.
func (t *Test) Failing() []string {
	var failing []string
	t.Walk(func(path []string, t *Test) {
		if !t.Status.Good() && (len(t.Tests) == 0 || !t.below()) {
			failing = append(failing, strings.Join(path, "."))
		}
	})
	return failing
}

// below says whether a test below t failed.
func (t *Test) below() bool {
	found := false
	t.Walk(func(_ []string, sub *Test) { found = found || !sub.Status.Good() })
	return found
}
