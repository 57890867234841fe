// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/metaspace/run-kernel/internal/ansi"
	"github.com/metaspace/run-kernel/internal/event"
)

// Options say how to render.
type Options struct {
	Out, Err io.Writer  // of commands in the guest; all else goes to Err
	Width    func() int // of the terminal; nil: Err is no terminal
	Quiet    bool       // only warnings of run-kernel, errors and output
	Verbose  bool       // commands, compiler warnings' details, the guest's console
}

// plainInterval is how often the progress of make is told where no line can be
// written over.
const plainInterval = 20 * time.Second

// Text renders events for people. On a terminal the progress of make is one
// line that is written over.
type Text struct {
	o Options

	mu       sync.Mutex
	raw      bool   // a guest's shell has the terminal
	console  bool   // show the guest's console
	progress string // what the progress line shows; empty when there is none
	midline  bool   // a command's output has not ended its line
	told     int    // the plainInterval of the build whose progress was told
}

// NewText returns a renderer; its Event method is an event.Sink.
func NewText(o Options) *Text { return &Text{o: o, console: o.Verbose} }

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
}

// Event renders e.
func (t *Text) Event(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := e.(type) {
	case event.PhaseStarted, event.BootStarted:
		if b, ok := e.(event.BootStarted); ok && t.o.Verbose {
			t.say("boot", "%s", strings.Join(b.Command, " "))
		}
	case event.Notice:
		t.say("note", "%s", e.Text)
	case event.Warning:
		t.print("run-kernel: warning: " + e.Text)
		if e.Hint != "" {
			t.print("hint: " + e.Hint)
		}
	case event.ConfigFixed:
		t.configFixed(e)
	case event.BuildStarted:
		if t.o.Verbose {
			t.say("build", "%s", strings.Join(e.Command, " "))
		}
	case event.BuildProgress:
		t.buildProgress(e)
	case event.Diagnostic:
		t.diagnostic(e)
	case event.BuildFinished:
		t.buildFinished(e)
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
		t.say("boot", "the guest answers after %s", seconds(e.Elapsed))
	case event.Console:
		if t.console {
			t.print("| " + e.Line)
		}
	case event.GuestCrashed:
		t.print(fmt.Sprintf("%-6s %s", "guest", e.Message))
	case event.VMStopped:
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
		t.say("exec", "%s: status %d after %s", e.Command, e.Status, seconds(e.Elapsed))
	case event.Failed:
		var b strings.Builder
		Error(&b, e.Err)
		t.print(strings.TrimSuffix(b.String(), "\n"))
	case event.WatchStarted:
		t.say("watch", "%d folders, after %s", e.Dirs, seconds(e.Elapsed))
	case event.Changed:
		t.changed(e)
	case event.Waiting:
		if e.VM {
			t.say("watch", "the guest runs; waiting for changes")
		} else {
			t.say("watch", "no guest runs; waiting for changes")
		}
	}
}

func (t *Text) say(what, format string, args ...any) {
	if !t.o.Quiet {
		t.print(fmt.Sprintf("%-6s %s", what, fmt.Sprintf(format, args...)))
	}
}

// print writes lines, above the progress line if there is one.
func (t *Text) print(text string) {
	t.erase()
	text = ansi.Strip(text)
	if t.midline {
		text = "\n" + text
		t.midline = false
	}
	end := "\n"
	if t.raw {
		end = "\r\n"
		text = strings.ReplaceAll(text, "\n", end)
	}
	_, _ = io.WriteString(t.o.Err, text+end)
}

func (t *Text) erase() {
	if t.progress != "" {
		_, _ = io.WriteString(t.o.Err, "\r\x1b[K")
		t.progress = ""
	}
}

func (t *Text) configFixed(e event.ConfigFixed) {
	t.say("config", "%s: %s changed", e.Path, count(len(e.Edits), "option"))
	shown := 0
	for _, d := range e.Edits {
		if d.Why == "" && !t.o.Verbose {
			continue
		}
		shown++
		t.say("", "  %-24s %s -> %s%s", d.Symbol, orAbsent(d.From), orAbsent(d.To), ifAny("  ", d.Why))
	}
	if rest := len(e.Edits) - shown; rest > 0 {
		t.say("", "  and %d more that the kernel's conf changed (-v shows them)", rest)
	}
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func orAbsent(v string) string {
	if v == "" {
		return "absent"
	}
	return v
}

func ifAny(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

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
				t.say("build", "%s after %s", objects, e.Elapsed.Truncate(time.Second))
			}
		}
		return
	}
	t.setProgress(fmt.Sprintf("build  %s, %s  %s", objects, e.Elapsed.Truncate(time.Second), e.Current))
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

func (t *Text) diagnostic(d event.Diagnostic) {
	if d.Severity == event.Note || d.Severity == event.Warn && t.o.Quiet {
		return
	}
	var where string
	if d.File != "" {
		where = d.File + ":"
		if d.Line > 0 {
			where += fmt.Sprintf("%d:", d.Line)
		}
		if d.Column > 0 {
			where += fmt.Sprintf("%d:", d.Column)
		}
		where += " "
	}
	if d.Severity != event.Unknown {
		where += string(d.Severity) + ": "
	}
	t.print(where + d.Message)
	if d.Severity == event.Warn && !t.o.Verbose {
		return
	}
	for _, l := range d.Detail {
		t.print(l)
	}
}

func (t *Text) buildFinished(e event.BuildFinished) {
	switch {
	case errors.Is(e.Err, context.Canceled):
		t.say("build", "stopped after %s", seconds(e.Elapsed))
	case e.Err != nil:
		t.say("build", "failed after %s; the log is %s", seconds(e.Elapsed), e.Log)
	case e.NewImage:
		t.say("build", "%s: %s in %s", e.Image, count(e.Objects, "object"), seconds(e.Elapsed))
	default:
		t.say("build", "%s is up to date, after %s", e.Image, seconds(e.Elapsed))
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

func (t *Text) changed(e event.Changed) {
	text := strings.Join(e.Paths, " ")
	if rest := e.Total - len(e.Paths); rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	t.say("watch", "changed: %s", text)
}

func seconds(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
