// SPDX-License-Identifier: GPL-3.0-only

package ktap

import (
	"fmt"
	"strings"
	"time"
)

// A Status is the result of a test.
type Status int

// The statuses of tests. All but NoKTAP are those of kunit_parser.py.
const (
	Crashed Status = iota // it began, and its result never came
	Passed
	Failed
	Skipped // also a failure that was expected: TODO, XFAIL
	NoTests // a group without any test
	NoKTAP  // of the whole output: it has no results
)

var statusNames = [...]string{Crashed: "crashed", Passed: "passed", Failed: "failed", Skipped: "skipped", NoTests: "no-tests", NoKTAP: "no-ktap"}

// String returns the status as reports have it.
func (s Status) String() string { return statusNames[s] }

// Good says whether a test with this status didn't fail, as kunit_parser.py counts.
func (s Status) Good() bool { return s == Passed || s == Skipped || s == NoTests }

// A Test is a test case, or a group of tests, or all of an output.
type Test struct {
	Name      string
	Number    int    // that its result line has; 0: it has none
	Status    Status // of a group as it says itself; of the whole output that of its tests
	Directive string // of its result line: SKIP, TODO, XFAIL, TIMEOUT …; may be empty
	Reason    string // what stands behind that

	Group   bool    // it was announced as a group of tests
	Plan    int     // how many tests the group announced; -1: it didn't say
	Missing int     // how many of these never began
	Tests   []*Test // of the group, in their order

	Log    []string // what was printed since the previous result, or its end
	Errors []string // what is wrong with the output itself, here
	Counts Counts   // of the group's tests and of those below them

	Elapsed time.Duration // by the kernel's clock where lines have its time stamps
}

// Counts count test cases: tests that aren't groups of others.
type Counts struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Crashed int `json:"crashed"`
	Skipped int `json:"skipped"`
	Errors  int `json:"errors"` // in the output
}

// Total is the number of test cases.
func (c Counts) Total() int { return c.Passed + c.Failed + c.Crashed + c.Skipped }

// String lists the counts that aren't zero.
func (c Counts) String() string {
	var parts []string
	for _, n := range []struct {
		n    int
		what string
	}{{c.Passed, "passed"}, {c.Failed, "failed"}, {c.Crashed, "crashed"}, {c.Skipped, "skipped"}} {
		if n.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.n, n.what))
		}
	}
	if c.Errors > 0 {
		parts = append(parts, fmt.Sprintf("%d errors in the output", c.Errors))
	}
	if len(parts) == 0 {
		return "no tests"
	}
	return strings.Join(parts, ", ")
}

func (c *Counts) add(o Counts) {
	c.Passed += o.Passed
	c.Failed += o.Failed
	c.Crashed += o.Crashed
	c.Skipped += o.Skipped
	c.Errors += o.Errors
}

func (c *Counts) count(s Status) {
	switch s {
	case Passed:
		c.Passed++
	case Failed:
		c.Failed++
	case Skipped:
		c.Skipped++
	case Crashed:
		c.Crashed++
	}
}

// status is what the counts come to.
func (c Counts) status() Status {
	switch {
	case c.Total() == 0:
		return NoTests
	case c.Crashed > 0:
		return Crashed
	case c.Failed > 0:
		return Failed
	case c.Passed > 0:
		return Passed
	}
	return Skipped
}

// Single is the result of a single test, such as of a command that doesn't print KTAP.
func Single(t Test) *Test {
	t.Counts.count(t.Status)
	all := &Test{Status: t.Status, Group: true, Plan: 1, Tests: []*Test{&t}, Counts: t.Counts, Elapsed: t.Elapsed}
	return all
}

// Fail adds a test that has failed to a whole output.
func (t *Test) Fail(name string, log []string) {
	failed := &Test{Name: name, Status: Failed, Log: log, Counts: Counts{Failed: 1}}
	t.Tests = append(t.Tests, failed)
	t.Counts.add(failed.Counts)
	if t.Plan >= 0 {
		t.Plan++
	}
	if t.Status.Good() || t.Status == NoKTAP {
		t.Status = Failed
	}
}

// Walk calls f for each test below t, a group before its tests. The path has the names
// of the groups that a test is in, and its own.
func (t *Test) Walk(f func(path []string, t *Test)) { t.walk(nil, f) }

func (t *Test) walk(path []string, f func([]string, *Test)) {
	for _, sub := range t.Tests {
		own := append(path[:len(path):len(path)], sub.Name)
		f(own, sub)
		sub.walk(own, f)
	}
}
