// SPDX-License-Identifier: GPL-3.0-only

package ktap

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// The lines that have a meaning; compare kunit_parser.py.
var (
	versionLine = pattern.New(`^(KTAP|TAP) version ([0-9]+)$`)
	planLine    = pattern.New(`^1\.\.([0-9]+)(.*)`)
	resultLine  = pattern.New(`^(ok|not ok) ([0-9]+)(?: (?:- |-$)?(.*))?$`)
	// bareLine is a result without a number, as TAP allows it and KTAP doesn't. A
	// description has a dash before it then: other texts begin with "ok", too.
	bareLine  = pattern.New(`^(ok|not ok)(?: - (.*)| (#(?: .*)?))?$`)
	beginning = pattern.New(`(KTAP|TAP) version [0-9]+$`)
	// consolePrefix is what printk puts before a message: level, time, and the task
	// or processor that printed it.
	consolePrefix = pattern.New(`^(?:<\d+>)?(?:\[ *(\d+\.\d+)\](?:\[ *[TC]\d+\])?|\[ *[TC]\d+\]) ?`)
)

// bailOut begins the line by which a test program of TAP gives up.
const bailOut = "Bail out!"

// executor begins what KUnit says when it can't run tests.
const executor = "kunit executor: "

// ends are what the kernel prints after the tests.
var ends = []string{"List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System halted"}

// cutPrefix splits what printk puts before a message, and its time stamp, off.
func cutPrefix(text string) (prefix, stamp, message string) {
	if text == "" || text[0] != '[' && text[0] != '<' {
		return "", "", text
	}
	m := consolePrefix.FindStringSubmatch(text)
	if m == nil {
		return "", "", text
	}
	return m[0], m[1], text[len(m[0]):]
}

func isEnd(message string) bool {
	message = strings.TrimLeft(message, " \t")
	return slices.ContainsFunc(ends, func(end string) bool { return strings.HasPrefix(message, end) })
}

// What a line means.
type kind int

const (
	diagnostic kind = iota
	version
	subtest
	plan
	result
)

// A line of output, without what was put before it.
type line struct {
	text   string
	kind   kind
	indent int       // columns
	at     time.Time // when it was printed; zero: unknown
	number int       // of a version, a plan or a result; -1: a result without one
	name   string    // of a subtest or a result; of a version, if the runner has told it
	tap    bool      // of a version: TAP, not KTAP
	inTest bool      // of a version: it begins what a selftest's program prints, behind "# "
	ok     bool      // of a result

	directive, reason string
}

// newLine says what a text means.
func newLine(text string, at time.Time) line {
	l := line{text: text, at: at, indent: columns(text)}
	// Most lines mean nothing, which their first letter tells sooner than a pattern.
	switch body := strings.TrimLeft(text, " \t"); {
	case body == "":
	case body[0] == 'K' || body[0] == 'T':
		if m := versionLine.FindStringSubmatch(body); m != nil {
			l.kind, l.tap, l.number = version, m[1] == "TAP", number(m[2])
		}
	case body[0] == '#':
		if name, found := strings.CutPrefix(body, "# Subtest: "); found {
			l.kind, l.name = subtest, name
		}
	case body[0] == 'o' || body[0] == 'n':
		if m := resultLine.FindStringSubmatch(body); m != nil {
			l.result(m[1], number(m[2]), m[3])
		}
	case body[0] == '1':
		if m := planLine.FindStringSubmatch(body); m != nil {
			l.kind, l.number = plan, number(m[1])
			_, l.directive, l.reason = cutDirective(m[2])
		}
	}
	return l
}

// result makes the line a test's result.
func (l *line) result(word string, n int, text string) {
	l.kind, l.ok, l.number = result, word == "ok", n
	l.name, l.directive, l.reason = cutDirective(text)
	if l.name == "" {
		// Helpers of the selftests have the directive before the name.
		l.name, l.reason = l.reason, ""
	}
}

// maxNumber is the greatest number that is taken at its word.
const maxNumber = 1 << 30

func number(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil || n > maxNumber {
		return maxNumber
	}
	return n
}

// cutDirective splits what follows the number of a result. The mark of a directive may
// be quoted with a backslash in a name, as TAP 14 has it.
func cutDirective(text string) (name, directive, reason string) {
	at := -1
	for i := range len(text) {
		if text[i] == '#' && (i == 0 || text[i-1] == ' ') && (i+1 == len(text) || text[i+1] == ' ') {
			at = i
			break
		}
	}
	if at < 0 {
		return text, "", ""
	}
	name = strings.TrimSuffix(text[:at], " ")
	comment := strings.TrimSpace(text[at+1:])
	directive, reason, _ = strings.Cut(comment, " ")
	directive = strings.ToUpper(strings.TrimSuffix(directive, ":"))
	if strings.HasPrefix(directive, skip) {
		directive = skip
	}
	switch directive {
	case skip, todo, xfail, timeout, "XPASS", "ERROR":
		return name, directive, strings.TrimSpace(reason)
	}
	return name, "", comment
}

