// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
)

// at is an event some seconds after the start.
type at struct {
	seconds float64
	e       event.Event
}

func TestRecorder(t *testing.T) {
	changed := event.Changed{Paths: []string{"a.c"}, Total: 1}
	built := event.BuildFinished{Elapsed: 4 * time.Second, Link: 3 * time.Second, Objects: 1, Image: "vmlinux", NewImage: true}
	const second = time.Second
	for name, c := range map[string]struct {
		events []at
		want   []event.TurnFinished
	}{
		"a whole turn": {
			[]at{
				{1, changed},
				{1, event.PhaseStarted{Phase: event.PhaseCheck}},
				{1.5, event.PhaseStarted{Phase: event.PhaseBuild}},
				{5.5, built},
				{6, event.BootStarted{}},
				{8, event.BootReady{Elapsed: 2 * second}},
				{9, event.CommandFinished{Elapsed: second, Status: 1}},
				{9, event.Waiting{VM: true}},
			},
			[]event.TurnFinished{{
				Changed: []string{"a.c"}, Total: 1, Check: second / 2, Compile: second, Link: 3 * second, Boot: 2 * second, Command: second, Elapsed: 8 * second,
				Objects: 1, Result: "status 1",
			}},
		},
		"the first turn begins with no change": {
			[]at{{0, event.WatchStarted{}}, {1, event.PhaseStarted{Phase: event.PhaseCheck}}, {6, event.BuildFinished{Elapsed: 4 * second}}, {6, event.Waiting{}}},
			[]event.TurnFinished{{Check: 0, Compile: 4 * second, Elapsed: 5 * second, Result: "up to date"}},
		},
		"a change overtakes a turn, with what it had begun": {
			[]at{
				{1, changed},
				{2, event.BuildFinished{Elapsed: second, Err: context.Canceled}},
				{3, event.BootStarted{}},
				{4, event.Changed{Paths: []string{"b.c"}, Total: 2}},
				{5, event.BootReady{Elapsed: 2 * second}},
				{8, built},
				{8, event.Waiting{}},
			},
			[]event.TurnFinished{{Changed: []string{"b.c"}, Total: 2, Compile: second, Link: 3 * second, Elapsed: 4 * second, Objects: 1, Result: "ok"}},
		},
		"what fails": {
			[]at{
				{1, changed},
				{3, event.BuildFinished{Elapsed: second, Err: errors.New("make")}},
				{4, event.Waiting{VM: true}},
				{5, event.Waiting{VM: true}},
				{6, event.BootStarted{}},
				{7, event.Waiting{}},
				{8, event.PhaseStarted{Phase: event.PhaseCheck}},
				{9, event.Failed{Err: errors.New("config")}},
				{9, event.Waiting{}},
			},
			[]event.TurnFinished{
				{Changed: []string{"a.c"}, Total: 1, Compile: second, Elapsed: 3 * second, Result: "build failed"},
				{Elapsed: second, Result: "boot failed"},
				{Elapsed: second, Result: "failed"},
			},
		},
		"what fails after the boot": {
			[]at{
				{1, changed},
				{5, event.BootStarted{}},
				{6, event.BootReady{Elapsed: second}},
				{6, event.TestsFinished{Status: "failed"}},
				{7, event.CommandFinished{Elapsed: second}},
				{7, event.Waiting{VM: true}},
				{8, changed},
				{9, event.VMStopped{Reason: "the one before"}},
				{9, event.BootStarted{}},
				{10, event.BootReady{Elapsed: second}},
				{10, event.TestsFinished{Status: "passed"}},
				{11, event.Waiting{VM: true}},
				{12, changed},
				{16, built},
				{16, event.Failed{Err: errors.New("nix")}},
				{17, event.Waiting{VM: true}},
			},
			[]event.TurnFinished{
				{Changed: []string{"a.c"}, Total: 1, Boot: second, Command: second, Elapsed: 6 * second, Result: "failed"},
				{Changed: []string{"a.c"}, Total: 1, Boot: second, Elapsed: 3 * second, Result: "ok"},
				{Changed: []string{"a.c"}, Total: 1, Compile: second, Link: 3 * second, Elapsed: 5 * second, Objects: 1, Result: "failed"},
			},
		},
		"a command that the user runs again": {
			[]at{{1, event.Waiting{VM: true}}, {7, event.CommandFinished{Elapsed: 5 * second}}, {7, event.Waiting{VM: true}}},
			[]event.TurnFinished{{Command: 5 * second, Elapsed: 5 * second, Result: "status 0"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			var r recorder
			var got []event.TurnFinished
			for _, a := range c.events {
				if turn := r.measure(a.e, start.Add(time.Duration(a.seconds*float64(second)))); turn != nil {
					got = append(got, *turn)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The file keeps the last turns, for the user alone, and is never long.
func TestTurnsAreKept(t *testing.T) {
	tree := &kbuild.Tree{Source: t.TempDir()}
	tree.BuildDir = tree.Source
	if turns, err := Turns(tree, 10); err != nil || len(turns) > 0 {
		t.Errorf("before the first: %v, %v", turns, err)
	}
	var told []event.Event
	r := &recorder{tree: tree, next: func(e event.Event) { told = append(told, e) }}
	path := filepath.Join(tree.BuildDir, ".run-kernel", turnsFile)
	for n := range 2000 {
		r.sink(event.Changed{Paths: []string{strings.Repeat("x", 100)}, Total: n})
		r.sink(event.Waiting{VM: true})
		if n == 3 {
			// As a power cut leaves it.
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(`{"total":`); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			r.sink(event.Changed{Total: 4})
			r.sink(event.Waiting{VM: true})
			if turns, err := Turns(tree, 10); err != nil || len(turns) != 5 || turns[4].Total != 4 {
				t.Errorf("after half a line: %+v, %v", turns, err)
			}
		}
	}
	if _, ok := told[1].(event.TurnFinished); !ok {
		t.Errorf("the turn came after the loop waits: %T", told[1])
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 || st.Size() > turnsLimit {
		t.Errorf("the file has mode %v and %d bytes", st.Mode(), st.Size())
	}
	turns, err := Turns(tree, 3)
	if err != nil || len(turns) != 3 || turns[0].Total != 1997 || turns[2].Total != 1999 || !strings.HasPrefix(turns[2].Line, "{") {
		t.Errorf("%+v, %v", turns, err)
	}
}
