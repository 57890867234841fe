// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/metaspace/run-kernel/internal/ansi"
	"github.com/metaspace/run-kernel/internal/event"
)

// plainInterval is how often the progress of make is told where no line can be
// written over.
const plainInterval = 20 * time.Second

// A clock is what is under way, for the progress line.
type clock struct {
	began time.Time
	line  func(elapsed time.Duration) string
}

// tickTime is how often the progress line is brought up to date.
const tickTime = 200 * time.Millisecond

func (t *Text) buildProgress(e event.BuildProgress) {
	if t.o.Quiet || t.raw {
		return
	}
	objects := count(e.Done, "object")
	if e.Total > 0 {
		objects = fmt.Sprintf("%d/%s", e.Done, count(max(e.Total, e.Done), "object"))
	}
	if t.o.Width == nil {
		if n := int(e.Elapsed / plainInterval); n != t.told {
			if t.told = n; n > 0 {
				left := ""
				if e.Left > 0 {
					left = ", " + roughly(e.Left) + " left"
				}
				t.say("build", "%s after %s%s", objects, e.Elapsed.Truncate(time.Second), left)
			}
		}
		return
	}
	t.run(e.Elapsed, func(elapsed time.Duration) string {
		left := ""
		if e.Left > 0 {
			left = ", " + roughly(max(0, e.Left-(elapsed-e.Elapsed))) + " left"
		}
		return fmt.Sprintf("build  %s, %s%s  %s", objects, elapsed.Truncate(time.Second), left, e.Current)
	})
}

// bootProgress shows how a guest comes up, with the last line of its console.
func (t *Text) bootProgress(line string) {
	if t.o.Width == nil || t.o.Quiet || t.raw || t.console || line != "" && t.clock == nil {
		return
	}
	show := func(elapsed time.Duration) string {
		return fmt.Sprintf("boot   %.1f s  %s", elapsed.Seconds(), line)
	}
	if line == "" {
		t.run(0, show)
	} else {
		t.clock.line = show // for the next tick: there may be hundreds of lines a second
	}
}

// run shows what has been under way for a time, on the progress line, until something
// else is written there.
func (t *Text) run(elapsed time.Duration, line func(time.Duration) string) {
	t.clock = &clock{began: time.Now().Add(-elapsed), line: line}
	t.setProgress(line(elapsed))
	if !t.ticking {
		t.ticking = true
		go t.tick()
	}
}

// tick brings the progress line up to date for as long as something is under way.
func (t *Text) tick() {
	ticker := time.NewTicker(tickTime)
	defer ticker.Stop()
	for range ticker.C {
		t.mu.Lock()
		if t.clock == nil || t.closed {
			t.ticking = false
			t.mu.Unlock()
			return
		}
		if !t.raw {
			if line := t.clock.line(time.Since(t.clock.began)); line != t.progress {
				t.setProgress(line)
			}
		}
		t.mu.Unlock()
	}
}

// setProgress writes the progress line over, of a terminal.
func (t *Text) setProgress(line string) {
	line = ansi.Strip(line)
	line = strings.NewReplacer("\n", " ", "\t", " ").Replace(line)
	// The last column stays free: a terminal would wrap there.
	if w := t.o.Width(); w > 1 && utf8.RuneCountInString(line) >= w {
		line = string([]rune(line)[:w-1])
	}
	start := "\r"
	if t.midline {
		start = "\n"
		t.midline = false
	}
	t.progress = line
	_, _ = io.WriteString(t.o.Err, start+line+"\x1b[K")
}
