// SPDX-License-Identifier: GPL-3.0-only

package ktap

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/ansi"
)

// WriteKTAP writes the results as KTAP, each log before the result that it belongs to.
func (t *Test) WriteKTAP(w io.Writer) error {
	var b bytes.Buffer
	t.ktap(&b, "")
	_, err := w.Write(b.Bytes())
	return err
}

func (t *Test) ktap(b *bytes.Buffer, indent string) {
	fmt.Fprintf(b, "%sKTAP version 1\n", indent)
	if indent != "" && t.Name != "" {
		fmt.Fprintf(b, "%s# Subtest: %s\n", indent, oneLine(t.Name))
	}
	fmt.Fprintf(b, "%s1..%d", indent, len(t.Tests)+t.Missing)
	if t.skipsAll() {
		fmt.Fprintf(b, " # %s", oneLine(t.annotation()))
	}
	b.WriteByte('\n')
	for i, sub := range t.Tests {
		if sub.Group {
			sub.ktap(b, indent+"    ")
		}
		for _, text := range sub.Log {
			for l := range strings.SplitSeq(ansi.Strip(text), "\n") {
				fmt.Fprintf(b, "%s# %s\n", indent, strings.TrimPrefix(strings.TrimSpace(l), "# "))
			}
		}
		word := "ok"
		if !sub.Status.Good() || sub.Directive == todo || sub.Directive == xfail {
			word = "not ok"
		}
		fmt.Fprintf(b, "%s%s %d %s", indent, word, i+1, quoteMarks(oneLine(sub.Name)))
		if note := sub.annotation(); note != "" {
			fmt.Fprintf(b, " # %s", oneLine(note))
		}
		b.WriteByte('\n')
	}
}

// skipsAll says whether a whole output says that all of its tests are skipped.
func (t *Test) skipsAll() bool { return t.Status == Skipped && len(t.Tests) == 0 && t.Missing == 0 }

// annotation is what stands behind the result of a test.
func (t *Test) annotation() string {
	note := strings.TrimSpace(t.Directive + " " + t.Reason)
	if note == "" && (t.Status == Crashed || t.Status == NoTests) {
		note = t.Status.String()
	}
	return note
}

// oneLine makes a text fit for a line of KTAP: a command has several, and so has the
// reason why it failed.
func oneLine(text string) string { return strings.ReplaceAll(ansi.Strip(text), "\n", " ") }

