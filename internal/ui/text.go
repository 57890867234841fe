// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
)

// Options say how to render.
type Options struct {
	Out, Err io.Writer  // of commands in the guest; all else goes to Err
	Width    func() int // of the terminal; nil: Err is no terminal
	Quiet    bool       // only warnings of run-kernel, errors and output
	Verbose  bool       // commands, compiler warnings' details, the guest's console
	Color    bool       // colour what needs attention
	Title    bool       // the terminal's title says where the loop stands
	// Now tells the time of day of changes; nil: without.
	Now func() time.Time
}

// Text renders events for people. On a terminal the progress of a build or a boot is
// one line that is written over.
type Text struct {
	o Options

	mu       sync.Mutex
	raw      bool   // a guest's shell has the terminal
	console  bool   // show the guest's console
	progress string // what the progress line shows; empty when there is none
	midline  bool   // a command's output has not ended its line
	told     int    // the plainInterval of the build whose progress was told
	clock    *clock // of what is under way on a terminal; nil: nothing
	ticking  bool   // tick runs
	closed   bool

	errors int       // of the compiler, in the last build
	broken bool      // the build failed when the loop waited last
	turn   time.Time // when the change came that is being built; zero: none
	titled bool      // the terminal has a title of ours
	notify time.Duration
	keys   string // the line with the keys of the loop; empty: it has none
	idle   bool   // the loop waits, and that line is the last
}

// NewText returns a renderer; its Event method is an event.Sink.
func NewText(o Options) *Text { return &Text{o: o, console: o.Verbose} }

// Close gives the terminal its title back. No event may follow.
func (t *Text) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erase()
	t.closed = true
	if t.titled {
		_, _ = io.WriteString(t.o.Err, popTitle)
	}
}

// ShowConsole says whether to show the lines of the guest's console, as Verbose
// does.
func (t *Text) ShowConsole(show bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.console = show
}

// SetRaw tells whether the terminal is in raw mode, where a line ends with
// carriage return and line feed, and a progress line would be in the way.
func (t *Text) SetRaw(raw bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erase()
	t.raw = raw
	t.showKeys()
}

// Event renders e.
func (t *Text) Event(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.(type) {
	case event.Waiting:
		t.idle = true
	case event.Changed, event.BuildStarted, event.BootStarted, event.Output:
		t.idle = false
	}
	defer t.showKeys()
	switch e := e.(type) {
	case event.PhaseStarted:
	case event.BootStarted:
		if t.o.Verbose {
			t.say("boot", "%s", strings.Join(e.Command, " "))
		}
		t.setTitle("booting")
		t.bootProgress("")
	case event.Notice:
		t.say("note", "%s", e.Text)
	case event.Warning:
		t.mark(yellow, "run-kernel: warning: ", e.Text)
		if e.Hint != "" {
			t.print("hint: " + e.Hint)
		}
	case event.ConfigFixed:
		t.configFixed(e)
	case event.BuildStarted:
		t.errors = 0
		t.setTitle("building")
		if t.o.Verbose {
			t.say("build", "%s", strings.Join(e.Command, " "))
		}
	case event.BuildProgress:
		t.buildProgress(e)
	case event.Diagnostic:
		t.diagnostic(e)
	case event.BuildFinished:
		t.buildFinished(e)
	case event.BuildProved:
		// What was missed comes with a warning.
		if t.o.Verbose && len(e.Missed) == 0 {
			t.say("build", "the full make had nothing to do, after %s", seconds(e.Elapsed))
		}
	case event.UserlandStarted:
		t.say("nix", "builds %s", e.Flake)
		if t.o.Verbose {
			t.say("nix", "%s", strings.Join(e.Command, " "))
		}
	case event.UserlandProgress:
		switch {
		case t.o.Verbose:
			t.print("| " + e.Line)
		case t.o.Width != nil && !t.o.Quiet && !t.raw:
			t.setProgress("nix    " + e.Line)
		}
	case event.UserlandFinished:
		if e.Err != nil {
			t.say("nix", "gave up after %s", seconds(e.Elapsed))
		} else {
			t.say("nix", "%s after %s", e.Path, seconds(e.Elapsed))
		}
	case event.BootReady:
		t.clock = nil
		t.say("boot", "the guest answers after %s", seconds(e.Elapsed))
	case event.ModulesSwapped:
		t.modulesSwapped(e)
	case event.Console:
		if t.console {
			t.print("| " + e.Line)
		} else {
			t.bootProgress(e.Line)
		}
	case event.GuestCrashed:
		t.mark(red, fmt.Sprintf("%-6s ", "guest"), e.Message)
	case event.KernelReport:
		text := e.Title
		if e.File != "" {
			text += fmt.Sprintf(" (%s:%d)", e.File, e.Line)
		}
		t.mark(yellow, "kernel ", text)
	case event.LogNews:
		t.say("log", "%s that no good turn had:", count(len(e.Lines), "new line"))
		if !t.o.Quiet {
			t.lines(e.Lines)
		}
	case event.GuestLooked:
		t.looked(e)
	case event.KernelTrace:
		t.trace(e)
	case event.VMStopped:
		t.clock = nil
		if e.Reason != "" {
			t.print("run-kernel: " + e.Reason)
		}
		t.tail(e.Tail)
	case event.Output:
		t.erase()
		w := t.o.Out
		if e.Stderr {
			w = t.o.Err
		}
		_, _ = w.Write(e.Data)
		if n := len(e.Data); n > 0 {
			t.midline = t.o.Width != nil && e.Data[n-1] != '\n'
		}
	case event.CommandFinished:
		code := green
		if e.Status != 0 {
			code = red
		}
		t.sayIn(code, "exec", "%s: status %d after %s%s", e.Command, e.Status, seconds(e.Elapsed), ifAny(": ", e.Report))
	case event.TestStarted:
		t.say("test", "%s%s", testIndent(e.Path), lastOf(e.Path))
	case event.TestFinished:
		t.testFinished(e)
	case event.TestsFinished:
		t.testsFinished(e)
	case event.Failed:
		t.clock = nil
		var b strings.Builder
		Error(&b, e.Err)
		t.mark(red, "", strings.TrimSuffix(b.String(), "\n"))
	case event.WatchStarted:
		t.say("watch", "%d directories, after %s", e.Dirs, seconds(e.Elapsed))
	case event.Changed:
		t.changed(e)
	case event.TurnFinished:
		t.turnFinished(e)
	case event.Waiting:
		t.waiting(e)
	}
}

func (t *Text) tail(lines []string) {
	if len(lines) == 0 {
		return
	}
	t.print("last lines of the console:")
	for _, l := range lines {
		t.print("| " + l)
	}
}
