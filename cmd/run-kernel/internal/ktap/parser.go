// SPDX-License-Identifier: GPL-3.0-only

package ktap

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/metaspace/run-kernel/internal/ansi"
)

// Limits of what is kept of an output. Tests beyond them are only counted.
const (
	MaxTests = 100_000  // in a tree
	MaxLine  = 4096     // bytes of a line
	MaxLog   = 200      // lines of a test's log; the last ones are kept
	MaxText  = 32 << 20 // bytes of all names and logs together
	maxDepth = 16       // of groups in groups
)

// Options say how an output is read.
type Options struct {
	// Comments has what stands behind "# " read too, once a version line does: the
	// runner of the selftests puts that before what a test prints.
	Comments bool
	// Started is called when a group of tests begins, Finished when the result of a test
	// or a group is there. The path has the names of the groups that it is in and its
	// own. They are called while Write or Close is. Both may be nil.
	Started, Finished func(path []string, t *Test)
	// Now tells when a line was printed that has no time stamp; nil: time.Now.
	Now func() time.Time
}

// Parse reads an output to its end.
func Parse(r io.Reader, o Options) (*Test, error) {
	p := NewParser(o)
	_, err := io.Copy(p, r)
	return p.Close(), err
}

// A Parser reads an output while it is written to it. It must be closed.
type Parser struct {
	partial []byte
	eof     bool
	resume  func() (struct{}, bool) // reads on, until it takes another line or has ended
	root    *Test
}

// NewParser returns a parser.
func NewParser(o Options) *Parser {
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Parser{}
	p.resume, _ = iter.Pull(func(yield func(struct{}) bool) {
		in := &input{now: o.Now, isolator: isolator{comments: o.Comments}}
		in.take = func() ([]byte, bool) {
			if !p.eof {
				yield(struct{}{})
			}
			return p.partial, !p.eof
		}
		p.root = (&reading{Options: o, in: in}).all()
	})
	p.resume() // to where it takes the first line
	return p
}

// Write takes the next part of the output, and returns once what it ends is read. It
// doesn't fail.
func (p *Parser) Write(data []byte) (int, error) {
	n := len(data)
	for {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			p.hold(data)
			return n, nil
		}
		p.hold(data[:i])
		p.resume()
		p.partial = p.partial[:0]
		data = data[i+1:]
	}
}

// hold keeps a part of a line.
func (p *Parser) hold(data []byte) {
	p.partial = append(p.partial, data[:min(len(data), MaxLine-len(p.partial))]...)
}

// Close ends the output and returns all that was in it. It may be called again.
func (p *Parser) Close() *Test {
	if !p.eof {
		if len(p.partial) > 0 {
			p.resume()
			p.partial = nil
		}
		p.eof = true
		p.resume()
	}
	return p.root
}

// input gives one line after the other, with a look at the next.
type input struct {
	isolator
	take  func() ([]byte, bool) // the next line; false: there is none
	now   func() time.Time
	ahead *line
	last  time.Time // that of the last line
	eof   bool
}

// peek returns the next line; nil: there is none.
func (in *input) peek() *line {
	for in.ahead == nil && !in.eof {
		data, ok := in.take()
		if !ok {
			in.eof = true
			break
		}
		if l, ok := in.next(clean(data), in.now()); ok {
			if l.at.IsZero() {
				l.at = in.last
			}
			in.ahead, in.last = &l, l.at
		}
		in.eof = in.ended
	}
	return in.ahead
}

// clean is a line without what would do something to a terminal or an XML file.
func clean(data []byte) string {
	text := strings.ToValidUTF8(string(data), string(utf8.RuneError))
	return ansi.Strip(strings.TrimRight(text, "\r"))
}

func (in *input) pop() line {
	l := *in.peek()
	in.ahead = nil
	return l
}

// diagnostics takes the lines before the next that means something.
func (in *input) diagnostics(log []string) []string {
	for l := in.peek(); l != nil && l.kind == diagnostic; l = in.peek() {
		log = append(log, in.pop().text)
		if len(log) > 2*MaxLog {
			log = append(log[:0], log[len(log)-MaxLog:]...)
		}
	}
	return log
}

// reading is the way through one output.
type reading struct {
	Options
	in   *input
	kept int // tests
	text int // bytes of names and logs
	mark time.Time
}

// all reads a whole output.
func (r *reading) all() *Test {
	if r.in.peek() == nil {
		return &Test{
			Status: NoKTAP, Plan: -1, Group: true,
			Errors: []string{"there is no KTAP in the output"}, Counts: Counts{Errors: 1},
		}
	}
	root, last := r.document()
	for {
		log := r.in.diagnostics(nil)
		next := r.in.peek()
		if next == nil {
			break
		}
		switch next.kind {
		case version: // Another program may have begun another one.
		case result:
			r.surplus(root, last, log)
			continue
		default:
			r.in.pop()
			continue
		}
		var more *Test
		more, last = r.document()
		root.Tests = append(root.Tests, more.Tests...)
		root.Errors = append(root.Errors, more.Errors...)
		root.Missing += more.Missing
		root.Elapsed += more.Elapsed
		root.Counts.add(more.Counts)
		if root.Plan >= 0 && more.Plan >= 0 {
			root.Plan += more.Plan
		}
		if more.Status != NoTests {
			root.Status = more.Status
		}
	}
	if r.in.bail != "" {
		const name = "(bail out)"
		root.Fail(name, []string{r.in.bail})
		if r.Finished != nil {
			r.Finished([]string{name}, root.Tests[len(root.Tests)-1])
		}
	}
	if s := root.Counts.status(); s != NoTests {
		root.Status = s
		if s.Good() {
			root.Status = ownFailure(root, s)
		}
	}
	return root
}

