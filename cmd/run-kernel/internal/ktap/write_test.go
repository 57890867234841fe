// SPDX-License-Identifier: GPL-3.0-only

package ktap

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// written has one of everything.
const written = `[    1.000000] KTAP version 1
[    1.000000] 1..5
[    1.000000]     KTAP version 1
[    1.000000]     # Subtest: list
[    1.000000]     1..4
[    1.002000]     ok 1 one
[    1.100000]     # two: EXPECTATION FAILED at lib/list-test.c:30
[    1.100000]     Expected 1 + 1 == 3, but <&> "100%"
[    1.500000]     not ok 2 two
[    1.500000]     ok 3 three # SKIP no lists, here
[    1.600000]     not ok 4 four # TODO later
[    1.600000] # list: pass:1 fail:1 skip:2 total:4
[    1.600000] not ok 1 list
[    1.600000]     KTAP version 1
[    1.600000]     # Subtest: itself
[    1.600000]     1..1
[    1.600000]     ok 1 fine
[    1.600000] # itself: suite_exit failed
[    1.600000] not ok 2 itself
[    1.600000]     KTAP version 1
[    1.600000]     # Subtest: empty
[    1.600000]     1..0
[    1.600000] ok 3 empty
[    1.600000]     KTAP version 1
[    1.600000]     # Subtest: outer
[    1.600000]     1..3
[    1.600000]         KTAP version 1
[    1.600000]         # Subtest: inner
[    1.700000]         ok 1 leaf
[    1.700000]     ok 1 inner
[    1.800000] BUG: kernel NULL pointer dereference, address: 0000000000000000
`

func TestWrite(t *testing.T) {
	test, err := Parse(strings.NewReader(written), Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, write := range map[string]func(io.Writer) error{
		"ktap": test.WriteKTAP, "github": test.WriteGitHub,
		"junit.xml": func(w io.Writer) error { return test.WriteJUnit(w, "kunit", at) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What is written as KTAP is read as the same results.
func TestWriteAndRead(t *testing.T) {
	for _, c := range parserTests {
		first, err := Parse(strings.NewReader(c.in), Options{Comments: c.comments})
		if err != nil {
			t.Fatal(err)
		}
		if first.Missing > 1000 {
			continue
		}
		var b bytes.Buffer
		if err := first.WriteKTAP(&b); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(bytes.NewReader(b.Bytes()), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if first.Status == NoKTAP {
			continue
		}
		a, z := first.Counts, again.Counts
		// That a test crashed can only be said as a failure.
		a.Failed, a.Crashed, a.Errors, z.Failed, z.Crashed, z.Errors = a.Failed+a.Crashed, 0, 0, z.Failed+z.Crashed, 0, 0
		if diff := cmp.Diff(a, z); diff != "" || first.Status.Good() != again.Status.Good() {
			t.Errorf("%s: %s, then %s: %s\n%s", c.name, first.Status, again.Status, diff, b.String())
		}
		var x bytes.Buffer
		if err := first.WriteJUnit(&x, "x", time.Time{}); err != nil {
			t.Fatal(err)
		}
		var sum struct {
			Failures int `xml:"failures,attr"`
			Errors   int `xml:"errors,attr"`
		}
		if err := xml.Unmarshal(x.Bytes(), &sum); err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, x.String())
		}
		if !first.Status.Good() && sum.Failures+sum.Errors == 0 {
			t.Errorf("%s: %s, and nothing has failed in JUnit\n%s", c.name, first.Status, x.String())
		}
	}
}

// A command may have several lines, and so may the reason why it failed.
func TestWriteTextsOfSeveralLines(t *testing.T) {
	test := Single(Test{
		Name: "# SKIP this\nok 2 false\x1b[31m # no\xff", Status: Failed, Reason: "qemu ended:\nok 3 SKIP",
		Log: []string{"qemu: no memory\nnot ok 4 other"},
	})
	var b bytes.Buffer
	if err := test.WriteKTAP(&b); err != nil {
		t.Fatal(err)
	}
	const want = `KTAP version 1
1..1
# qemu: no memory
# not ok 4 other
not ok 1 \# SKIP this ok 2 false \# no\ufffd # qemu ended: ok 3 SKIP
`
	if diff := cmp.Diff(strings.ReplaceAll(want, `\ufffd`, "\ufffd"), b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	again, err := Parse(&b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if again.Status != Failed || again.Counts != (Counts{Failed: 1}) {
		t.Errorf("read again: %s, %+v", again.Status, again.Counts)
	}
}
