// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
)

// ShowKeys has the last line be this one while the loop waits.
func (t *Text) ShowKeys(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys = line
	t.showKeys()
}

func (t *Text) showKeys() {
	if t.idle && t.keys != "" && t.progress == "" && !t.raw && !t.o.Quiet && t.o.Width != nil {
		t.setProgress(t.keys)
	}
}

// NotifyAfter has the terminal notify the user when a turn of the loop has taken so
// long; 0: never.
func (t *Text) NotifyAfter(limit time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notify = limit
}

func (t *Text) changed(e event.Changed) {
	text := strings.Join(e.Paths, " ")
	if rest := e.Total - len(e.Paths); rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	at := ""
	if t.o.Now != nil {
		now := t.o.Now()
		at = now.Format("15:04:05 ")
		t.turn = now
	}
	t.say("watch", "%schanged: %s", at, text)
}

// turnFinished says what took the time of a turn.
func (t *Text) turnFinished(e event.TurnFinished) {
	var parts []string
	for _, p := range []struct {
		what string
		took time.Duration
	}{{"compile", e.Compile}, {"link", e.Link}, {"nix", e.Nix}, {"boot", e.Boot}, {"swap", e.Swap}, {"command", e.Command}} {
		if p.took > 0 {
			parts = append(parts, p.what+" "+seconds(p.took))
		}
	}
	t.say("turn", "%s", strings.Join(append(parts, "total "+seconds(e.Elapsed)), ", "))
}

// waiting says how the turn of the loop has ended.
func (t *Text) waiting(e event.Waiting) {
	t.clock = nil
	guest := "no guest runs"
	if e.VM {
		guest = "the guest runs"
	}
	code, build, title := "", "", "ready"
	switch {
	case e.Broken:
		code, title = red, "broken"
		switch {
		case t.errors > 0:
			build = "the build is broken (" + count(t.errors, "error") + "), "
			if e.VM {
				guest = "the guest runs the OLD kernel"
			}
		default:
			build = "the last build failed, "
			if e.VM {
				guest = "the previous guest keeps running"
			}
		}
	case t.broken:
		code, build = green, "the build is mended, "
	}
	t.broken = e.Broken
	text := build + guest + "; waiting for changes"
	if e.Paused {
		text = build + guest + "; paused: changes wait"
	}
	t.sayIn(code, "watch", "%s", text)
	t.setTitle(title)
	if t.notify > 0 && !t.turn.IsZero() && t.o.Now().Sub(t.turn) >= t.notify {
		// The second is what several terminals make a notification of the desktop from.
		_, _ = io.WriteString(t.o.Err, "\a\x1b]9;run-kernel: "+build+guest+"\x1b\\")
	}
	t.turn = time.Time{}
}

// Escape sequences by which a terminal remembers its title and takes it back; see
// xterm's control sequences.
const (
	pushTitle = "\x1b[22;2t"
	popTitle  = "\x1b[23;2t"
)

// setTitle has the terminal's title say where the loop stands.
func (t *Text) setTitle(state string) {
	if !t.o.Title {
		return
	}
	push := ""
	if !t.titled {
		t.titled, push = true, pushTitle
	}
	_, _ = io.WriteString(t.o.Err, push+"\x1b]2;run-kernel: "+state+"\x1b\\")
}