// ownFailure returns the status of a group that says that it failed, or whose end never
// came, though none of its tests failed; good, where there is none.
func ownFailure(t *Test, good Status) Status {
	for _, sub := range t.Tests {
		if !sub.Status.Good() {
			return sub.Status
		}
		if s := ownFailure(sub, good); !s.Good() {
			return s
		}
	}
	return good
}

// surplus reads a test after all that the last document has planned.
func (r *reading) surplus(root *Test, last *level, log []string) {
	if last.tests == last.test.Plan {
		root.wrong("more tests than the %d that were planned", last.test.Plan)
	}
	last.tests++
	sub := r.test(last, log)
	root.Counts.add(sub.Counts)
	if r.kept < MaxTests {
		r.kept++
		root.Tests = append(root.Tests, sub)
	}
}

// document reads from a version line on, or the errors that come in place of one. It
// returns its top level as well.
func (r *reading) document() (*Test, *level) {
	t := &Test{Plan: -1, Group: true}
	l := &level{test: t}
	r.keepLog(t, r.in.diagnostics(nil))
	began := r.in.last
	r.mark = began
	r.version(t)
	r.keepLog(t, r.in.diagnostics(t.Log))
	r.plan(t)
	r.group(l)
	switch {
	case l.tests > 0 || t.Missing > 0:
	case t.Directive == skip:
		t.Status = Skipped
	default:
		t.Status = NoTests
		t.wrong("no test was run")
	}
	r.finish(t, l)
	t.Elapsed = max(r.in.last.Sub(began), 0)
	return t, l
}

// A level is a group of tests that is being read.
type level struct {
	test   *Test
	path   []string
	parent *level
	indent int // of its first line
	tests  int // how many have been read
	nested bool
	deeper bool // it is indented more than its parent, so that indentation tells its end

	inTest  bool // of its version line
	before  int  // how many of the tests are of other programs of the same selftest
	planned int  // how many tests those announced
}

// goesOn says whether a line begins the output of one more program that a selftest runs.
func (l *level) goesOn(next *line) bool {
	return l.inTest && next.inTest && next.indent == l.indent && next.name == ""
}

// sum notes what is missing of what a program announced.
func (l *level) sum() {
	t, n := l.test, l.tests-l.before
	if missing := t.Plan - n; missing > 0 {
		t.Missing += missing
		t.Counts.Crashed += missing
		t.Counts.Errors += missing
		t.note("%d of %d tests never came", missing, t.Plan)
	} else if t.Plan >= 0 && n > t.Plan {
		t.wrong("%d tests where %d were planned", n, t.Plan)
	}
}

// next begins with one more program's tests.
func (l *level) next() {
	l.sum()
	l.planned += max(l.test.Plan, l.tests-l.before)
	l.before, l.test.Plan = l.tests, -1
}

// over says whether a line belongs to what the level is in.
func (l *level) over(next *line) bool {
	if !l.nested {
		return next.kind == version && next.indent == 0 && l.tests > 0
	}
	switch next.kind {
	case result:
		if l.deeper {
			return next.indent < l.indent
		}
		return next.name == l.test.Name && l.test.Name != ""
	case version, subtest, plan:
		if l.goesOn(next) {
			return false
		}
		// The header of a test is indented as its tests are.
		return l.deeper && (next.indent < l.indent || next.kind != plan && next.indent == l.indent)
	}
	return false
}

func (r *reading) version(t *Test) bool {
	l := r.in.peek()
	if l == nil || l.kind != version {
		return false
	}
	v := r.in.pop()
	r.name(t, v.name)
	switch {
	case v.tap && (v.number < 13 || v.number > 14):
		t.wrong("TAP version %d: 13 and 14 are known", v.number)
	case !v.tap && v.number != 1:
		t.wrong("KTAP version %d: 1 is known", v.number)
	}
	return true
}

func (r *reading) plan(t *Test) {
	if l := r.in.peek(); l != nil && l.kind == plan {
		r.in.pop()
		t.Plan = l.number
		if l.number == 0 {
			t.Directive, t.Reason = l.directive, l.reason // all of them are skipped
		}
	}
}

// wrong notes an error in the output.
func (t *Test) wrong(format string, args ...any) {
	t.Counts.Errors++
	t.note(format, args...)
}

func (t *Test) note(format string, args ...any) {
	if len(t.Errors) < 10 {
		t.Errors = append(t.Errors, fmt.Sprintf(format, args...))
	}
}

