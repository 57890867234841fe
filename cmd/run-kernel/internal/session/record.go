// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/ktap"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/ui"
	"github.com/metaspace/run-kernel/kbuild"
)

const (
	// turnsFile keeps the turns of the loop, one a line, the last at the end.
	turnsFile = "turns.jsonl"
	// turnsLimit is how long that file may become, in bytes. Then the older half goes.
	turnsLimit = 256 << 10
)

// Results of turns that have not come to anything else.
const (
	resultGood   = "ok"
	resultFailed = "failed"
)

// A recorder measures the turns of the loop by their events. It passes each event on,
// and ends a turn with one of its own.
type recorder struct {
	tree *kbuild.Tree
	next event.Sink

	mu      sync.Mutex
	began   time.Time // of the turn; zero: there is none
	turn    event.TurnFinished
	check   time.Time // when the check of .config began; zero: it doesn't run
	booting bool
	failed  bool // the kernel's own tests did
	warned  bool // that a turn can't be kept
}

// sink is an event.Sink.
func (r *recorder) sink(e event.Event) {
	turn := r.measure(e, time.Now())
	if turn != nil {
		r.next.Emit(*turn)
	}
	r.next.Emit(e)
	if turn == nil {
		return
	}
	if err := keepTurn(r.tree, *turn); err != nil {
		r.mu.Lock()
		warned := r.warned
		r.warned = true
		r.mu.Unlock()
		if !warned {
			r.next.Emit(event.Warning{Text: fmt.Sprintf("turns aren't recorded: %v", err)})
		}
	}
}

// measure takes an event into account, and returns the turn that it ends, if it does.
func (r *recorder) measure(e event.Event, now time.Time) *event.TurnFinished {
	r.mu.Lock()
	defer r.mu.Unlock()
	// What began before the turn isn't part of it.
	within := func(took time.Duration) bool { return !r.began.IsZero() && !now.Add(-took).Before(r.began) }
	switch e := e.(type) {
	case event.Changed:
		r.begin(now)
		r.turn.Changed, r.turn.Total = e.Paths, e.Total
	case event.PhaseStarted:
		if r.began.IsZero() {
			r.begin(now)
		}
		if !r.check.IsZero() {
			r.turn.Check += now.Sub(r.check)
			r.check = time.Time{}
		}
		if e.Phase == event.PhaseCheck {
			r.check = now
		}
	case event.BuildFinished:
		if errors.Is(e.Err, context.Canceled) || !within(e.Elapsed) {
			break
		}
		r.turn.Compile += e.Elapsed - e.Link
		r.turn.Link += e.Link
		r.turn.Objects += e.Objects
		switch {
		case e.Err != nil:
			r.turn.Result = "build failed"
		case !e.NewImage && !e.NewModules:
			r.turn.Result = "up to date"
		default:
			r.turn.Result = resultGood
		}
	case event.UserlandFinished:
		if within(e.Elapsed) {
			r.turn.Nix += e.Elapsed
		}
	case event.BootStarted:
		if r.began.IsZero() {
			r.begin(now)
		}
		r.booting, r.turn.Result = true, "boot failed"
	case event.BootReady:
		if r.booting && within(e.Elapsed) {
			r.turn.Boot += e.Elapsed
			r.turn.Result = resultGood
		}
		r.booting = false
	case event.ModulesSwapped:
		if within(e.Elapsed) {
			r.turn.Swap += e.Elapsed
		}
	case event.CommandFinished:
		if r.began.IsZero() {
			r.begin(now.Add(-e.Elapsed))
		}
		if within(e.Elapsed) {
			r.turn.Command += e.Elapsed
			if e.Status != 0 || !r.failed {
				r.turn.Result = fmt.Sprintf("status %d", e.Status)
			}
		}
	case event.TestsFinished:
		// Those of a guest that didn't boot say no more than that.
		r.failed = e.Status != ktap.Passed.String() && e.Status != ktap.Skipped.String()
		if r.failed && r.turn.Result == resultGood {
			r.turn.Result = resultFailed
		}
	case event.VMStopped:
		// During a build it is the guest before.
		if !r.began.IsZero() && !r.booting && r.turn.Boot+r.turn.Swap > 0 {
			r.turn.Result = resultFailed
		}
	case event.Failed:
		if !r.began.IsZero() && slices.Contains([]string{"", resultGood, "up to date"}, r.turn.Result) {
			r.turn.Result = resultFailed
		}
	case event.Waiting:
		if r.began.IsZero() {
			break
		}
		turn := r.turn
		turn.Elapsed = now.Sub(r.began)
		r.began, r.turn = time.Time{}, event.TurnFinished{}
		if turn.Result == "" {
			turn.Result = resultFailed // what it was has been told
		}
		return &turn
	}
	return nil
}

// begin starts a turn. What one before it has measured is of no interest: a change
// overtook it.
func (r *recorder) begin(now time.Time) {
	r.began, r.turn, r.check, r.booting, r.failed = now, event.TurnFinished{}, time.Time{}, false, false
}

// keepTurn appends a turn to the file of turns.
func keepTurn(tree *kbuild.Tree, turn event.TurnFinished) error {
	state, err := tree.StateDir()
	if err != nil {
		return err
	}
	f, err := private.Open(filepath.Join(state, turnsFile))
	if err != nil {
		return err
	}
	old, err := io.ReadAll(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	var line bytes.Buffer
	if len(old) > 0 && old[len(old)-1] != '\n' {
		line.WriteByte('\n') // we were killed while we wrote
	}
	ui.JSON(&line)(turn)
	at := int64(len(old))
	if len(old)+line.Len() > turnsLimit {
		rest := old[len(old)-turnsLimit/2:]
		rest = rest[bytes.IndexByte(rest, '\n')+1:]
		line = *bytes.NewBuffer(slices.Concat(rest, line.Bytes()))
		at = 0
		if err := f.Truncate(0); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	_, err = f.WriteAt(line.Bytes(), at)
	return errors.Join(err, f.Close())
}

// A Turn is one turn of the loop as it was kept. Durations are in seconds.
type Turn struct {
	Time    time.Time // of its end
	Changed []string
	Total   int
	Compile float64
	Link    float64
	Nix     float64
	Boot    float64
	Swap    float64
	Command float64
	Elapsed float64
	Result  string
	Line    string `json:"-"` // as the file has it
}

// Turns returns the last turns of the loop in a build directory, at most n, the last
// one at the end.
func Turns(tree *kbuild.Tree, n int) ([]Turn, error) {
	data, err := private.ReadFile(tree.StatePath(turnsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var turns []Turn
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		var t Turn
		if json.Unmarshal(line, &t) == nil { // otherwise we were killed while we wrote it
			t.Line = string(line)
			turns = append(turns, t)
		}
	}
	return turns[max(0, len(turns)-n):], nil
}
