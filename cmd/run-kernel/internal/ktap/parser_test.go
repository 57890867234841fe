// SPDX-License-Identifier: GPL-3.0-only

package ktap

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// outline shows a tree as text.
func outline(t *Test) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", t.Status, t.Counts)
	complain := func(indent string, t *Test) {
		for _, e := range t.Errors {
			fmt.Fprintf(&b, "%s! %s\n", indent, e)
		}
	}
	complain("", t)
	t.Walk(func(path []string, t *Test) {
		indent := strings.Repeat("  ", len(path))
		fmt.Fprintf(&b, "%s%s %s", indent, t.Status, t.Name)
		if t.Directive != "" || t.Reason != "" {
			fmt.Fprintf(&b, " [%s: %s]", t.Directive, t.Reason)
		}
		b.WriteString("\n")
		complain(indent, t)
	})
	return b.String()
}

var parserTests = []struct {
	name     string
	comments bool
	in, want string
}{
	{
		name: "nothing", in: "Linux version 6.1\nInit\n",
		want: "no-ktap: 1 errors in the output\n! there is no KTAP in the output\n",
	},
	{
		name: "no test for the glob", in: "[    1.0] KTAP version 1\n[    1.0] 1..0\n",
		want: "no-tests: 1 errors in the output\n! no test was run\n",
	},
	{
		name: "callers, other CPUs and programs between",
		in: `[    0.5][    T1] KTAP version 1
[    0.5][    T1] 1..1
[    0.5][    T1]     KTAP version 1
[    0.5][    T1]     # Subtest: list
[    0.6][   T17] random: crng init done
[    0.6][    T1]     1..2
[    0.6][    T1]     ok 1 one
ok 2 of a program on the console
[    0.7][    C1]     ok like
[    0.7][    T1]     ok 2 two
[    0.7][    T1] # list: pass:2 fail:0 skip:0 total:2
[    0.8][    T1] ok 1 list
`,
		want: "passed: 2 passed\n  passed list\n    passed one\n    passed two\n",
	},
	{
		name: "all skipped by the plan", in: "TAP version 13\n1..0 # SKIP no such device\n",
		want: "skipped: 1 skipped\n",
	},
	{
		name: "a crash in the middle",
		in: `KTAP version 1
1..2
    KTAP version 1
    # Subtest: list
    1..3
    ok 1 one
BUG: kernel NULL pointer dereference, address: 0000000000000000
`,
		want: `crashed: 1 passed, 3 crashed, 4 errors in the output
! 1 of 2 tests never came
  crashed list
  ! 2 of 3 tests never came
  ! the result is missing
    passed one
`,
	},
	{
		name: "cut within a line", in: "KTAP version 1\n1..2\nok 1 one\nok",
		want: "crashed: 1 passed, 1 crashed, 1 errors in the output\n! 1 of 2 tests never came\n  passed one\n",
	},
	{
		name: "a group that ends early, then another",
		in: `KTAP version 1
1..2
    KTAP version 1
    # Subtest: first
    1..2
    ok 1 one
    KTAP version 1
    # Subtest: second
    1..1
    ok 1 two
ok 2 second
`,
		want: `crashed: 2 passed, 1 crashed, 2 errors in the output
  crashed first
  ! 1 of 2 tests never came
  ! the result is missing
    passed one
  passed second
    passed two
`,
	},
	{
		name: "a test with its group's name",
		in: `KTAP version 1
1..1
    KTAP version 1
    # Subtest: hash
    1..2
    ok 1 hash
    ok 2 other
ok 1 hash
`,
		want: "passed: 2 passed\n  passed hash\n    passed hash\n    passed other\n",
	},
	{
		name: "a group that failed by itself",
		in: `KTAP version 1
1..1
    KTAP version 1
    # Subtest: suite
    1..1
    ok 1 one
not ok 1 suite
`,
		want: "failed: 1 passed\n  failed suite\n    passed one\n",
	},
	{
		name: "a group whose result never came",
		in:   "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: suite\n    1..1\n    ok 1 one\n",
		want: "crashed: 1 passed, 1 errors in the output\n  crashed suite\n  ! the result is missing\n    passed one\n",
	},
	{
		name: "directives",
		in: `TAP version 13
1..8
ok 1 a # SKIP no hardware
not ok 2 - b # TODO not yet
not ok 3 # XFAIL known: it is broken
ok 4 # SKIP
not ok 5 c # TIMEOUT 45 seconds
not ok 6 selftests: x: y # exit=1
ok 7 C#12 # skipped: lower case
ok 8 - -1 is no dash
`,
		want: `failed: 1 passed, 2 failed, 5 skipped
  skipped a [SKIP: no hardware]
  skipped b [TODO: not yet]
  skipped known: it is broken [XFAIL: ]
  skipped  [SKIP: ]
  failed c [TIMEOUT: 45 seconds]
  failed selftests: x: y [: exit=1]
  skipped C#12 [SKIP: lower case]
  passed -1 is no dash
`,
	},
	{
		name: "the plan at the end",
		in:   "TAP version 13\nok 1 a\nok 2 b\n1..3\n",
		want: "crashed: 2 passed, 1 crashed, 1 errors in the output\n! 1 of 3 tests never came\n  passed a\n  passed b\n",
	},
	{
		name: "more than planned",
		in: `KTAP version 1
1..1
    KTAP version 1
    1..1
    ok 1 a
    not ok 2 b
ok 1 suite
`,
		want: "failed: 1 passed, 1 failed, 1 errors in the output\n  passed suite\n  ! 2 tests where 1 were planned\n    passed a\n    failed b\n",
	},
	{
		name: "given up", in: "TAP version 13\n1..1\nok 1 a\nBail out! no device\n",
		want: "failed: 1 passed, 1 failed\n  passed a\n  failed (bail out)\n",
	},
	{
		name: "a selftest gave up, and was skipped", comments: true,
		in:   "TAP version 13\n1..1\n# selftests: a: b\n# TAP version 13\n# Bail out! no device\nok 1 selftests: a: b # SKIP\n",
		want: "skipped: 1 skipped\n  skipped selftests: a: b [SKIP: ]\n",
	},
	{
		name: "more than planned, on top",
		in:   "TAP version 13\n1..1\nok 1 a\n# of b\nnot ok 2 b\nok 3 c\nbye\nTAP version 13\n1..1\nok 1 d\n",
		want: `failed: 3 passed, 1 failed, 1 errors in the output
! more tests than the 1 that were planned
  passed a
  failed b
  passed c
  passed d
`,
	},
	{
		name: "a plan that can't be", in: "KTAP version 1\n1..99999999999999999999\nok 1 a\n",
		want: "crashed: 1 passed, 1073741823 crashed, 1073741823 errors in the output\n! 1073741823 of 1073741824 tests never came\n  passed a\n",
	},
	{
		name: "no numbers",
		in:   "TAP version 13\n1..7\nok - a\nnot ok - b\nok\nok, so far\nok so far\nnot ok\nok # SKIP no device\nnot ok - e # TODO not yet\nok 7 g\n",
		want: `failed: 3 passed, 2 failed, 2 skipped
  passed a
  failed b
  passed 
  failed 
  skipped no device [SKIP: ]
  skipped e [TODO: not yet]
  passed g
`,
	},
	{
		name: "wrong numbers and versions", in: "KTAP version 7\n1..1\nok 5 a\n",
		want: "passed: 1 passed, 2 errors in the output\n! KTAP version 7: 1 is known\n  passed a\n  ! test number 5, where 1 was expected\n",
	},
	{
		name: "two programs, the first one without a plan",
		in:   "TAP version 13\nok 1 a\nTAP version 13\n1..1\nnot ok 1 b\nbye\nTAP version 13\n1..1\nok 1 c\n",
		want: "failed: 2 passed, 1 failed\n  passed a\n  failed b\n  passed c\n",
	},
	{
		name: "selftests", comments: true,
		in: `TAP version 13
1..3
# timeout set to 45
# selftests: timers: posix_timers
# TAP version 13
# 1..2
# # a comment of the test
# ok 1 one
# not ok 2 two
# # Totals: pass:1 fail:1
not ok 1 selftests: timers: posix_timers # exit=1
# timeout set to 45
# selftests: timers: old
# ok so far
ok 2 selftests: timers: old
# timeout set to 1
# selftests: timers: slow
# TAP version 13
# 1..3
# ok 1 one
#
not ok 3 selftests: timers: slow # TIMEOUT 1 seconds
`,
		want: `crashed: 3 passed, 1 failed, 2 crashed, 2 errors in the output
  failed selftests: timers: posix_timers [: exit=1]
    passed one
    failed two
  passed selftests: timers: old
  crashed selftests: timers: slow [TIMEOUT: 1 seconds]
  ! 2 of 3 tests never came
    passed one
`,
	},
	{
		name: "a selftest that runs several programs", comments: true,
		in: `TAP version 13
1..2
# selftests: futex: run.sh
# TAP version 13
# 1..1
# ok 1 one
# # Totals: pass:1 fail:0
#
# TAP version 13
# 1..3
# ok 1 two
# ok 2 three
# TAP version 13
# ok 1 four
not ok 1 selftests: futex: run.sh # exit=1
# selftests: futex: other
# TAP version 13
# 1..1
# ok 1 five
ok 2 selftests: futex: other
`,
		want: `crashed: 5 passed, 1 crashed, 1 errors in the output
  crashed selftests: futex: run.sh [: exit=1]
  ! 1 of 3 tests never came
    passed one
    passed two
    passed three
    passed four
  passed selftests: futex: other
    passed five
`,
	},
	{
		name: "several programs, of which the selftest says that one failed", comments: true,
		in:   "TAP version 13\n1..1\n# selftests: a: b\n# TAP version 13\n# 1..1\n# ok 1 one\n# TAP version 13\n# 1..1\n# ok 1 two\nnot ok 1 selftests: a: b # exit=1\n",
		want: "failed: 2 passed\n  failed selftests: a: b [: exit=1]\n    passed one\n    passed two\n",
	},
	{
		name: "selftests with groups in groups", comments: true,
		in: `TAP version 13
1..1
# selftests: rust: sample
# KTAP version 1
# 1..1
#   KTAP version 1
#   # Subtest: inner
#   1..1
#   ok 1 leaf
# ok 1 inner
ok 1 selftests: rust: sample
`,
		want: "passed: 1 passed\n  passed selftests: rust: sample\n    passed inner\n      passed leaf\n",
	},
	{
		name: "comments aren't read unless they shall be",
		in:   "TAP version 13\n1..1\n# TAP version 13\n# 1..1\n# not ok 1 two\nok 1 one\n",
		want: "passed: 1 passed\n  passed one\n",
	},
	{
		name: "control characters", in: "KTAP version 1\r\n1..1\r\nok 1 a\x1b[31mb\xff\r\n",
		want: "passed: 1 passed\n  passed ab\ufffd\n",
	},
}