// group reads the tests of a group.
func (r *reading) group(l *level) {
	t := l.test
	for {
		full := t.Plan >= 0 && l.tests-l.before >= t.Plan
		if full && !l.deeper {
			break
		}
		log := r.in.diagnostics(nil)
		next := r.in.peek()
		if next == nil || l.over(next) || full && next.kind != result && !l.goesOn(next) {
			r.keepLog(t, append(t.Log, log...))
			break
		}
		if l.goesOn(next) {
			r.in.pop()
			r.keepLog(t, append(t.Log, log...))
			l.next()
			continue
		}
		if next.kind == plan {
			r.in.pop()
			r.keepLog(t, append(t.Log, log...))
			if t.Plan >= 0 || next.indent > l.indent && l.deeper {
				t.wrong("a plan in the middle of the tests")
				continue
			}
			// TAP's may come last.
			t.Plan = next.number
			continue
		}
		l.tests++
		sub := r.test(l, log)
		t.Counts.add(sub.Counts)
		if r.kept < MaxTests {
			r.kept++
			t.Tests = append(t.Tests, sub)
		} else if r.kept == MaxTests {
			r.kept++
			t.note("only the first %d tests are listed", MaxTests)
		}
	}
	l.sum()
	if l.before > 0 && t.Plan >= 0 {
		t.Plan += l.planned
	}
}

// test reads a test or a group of them, and its result.
func (r *reading) test(parent *level, log []string) *Test {
	t := &Test{Plan: 0}
	r.keepLog(t, log)
	began := r.mark
	first := r.in.peek()
	l := &level{test: t, parent: parent, indent: first.indent, nested: true, path: append(parent.path[:len(parent.path):len(parent.path)], "")}
	l.inTest = first.inTest
	l.deeper = first.indent > parent.indent || !parent.nested && first.indent > 0
	if len(l.path) <= maxDepth {
		t.Group = r.version(t)
		// Between them, a module may say that it was loaded.
		if next := r.in.peek(); next != nil && next.kind == subtest {
			r.name(t, r.in.pop().name)
			t.Group = true
		}
	} else if first.kind != result {
		r.in.pop()
		t.wrong("tests nested more than %d deep", maxDepth)
	}
	if t.Group {
		t.Plan = -1
		began = first.at
		r.mark = began
		r.keepLog(t, r.in.diagnostics(t.Log))
		// KTAP has the name before the plan.
		if next := r.in.peek(); next != nil && next.kind == subtest && t.Name == "" {
			r.name(t, r.in.pop().name)
			r.keepLog(t, r.in.diagnostics(t.Log))
		}
		if next := r.in.peek(); next != nil && !l.over(next) {
			r.plan(t)
		}
		l.path[len(l.path)-1] = t.Name
		if r.Started != nil {
			r.Started(l.path, t)
		}
		r.group(l)
		r.keepLog(t, r.in.diagnostics(t.Log))
	}
	r.result(t, l)
	if t.Group && l.tests == 0 && t.Missing == 0 && (t.Status == Crashed || t.Status == Passed) {
		t.Status = NoTests
		t.wrong("the group has no tests")
	}
	r.mark = r.in.last
	t.Elapsed = max(r.in.last.Sub(began), 0)
	r.finish(t, l)
	return t
}

// result reads the line that says how a test ended.
func (r *reading) result(t *Test, l *level) {
	next := r.in.peek()
	switch {
	case next == nil || next.kind != result,
		t.Name != "" && next.name != t.Name,
		l.parent.deeper && next.indent < l.parent.indent:
		t.wrong("the result is missing")
		return
	}
	v := r.in.pop()
	r.name(t, v.name)
	t.Number, t.Directive, t.Reason = max(v.number, 0), v.directive, v.reason
	if want := l.parent.tests - l.parent.before; v.number >= 0 && v.number != want {
		t.wrong("test number %d, where %d was expected", v.number, want)
	}
	switch {
	case v.directive == skip, !v.ok && (v.directive == todo || v.directive == xfail):
		t.Status = Skipped
	case v.ok:
		t.Status = Passed
	default:
		t.Status = Failed
	}
}

// finish sums up a test that has been read.
func (r *reading) finish(t *Test, l *level) {
	switch {
	case t.Counts.Total() == 0:
		t.Counts.count(t.Status)
	case t.Counts.status() == Crashed:
		t.Status = Crashed
	}
	if l.nested && r.Finished != nil {
		l.path[len(l.path)-1] = t.Name
		r.Finished(l.path, t)
	}
}

func (r *reading) name(t *Test, name string) {
	if r.text+len(name) <= MaxText {
		r.text += len(name) - len(t.Name)
		t.Name = name
	}
}

// keepLog makes lines the log of a test.
func (r *reading) keepLog(t *Test, lines []string) {
	for _, l := range t.Log {
		r.text -= len(l)
	}
	lines = lines[max(0, len(lines)-MaxLog):]
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	if r.text+size > MaxText {
		lines, size = nil, 0
	}
	r.text += size
	t.Log = lines
}
