// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
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
	Color    bool       // colour what needs attention
	Title    bool       // the terminal's title says where the loop stands
	// Now tells the time of day of changes; nil: without.
	Now func() time.Time
}

// plainInterval is how often the progress of make is told where no line can be
// written over.
const plainInterval = 20 * time.Second

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

// A clock is what is under way, for the progress line.
type clock struct {
	began time.Time
	line  func(elapsed time.Duration) string
}

// tickTime is how often the progress line is brought up to date.
const tickTime = 200 * time.Millisecond

// NewText returns a renderer; its Event method is an event.Sink.
func NewText(o Options) *Text { return &Text{o: o, console: o.Verbose} }

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

// say tells what a part of run-kernel did, after its name.
func (t *Text) say(what, format string, args ...any) { t.sayIn("", what, format, args...) }

// sayIn is say in a colour.
func (t *Text) sayIn(code, what, format string, args ...any) {
	if !t.o.Quiet {
		t.write(t.paint(bold, fmt.Sprintf("%-6s", what)) + " " + t.paint(code, ansi.Strip(fmt.Sprintf(format, args...))))
	}
}

// Codes of colours; see "Select Graphic Rendition" in ECMA-48.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (t *Text) paint(code, text string) string {
	if !t.o.Color || code == "" || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// mark writes lines that begin in a colour.
func (t *Text) mark(code, start, text string) {
	first, rest, more := strings.Cut(ansi.Strip(start+text), "\n")
	line := t.paint(code, first)
	if more {
		line += "\n" + rest
	}
	t.write(line)
}

// print writes lines of others, above the progress line if there is one.
func (t *Text) print(text string) { t.write(ansi.Strip(text)) }

// write writes lines as they are.
func (t *Text) write(text string) {
	t.erase()
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
	code := ""
	switch d.Severity {
	case event.Error:
		code = red
		t.errors++
	case event.Warn:
		code = yellow
	}
	if d.Severity != event.Unknown {
		where += string(d.Severity) + ": "
	}
	t.mark(code, where, d.Message)
	if d.Severity == event.Warn && !t.o.Verbose {
		return
	}
	for _, l := range d.Detail {
		t.print(l)
	}
}

func (t *Text) buildFinished(e event.BuildFinished) {
	t.clock = nil
	switch {
	case errors.Is(e.Err, context.Canceled):
		t.say("build", "stopped after %s", seconds(e.Elapsed))
	case e.Err != nil:
		t.sayIn(red, "build", "failed after %s; the log is %s", seconds(e.Elapsed), e.Log)
	case e.NewImage:
		t.say("build", "%s: %s in %s", e.Image, count(e.Objects, "object"), seconds(e.Elapsed))
	case e.External != "" && e.NewModules:
		t.say("build", "%s: %s in %s", e.External, count(e.Objects, "object"), seconds(e.Elapsed))
	case e.External != "":
		t.say("build", "%s is up to date, after %s", e.External, seconds(e.Elapsed))
	case e.NewModules:
		t.say("build", "modules: %s in %s", count(e.Objects, "object"), seconds(e.Elapsed))
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
	at := ""
	if t.o.Now != nil {
		now := t.o.Now()
		at = now.Format("15:04:05 ")
		t.turn = now
	}
	t.say("watch", "%schanged: %s", at, text)
}

// modulesSwapped says which modules the guest has now.
func (t *Text) modulesSwapped(e event.ModulesSwapped) {
	if len(e.Modules) > 0 {
		t.say("swap", "%s, after %s", strings.Join(e.Modules, ", "), seconds(e.Elapsed))
	}
	if len(e.Lost) > 0 {
		t.say("", "parameters that can't be kept, and have their defaults again: %s", strings.Join(e.Lost, ", "))
	}
	switch {
	case e.Refused != "":
		t.sayIn(yellow, "swap", "failed: %s", e.Refused)
	case len(e.Idle) > 0:
		t.say("swap", "not loaded in the guest, which finds the new one: %s", strings.Join(e.Idle, ", "))
	case len(e.Modules) == 0:
		t.say("swap", "the guest has these modules already")
	}
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

// roughly is a duration that is only estimated.
func roughly(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("about %d s", max(10, int(math.Ceil(d.Seconds()/10))*10))
	}
	return fmt.Sprintf("about %d min", int(d.Round(time.Minute).Minutes()))
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