func TestParse(t *testing.T) {
	for _, test := range parserTests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(strings.NewReader(test.in), Options{Comments: test.comments})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, outline(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A test is told as soon as its result is there, and with the time that it took.
func TestStream(t *testing.T) {
	var told []string
	tell := func(what string) func([]string, *Test) {
		return func(path []string, t *Test) {
			told = append(told, fmt.Sprintf("%s %s %s %v", what, strings.Join(path, "."), t.Status, t.Elapsed))
		}
	}
	p := NewParser(Options{Started: tell("began"), Finished: tell("ended")})
	for _, step := range []struct {
		in   string
		told string
	}{
		{"[    1.000000] KTAP version 1\n[    1.000000] 1..1\n[    1.100000]     KTAP version 1\n[    1.100000]     # Subtest: s\n", ""},
		{"[    1.100000]     1..2\n[    1.500000]     ok 1 a\n[    1.500000]     # b: initi", "began s crashed 0s; ended s.a passed 400ms"},
		{"alizing\n[    3.500000]     not ok 2 b\n[    3.500000] # x\n", "ended s.b failed 2s"},
		{"[    3.600000] not ok 1 s\n[    9.0] later\n", "ended s failed 2.5s"},
	} {
		told = nil
		if _, err := io.WriteString(p, step.in); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(told, "; "); got != step.told {
			t.Errorf("after %q: %q, not %q", step.in, got, step.told)
		}
	}
	if got := p.Close(); got.Counts != (Counts{Passed: 1, Failed: 1}) {
		t.Error(got.Counts)
	}
	if p.Close() == nil {
		t.Error("closed twice: no result")
	}
}

// Whatever is read, what is kept has a bound.
func TestMemory(t *testing.T) {
	suite := "    # Subtest: s\n" + strings.Repeat("    # "+strings.Repeat("x", 1000)+"\n", 300)
	for name, part := range map[string]string{
		"tests":    "ok 1 a test with a name of some length\n",
		"groups":   "    # Subtest: s\n    ok 1 a\nok 1 s\n",
		"logs":     suite + "    ok 1 a\nok 1 s\n",
		"deeper":   "KTAP version 1\n# Subtest: s\n",
		"one line": strings.Repeat("y", 1<<16),
		"names":    "ok 1 " + strings.Repeat("n", 8000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			p := NewParser(Options{Now: func() time.Time { return time.Time{} }})
			_, _ = io.WriteString(p, "KTAP version 1\n")
			n := 10 << 20 / len(part)
			if name == "logs" {
				n = (MaxText + 10<<20) / len(part)
			}
			for range n {
				_, _ = io.WriteString(p, part)
			}
			test := p.Close()
			runtime.GC()
			runtime.ReadMemStats(&after)
			if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 64<<20 {
				t.Errorf("%d MiB are kept", kept>>20)
			}
			if name == "tests" && test.Counts.Passed != n {
				t.Errorf("%d tests of %d were counted", test.Counts.Passed, n)
			}
			listed := 0
			test.Walk(func([]string, *Test) { listed++ })
			if listed > MaxTests {
				t.Errorf("%d tests are listed", listed)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, test := range parserTests {
		f.Add(test.in, test.comments)
	}
	f.Fuzz(func(t *testing.T, in string, comments bool) {
		whole, err := Parse(strings.NewReader(in), Options{Comments: comments})
		if err != nil {
			t.Fatal(err)
		}
		// Where the output is split doesn't matter.
		parts, err := Parse(oneByOne{strings.NewReader(in)}, Options{Comments: comments})
		if err != nil {
			t.Fatal(err)
		}
		if a, b := outline(whole), outline(parts); a != b {
			t.Errorf("in one: %s\nby bytes: %s", a, b)
		}
	})
}

type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }
