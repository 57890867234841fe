// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/ktap"
	"github.com/metaspace/run-kernel/internal/event"
)

// With --ktap, tests that fail are the verdict: a status of the command's own that means
// "skip" to git bisect run must not hide them.
func TestKTAPStatus(t *testing.T) {
	const passed, failed, skipped = "TAP version 13\n1..1\nok 1 a\n", "TAP version 13\n1..1\nnot ok 1 a\n", "TAP version 13\n1..1\nok 1 a # SKIP no device\n"
	for _, test := range []struct {
		output         string
		status         int // of the command
		exit, bisected int
	}{
		{passed, 0, 0, 0},
		{passed, 3, 3, 1},
		{failed, 0, 1, 1},
		{failed, 3, 1, 1},
		{failed, 126, 1, 1},
		{skipped, skipStatus, 0, 0},
		{skipped, 3, 3, 1},
		{"hello\n", 0, statusFailed, statusFailed},
		{"hello\n", 3, 3, 1},
		{"", 127, 127, statusFailed},
	} {
		a := &app{events: func(event.Event) {}}
		out := filepath.Join(t.TempDir(), "junit.xml")
		r := &commandResults{ktap: true, parser: ktap.NewParser(ktap.Options{Comments: true}), testReports: testReports{junit: out}}
		if _, err := io.WriteString(r.parser, test.output); err != nil {
			t.Fatal(err)
		}
		var err error
		if test.status != 0 {
			err = statusError(test.status)
		}
		err = r.finish(a, []string{"true"}, err)
		if exit, bisected := exitStatus(err), bisectStatus(err); exit != test.exit || bisected != test.bisected {
			t.Errorf("%q and status %d: got %d, for git bisect run %d, want %d and %d", test.output, test.status, exit, bisected, test.exit, test.bisected)
		}
		if said := errors.As(err, new(noKTAPError)); said != (test.output == "hello\n" && test.status == 0) {
			t.Errorf("%q and status %d: %v", test.output, test.status, err)
		}
		var suites junitFile
		readXML(t, out, &suites)
		if failed := suites.Failures+suites.Errors > 0; failed != (test.exit != 0) {
			t.Errorf("%q and status %d: %d failures and %d errors in JUnit", test.output, test.status, suites.Failures, suites.Errors)
		}
	}
}

// A runner of selftests that ends between two targets has said nothing wrong.
func TestExpectedResults(t *testing.T) {
	const first, second = "TAP version 13\n1..1\nok 1 selftests: size: get_size\n", "TAP version 13\n1..1\nok 1 selftests: net/lib: a:b\n"
	expected := []string{selftestTitle("size:get_size"), selftestTitle("net/lib:a:b")}
	for _, test := range []struct {
		output string
		want   int
	}{
		{first + second, 0},
		{second + first, 0},
		{first, 1},
		{"TAP version 13\n1..1\nok 1 a runner with other names\n", 0},
		{"", statusFailed},
	} {
		r := &commandResults{ktap: true, parser: ktap.NewParser(ktap.Options{Comments: true}), expected: expected}
		if _, err := io.WriteString(r.parser, test.output); err != nil {
			t.Fatal(err)
		}
		a := &app{events: func(event.Event) {}}
		if got := exitStatus(r.finish(a, []string{"size", "net/lib"}, nil)); got != test.want {
			t.Errorf("%q: status %d, want %d", test.output, got, test.want)
		}
	}
}

func TestChooseSelftests(t *testing.T) {
	have := []string{"size:get_size", "timers:nanosleep", "timers:posix_timers", "net/lib:csum"}
	for _, test := range []struct{ words, want string }{
		{"timers", "timers:nanosleep timers:posix_timers"},
		{"timers timers:posix_timers timers/", "timers:nanosleep timers:posix_timers"},
		{"timers:posix_timers size timers:nanosleep", "size:get_size timers:nanosleep timers:posix_timers"},
		{"net/lib:csum", "net/lib:csum"},
		{"size mm", ""},
		{"timers:posix", ""},
	} {
		got, err := chooseSelftests(strings.Fields(test.words), have)
		if strings.Join(got, " ") != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: got %q, %v", test.words, got, err)
		}
	}
}

// Where the results can't be written, a crash is still one.
func TestResultsThatAreLost(t *testing.T) {
	crash := &boot.CrashError{}
	for _, test := range []struct {
		err  error
		exit int
	}{{nil, statusFailed}, {statusError(3), statusFailed}, {crash, statusCrash}} {
		a := &app{events: func(event.Event) {}}
		r := &commandResults{testReports: testReports{junit: "/dev/full"}}
		err := r.finish(a, []string{"true"}, test.err)
		if err == nil || !strings.Contains(err.Error(), "write the results: ") || exitStatus(err) != test.exit {
			t.Errorf("%v: got %v, status %d", test.err, err, exitStatus(err))
		}
		if test.err == crash && !strings.HasPrefix(err.Error(), crash.Error()) {
			t.Errorf("got %v", err)
		}
	}
}

// Results go where a link leads: also to a descriptor that is open on a file, as
// /dev/stdout may be. None is replaced.
func TestResultsBehindLinks(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	printed, err := os.Create(file("printed"))
	if err != nil {
		t.Fatal(err)
	}
	defer printed.Close()
	other, err := os.Create(file("other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	links := map[string]string{
		"stdout": fmt.Sprintf("/proc/self/fd/%d", printed.Fd()), "fd": fmt.Sprintf("/dev/fd/%d", other.Fd()), "results": "junit.xml",
	}
	for name, to := range links {
		if err := os.Symlink(to, file(name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"junit.xml": "old", "printed": "before\n"} {
		if err := os.WriteFile(file(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := printed.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	out := &stdout{w: printed}
	r := &testReports{junit: "results", ktap: "stdout", json: "fd"}
	if err := r.begin(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file("junit.xml")); err == nil {
		t.Error("the results of an earlier run are still there, behind a link")
	}
	if err := r.write(out, "x", ktap.Single(ktap.Test{Name: "true", Status: ktap.Passed})); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(out, "after")
	for name, want := range map[string]string{
		"printed": "before\nKTAP version 1\n1..1\nok 1 true\nafter\n", "junit.xml": `<?xml version="1.0" encoding="UTF-8"?>`, "other": `{"`,
	} {
		if text, err := os.ReadFile(file(name)); err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: %q, %v, want %q", name, text, err, want)
		}
	}
	for name, want := range links {
		if to, err := os.Readlink(file(name)); err != nil || to != want {
			t.Errorf("the link %s: %q, %v", name, to, err)
		}
	}
}

// That results can't be written is known before a kernel is built.
func TestResultsThatCannotBeWritten(t *testing.T) {
	for path, want := range map[string]string{"/proc/1/junit.xml": "write in /proc/1: ", "/nowhere/junit.xml": "/nowhere: no such file", "/dev/null": "", "/dev/fd/1": ""} {
		err := (&testReports{junit: path}).begin("/")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