// quoteMarks keeps a name from being taken for a directive, as TAP 14 has it.
func quoteMarks(name string) string {
	words := strings.Split(name, " ")
	for i, word := range words {
		if word == "#" {
			words[i] = `\#`
		}
	}
	return strings.Join(words, " ")
}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr,omitempty"`
	Cases     []junitCase `xml:"testcase"`
	SystemErr *junitText  `xml:"system-err"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	Class     string        `xml:"classname,attr"`
	Time      string        `xml:"time,attr"`
	File      string        `xml:"file,attr,omitempty"`
	Line      int           `xml:"line,attr,omitempty"`
	Skipped   *junitProblem `xml:"skipped"`
	Failure   *junitProblem `xml:"failure"`
	Error     *junitProblem `xml:"error"`
	SystemOut *junitText    `xml:"system-out"`
}

type junitProblem struct {
	Message string `xml:"message,attr,omitempty"`
	Text    string `xml:",chardata"`
}

type junitText struct {
	Text string `xml:",chardata"`
}

func junitTime(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// xmlText drops what XML can't have, which encoding/xml would write as U+FFFD.
func xmlText(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
}

// WriteJUnit writes the results as JUnit XML: a testsuite for each group that has test
// cases itself. A test that crashed, or never came, is an error.
func (t *Test) WriteJUnit(w io.Writer, name string, at time.Time) error {
	all := junitSuites{Name: name, Time: junitTime(t.Elapsed)}
	t.suites(&all, nil, name)
	for i := range all.Suites {
		s := &all.Suites[i]
		if !at.IsZero() {
			s.Timestamp = at.UTC().Format("2006-01-02T15:04:05")
		}
		s.count()
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Skipped += s.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *junitSuite) count() {
	s.Tests = len(s.Cases)
	for _, c := range s.Cases {
		switch {
		case c.Error != nil:
			s.Errors++
		case c.Failure != nil:
			s.Failures++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
}

func (t *Test) suites(all *junitSuites, path []string, root string) {
	name := strings.Join(path, ".")
	if name == "" {
		name = root
	}
	s := junitSuite{Name: xmlText(name), Time: junitTime(t.Elapsed)}
	var groups []*Test
	for _, sub := range t.Tests {
		if sub.Group && len(sub.Tests) > 0 {
			groups = append(groups, sub)
			continue
		}
		s.Cases = append(s.Cases, sub.junitCase(s.Name))
	}
	if t.Missing > 0 {
		s.Cases = append(s.Cases, junitCase{
			Name: "(missing)", Class: s.Name, Time: junitTime(0),
			Error: &junitProblem{Message: fmt.Sprintf("%d of %d tests never came", t.Missing, t.Plan), Text: xmlText(strings.Join(t.Log, "\n"))},
		})
	}
	if t.Status == Failed && len(path) > 0 && !t.below() {
		s.Cases = append(s.Cases, junitCase{
			Name: "(the group itself)", Class: s.Name, Time: junitTime(0),
			Failure: &junitProblem{Message: "not ok, though none of its tests failed", Text: xmlText(strings.Join(t.Log, "\n"))},
		})
	}
	if t.Status == Crashed && len(path) > 0 && t.Missing == 0 && !t.below() {
		s.Cases = append(s.Cases, junitCase{
			Name: "(the group itself)", Class: s.Name, Time: junitTime(0),
			Error: &junitProblem{Message: "its result never came", Text: xmlText(strings.Join(t.Log, "\n"))},
		})
	}
	if t.Status == NoKTAP || t.Status == NoTests && len(path) == 0 {
		s.Cases = append(s.Cases, junitCase{
			Name: "(none)", Class: s.Name, Time: junitTime(0), Error: &junitProblem{Message: xmlText(strings.Join(t.Errors, "; "))},
		})
	}
	if len(path) == 0 && t.skipsAll() {
		s.Cases = append(s.Cases, junitCase{Name: "(all)", Class: s.Name, Time: junitTime(0), Skipped: &junitProblem{Message: xmlText(t.annotation())}})
	}
	if len(t.Errors) > 0 {
		s.SystemErr = &junitText{xmlText(strings.Join(t.Errors, "\n"))}
	}
	if len(s.Cases) > 0 {
		all.Suites = append(all.Suites, s)
	}
	for _, g := range groups {
		g.suites(all, append(path[:len(path):len(path)], g.Name), root)
	}
}

func (t *Test) junitCase(class string) junitCase {
	c := junitCase{Name: xmlText(t.Name), Class: class, Time: junitTime(t.Elapsed)}
	log := xmlText(strings.Join(t.Log, "\n"))
	message := xmlText(t.annotation())
	switch t.Status {
	case Passed:
	case Skipped, NoTests:
		c.Skipped = &junitProblem{Message: message}
	case Failed:
		c.File, c.Line = t.Where()
		c.Failure = &junitProblem{Message: message, Text: log}
		return c
	default:
		c.File, c.Line = t.Where()
		c.Error = &junitProblem{Message: message, Text: log}
		return c
	}
	if log != "" {
		c.SystemOut = &junitText{log}
	}
	return c
}

// WriteGitHub writes an annotation for each failing test, as GitHub's runner reads them;
// see "Workflow commands for GitHub Actions" in its documentation.
func (t *Test) WriteGitHub(w io.Writer) error {
	var b bytes.Buffer
	t.Walk(func(path []string, t *Test) {
		if t.Status.Good() || len(t.Tests) > 0 && t.below() {
			return
		}
		var properties []string
		if file, line := t.Where(); file != "" {
			properties = append(properties, "file="+githubProperty(file), fmt.Sprintf("line=%d", line))
		}
		properties = append(properties, "title="+githubProperty(strings.Join(path, ".")))
		message := t.Status.String()
		if note := t.annotation(); note != "" && note != message {
			message += " (" + note + ")"
		}
		for _, l := range t.Log[max(0, len(t.Log)-20):] {
			message += "\n" + l
		}
		fmt.Fprintf(&b, "::error %s::%s\n", strings.Join(properties, ","), githubData(message))
	})
	if t.Missing > 0 || t.Status == NoKTAP || t.Status == NoTests {
		fmt.Fprintf(&b, "::error title=%s::%s\n", t.Status, githubData(strings.Join(t.Errors, "\n")))
	}
	_, err := w.Write(b.Bytes())
	return err
}

var (
	githubEscapes         = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubPropertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func githubData(text string) string     { return githubEscapes.Replace(text) }
func githubProperty(text string) string { return githubPropertyEscapes.Replace(text) }
