// SPDX-License-Identifier: GPL-3.0-only

package report_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/boot/report"
)

// A crashLog is a log of a crashed kernel with what it should be called.
type crashLog struct {
	name, kind string
	titles     []string
	panicked   bool
	log        []byte
}

// readCrashLog reads a file with a header of "TITLE: …", "ALT: …" and "TYPE: …", an
// empty line, the log, and perhaps an extract after "REPORT:".
func readCrashLog(t testing.TB, path string) crashLog {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := crashLog{name: filepath.Base(path)}
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		data = rest
		text := strings.TrimRight(string(line), "\r")
		key, value, _ := strings.Cut(text, ": ")
		switch {
		case !ok || text == "":
			if i := bytes.Index(data, []byte("\nREPORT:")); i >= 0 {
				data = data[:i]
			}
			c.log = data
			return c
		case (key == "TITLE" || key == "ALT") && value != "":
			c.titles = append(c.titles, value)
		case key == "PANICKED":
			c.panicked = value == "Y"
		case key == "TYPE":
			c.kind = value
		}
	}
}

// notLinux are titles of what no kernel prints: of the program that made the logs,
// and of the language it is written in.
func notLinux(title string) bool {
	for _, head := range []string{"SYZFAIL", "lost connection", "no output"} {
		if strings.HasPrefix(title, head) {
			return true
		}
	}
	return false
}

// classesOf are the classes that a type of the logs may have here.
var classesOf = map[string][]report.Class{
	"HANG": {report.Hang}, "WARNING": {report.Warning}, "LOCKDEP": {report.Lockdep}, "LEAK": {report.Leak}, "UBSAN": {report.UBSAN},
	"ATOMIC_SLEEP": {report.AtomicSleep}, "REFCOUNT_WARNING": {report.Refcount}, "BUG": {report.Bug}, "NULL-POINTER-DEREFERENCE": {report.Oops},
	"MEMORY_SAFETY_BUG": {report.Oops, report.Corruption},
}

func (c *crashLog) classFits(class report.Class) bool {
	for _, sanitizer := range []report.Class{report.KASAN, report.KMSAN, report.KCSAN, report.KFENCE} {
		if strings.HasPrefix(c.kind, strings.ToUpper(sanitizer.String())) {
			return class == sanitizer
		}
	}
	want := classesOf[c.kind]
	return want == nil || slices.Contains(want, class)
}

// TestCrashLogs measures with logs that aren't part of the project:
// RUN_KERNEL_TEST_CRASH_LOGS names their directory.
func TestCrashLogs(t *testing.T) {
	dir := os.Getenv("RUN_KERNEL_TEST_CRASH_LOGS")
	if dir == "" {
		t.Skip("RUN_KERNEL_TEST_CRASH_LOGS isn't set")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	var titled, found, equal, classed, panics, clean, falseAlarms int
	for _, path := range paths {
		c := readCrashLog(t, path)
		reports, err := report.Parse(bytes.NewReader(c.log))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(c.titles) == 0 {
			clean++
			if len(reports) > 0 {
				falseAlarms++
				t.Errorf("%s: false alarm: %s", c.name, reports[0].Title)
			}
			continue
		}
		if notLinux(c.titles[0]) {
			continue
		}
		titled++
		if len(reports) == 0 {
			t.Logf("%s: not found: %s", c.name, c.titles[0])
			continue
		}
		found++
		if slices.Contains(c.titles, reports[0].Title) {
			equal++
		} else {
			t.Logf("%s: %s\n\twant %s", c.name, reports[0].Title, strings.Join(c.titles, " | "))
		}
		if c.panicked == slices.ContainsFunc(reports, func(r report.Report) bool { return r.Panicked }) {
			panics++
		} else {
			t.Logf("%s: panicked %v is wrong: %s", c.name, !c.panicked, c.titles[0])
		}
		if c.classFits(reports[0].Class) {
			classed++
		} else {
			t.Logf("%s: class %v of %s: want %s", c.name, reports[0].Class, c.titles[0], c.kind)
		}
	}
	percent := func(n int) float64 { return 100 * float64(n) / float64(titled) }
	t.Logf("%d logs with a title: found %d (%.1f %%), titles equal %d (%.1f %%), classes right %d (%.1f %%), panics %d (%.1f %%); %d logs without, %d false alarms",
		titled, found, percent(found), equal, percent(equal), classed, percent(classed), panics, percent(panics), clean, falseAlarms)
	if percent(found) < 98 || percent(equal) < 92 {
		t.Error("worse than it was")
	}
}
