// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/boottest"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/ktap"
	"github.com/metaspace/run-kernel/internal/event"
)

// Who shows the console may be slower than the guest, whose agent answers when the last
// results have yet to be read.
func TestKUnitWithASlowTerminal(t *testing.T) {
	all := ktap.Counts{Passed: boottest.Tests}
	l := newLab(t, "runs tests")
	l.config.Watch.KUnit = "*"
	l.config.Watch.Ignore = []string{filepath.Join(l.Tree.Dir, "arch")} // the image; no git says so
	o := l.options()
	o.Events = func(e event.Event) {
		switch e.(type) {
		case event.Console:
			time.Sleep(100 * time.Microsecond)
		case event.TestsFinished:
			l.sink(e)
		}
	}
	ctx, s, err := Open(t.Context(), l.source, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	test, err := s.KUnit(ctx, KUnit{})
	if err != nil {
		t.Fatal(err)
	}
	if test.Counts != all {
		t.Errorf("%+v", test.Counts)
	}
	await(l, func(event.TestsFinished) bool { return true })

	// The same in the loop, in which the guest goes on.
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { ended <- s.Loop(ctx, nil) }()
	finished := await(l, func(event.TestsFinished) bool { return true })
	if finished.Passed != boottest.Tests || finished.Failed > 0 {
		t.Errorf("in the loop: %+v", finished)
	}
	cancel()
	<-ended
}

// A kernel that crashes after its tests hasn't passed.
func TestKUnitWithACrash(t *testing.T) {
	l := newLab(t, "passes tests and panics")
	l.config.Watch.KUnit = "*"
	ctx, s, err := Open(t.Context(), l.source, l.options())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	test, err := s.KUnit(ctx, KUnit{})
	if !errors.As(err, new(*boot.CrashError)) {
		t.Fatal(err)
	}
	if want := (ktap.Counts{Passed: 1, Failed: 1}); test.Status != ktap.Failed || test.Counts != want || !slices.Equal(test.Failing(), []string{"(the guest)"}) {
		t.Errorf("%s, %+v, failing: %q", test.Status, test.Counts, test.Failing())
	}
	if e := await(l, func(event.TestsFinished) bool { return true }); e.Status != "failed" {
		t.Errorf("%+v", e)
	}

	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { ended <- s.Loop(ctx, nil) }()
	if e := await(l, func(event.TestsFinished) bool { return true }); e.Status != "failed" {
		t.Errorf("in the loop: %+v", e)
	}
	cancel()
	<-ended
}

// What is no glob doesn't become a shorter one, and another argument of the kernel.
func TestKUnitArgs(t *testing.T) {
	for glob, want := range map[string]string{
		"": "", "list*.?": " kunit.filter_glob=list*.?", "list* example*": ` kunit.filter_glob="list* example*"`,
	} {
		if got := strings.Join(kunitArgs(glob), " "); got != "kunit.enable=1"+want {
			t.Errorf("%q: %s", glob, got)
		}
	}
}

// What began and ceased to fail, turn by turn.
func TestCompareTurns(t *testing.T) {
	var c comparison
	for i, turn := range []struct{ output, began, ceased string }{
		{"1..3\nok 1 a\nnot ok 2 b\nnot ok 3 c\n", "", ""}, // nothing to compare with
		{"1..3\nnot ok 1 a\nok 2 b\nnot ok 3 c\n", "a", "b"},
		{"1..3\nnot ok 1 a\nok 2 b\nnot ok 3 c\n", "", ""},
		{"", "", ""}, // it didn't get there
		{"1..2\n    # Subtest: s\n    1..1\n    not ok 1 x\nnot ok 1 s\nok 2 a\n", "s.x", "a c"},
		{"1..1\n    # Subtest: s\n    1..1\n    ok 1 x\nnot ok 1 s\n", "s", "s.x"},
		{"1..1\nok 1 a\n", "", "s"},
		{"1..3\nnot ok 1 a\nok 2 b\nnot ok 3 c\n", "a c", ""},
		{"1..3\nok 1 a\n", "", "a"}, // it crashed before c
		{"1..3\nok 1 a\nok 2 b\nnot ok 3 c\n", "", ""},
		{"1..3\nok 1 a\nok 2 b\nok 3 c\n", "", "c"},
	} {
		if turn.output != "" {
			turn.output = "KTAP version 1\n" + turn.output
		}
		test, err := ktap.Parse(strings.NewReader(turn.output), ktap.Options{})
		if err != nil {
			t.Fatal(err)
		}
		e := c.compare(test)
		if began, ceased := strings.Join(e.Began, " "), strings.Join(e.Ceased, " "); began != turn.began || ceased != turn.ceased {
			t.Errorf("turn %d: began %q, ceased %q; not %q, %q", i, began, ceased, turn.began, turn.ceased)
		}
		if e.Compared != (i > 0 && turn.output != "") {
			t.Errorf("turn %d: compared: %t", i, e.Compared)
		}
	}
}