// Directives of result lines. TAP has SKIP and TODO, the selftests the others; see
// tools/testing/selftests/kselftest.h and kselftest/runner.sh.
const (
	skip    = "SKIP"
	todo    = "TODO"
	xfail   = "XFAIL"
	timeout = "TIMEOUT"
)

func columns(text string) int {
	n := 0
	for _, c := range text {
		switch c {
		case ' ':
			n++
		case '\t':
			n += 8 - n%8
		default:
			return n
		}
	}
	return 0 // a blank line
}

// An isolator finds the lines of results in an output, and drops what is before them.
type isolator struct {
	comments bool // read what stands behind "# " too

	started   bool
	ended     bool
	prefix    int    // bytes before the first line's KTAP
	printk    bool   // and these are of printk
	commented int    // how many "# " are before each line now
	title     string // of the selftest whose output comes; empty: unknown
	tap       bool   // the last version line was TAP's, not KTAP's
	bail      string // the line by which the whole output ends early; empty: none
}

// next returns the line that a text of the output is; false: none.
func (s *isolator) next(text string, now time.Time) (line, bool) {
	text = strings.TrimRight(text, " \t\r\n\v\f")
	if s.ended {
		return line{}, false
	}
	prefix, stamp, message := cutPrefix(text)
	switch {
	case s.started && isEnd(message):
		s.ended = true
		return line{}, false
	case s.started:
	case strings.Contains(text, " version "):
		m := beginning.FindStringSubmatch(text)
		if m == nil {
			return line{}, false
		}
		s.started = true
		s.prefix = strings.LastIndex(text, m[1]+" version")
		s.printk = prefix != "" && strings.TrimSpace(text[len(prefix):s.prefix]) == ""
		if s.printk {
			s.prefix -= len(prefix)
		}
	case strings.Contains(text, executor):
		return line{text: message}, true
	default:
		return line{}, false
	}
	if s.printk {
		if prefix == "" {
			return line{text: text}, true // a program wrote it between
		}
		text = message
		if stamp != "" {
			if seconds, err := strconv.ParseFloat(stamp, 64); err == nil {
				now = time.UnixMicro(int64(seconds * 1e6))
			}
		}
	}
	text = text[min(s.prefix, len(text)):]
	if s.comments {
		return s.uncomment(text, now), true
	}
	return s.line(text, now), true
}

// line says what a text means after those before it.
func (s *isolator) line(text string, at time.Time) line {
	l := newLine(text, at)
	body := strings.TrimLeft(text, " \t")
	switch {
	case l.kind == version:
		s.tap = l.tap
	case l.kind != diagnostic || !s.tap:
	case strings.HasPrefix(body, bailOut):
		// A selftest's own is no matter of the others: the runner says how it ended.
		if s.commented == 0 {
			s.bail = cmp.Or(s.bail, body)
		}
	default:
		if m := bareLine.FindStringSubmatch(body); m != nil {
			l.result(m[1], -1, m[2]+m[3])
		}
	}
	return l
}

// uncomment replaces each "# " that a selftest's runner has put before the output of
// the test by blanks, once that has begun to speak TAP.
func (s *isolator) uncomment(text string, now time.Time) line {
	rest, depth := text, 0
	for depth < s.commented {
		after, found := cutComment(rest)
		if !found {
			break
		}
		rest, depth = after, depth+1
	}
	title := s.title
	if after, found := cutComment(rest); found && versionLine.MatchString(after) && depth < maxDepth {
		rest, depth = after, depth+1
		s.commented = depth
	} else if found && strings.HasPrefix(after, selftestTitle) {
		s.title = after
	}
	l := s.line(strings.Repeat("  ", depth)+rest, now)
	if l.kind == version || l.kind == result {
		if l.kind == version && depth > 0 {
			l.name = title
			l.inTest = columns(rest) == 0
		}
		s.title = ""
		s.commented = min(s.commented, depth)
	}
	return l
}

// selftestTitle begins the name of a selftest, which the runner prints before the output
// of the test; see run_one in kselftest/runner.sh.
const selftestTitle = "selftests: "

// cutComment takes the mark of a comment off, and keeps what is indented before it.
func cutComment(text string) (string, bool) {
	body := strings.TrimLeft(text, " \t")
	after, found := strings.CutPrefix(body, "#")
	if !found || after != "" && after[0] != ' ' {
		return text, false
	}
	return text[:len(text)-len(body)] + strings.TrimPrefix(after, " "), true
}
