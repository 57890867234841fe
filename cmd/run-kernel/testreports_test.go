// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"io"
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
