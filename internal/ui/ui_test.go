// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

// hinted is an error with a next step.
type hinted struct {
	text, hint string
	err        error
}

func (e *hinted) Error() string { return e.text }
func (e *hinted) Hint() string  { return e.hint }
func (e *hinted) Unwrap() error { return e.err }

const (
	sgrRed   = "\x1b[1;31m"
	sgrReset = "\x1b[0m"
)

// session has every event, those with several shapes in all of them.
var session = []event.Event{
	event.WatchStarted{Dirs: 5096, Elapsed: 85 * time.Millisecond},
	event.PhaseStarted{Phase: event.PhaseCheck},
	event.Notice{Text: "there is no .config: starting from the architecture's defconfig"},
	event.Warning{Text: "the disk is nearly full", Hint: "make room"},
	event.Warning{Text: "without a hint"},
	event.ConfigFixed{Path: "/linux/.config", Edits: []event.ConfigEdit{
		{Symbol: "VIRTIO_FS", From: "n", To: "y", Why: "the guest's userland is a directory of the host"},
		{Symbol: "NR_CPUS", From: "", To: "8", Why: "the guest has as many processors as asked for"},
		{Symbol: "DAX", From: "y", To: ""},
	}},
	event.ConfigFixed{Path: "/linux/.config", Edits: []event.ConfigEdit{{Symbol: "SMP", From: "n", To: "y", Why: "more than one"}}},
	event.PhaseStarted{Phase: event.PhaseBuild},
	event.BuildStarted{Dir: "/linux", Command: []string{"/usr/bin/make", "-C", "/linux", "-j2", "vmlinux"}},
	event.BuildProgress{Done: 0, Elapsed: 20 * time.Millisecond, Current: "HOSTCC scripts/basic/fixdep"},
	event.BuildProgress{Done: 12, Total: 1380, Elapsed: 3*time.Second + 400*time.Millisecond, Current: "CC drivers/net/ethernet/somevendor/with/a/long/path/driver_main_file.o"},
	event.Diagnostic{
		File: "init/main.c", Line: 4, Column: 30, Severity: event.Error, Message: "'undeclared' undeclared",
		Detail: []string{"    4 |         return " + sgrRed + "undeclared" + sgrReset + ";", "      |                ^~~~~~~~~~"},
	},
	event.BuildProgress{Done: 345, Total: 1380, Elapsed: 60 * time.Second, Left: 3 * time.Minute, Current: "CC fs/a.o"},
	event.BuildProgress{Done: 1300, Total: 1380, Elapsed: 80 * time.Second, Left: 14 * time.Second, Current: "CC fs/b.o"},
	event.BuildProgress{Done: 1400, Total: 1380, Elapsed: 65 * time.Second, Current: "CC überlang/größe/\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4.o"},
	event.Diagnostic{File: "init/main.c", Line: 9, Severity: event.Warn, Message: "unused variable", Detail: []string{"    9 | int x;"}},
	event.Diagnostic{File: "fs/foo.o", Severity: event.Note, Message: "a note"},
	event.Diagnostic{Message: "something " + sgrRed + "red" + sgrReset + "\r\a\x00\u009b1m of unknown severity"},
	event.BuildFinished{Elapsed: 95 * time.Second, Objects: 12, Log: "/linux/.run-kernel/build.log", Err: errors.New("make failed: exit status 2")},
	event.BuildFinished{Elapsed: time.Second, Objects: 1, Log: "/linux/.run-kernel/build.log", Err: fmt.Errorf("%w: overtaken", context.Canceled)},
	event.BuildFinished{Elapsed: 6800 * time.Millisecond, Objects: 1, Image: "/linux/vmlinux", NewImage: true, Log: "/linux/.run-kernel/build.log"},
	event.BuildFinished{Elapsed: 4300 * time.Millisecond, Image: "/linux/vmlinux", Log: "/linux/.run-kernel/build.log"},
	event.BuildFinished{Elapsed: 2 * time.Second, Objects: 2, Image: "/linux/vmlinux", NewModules: true, Log: "/linux/.run-kernel/build.log"},
	event.BuildFinished{External: "/home/me/mine", Elapsed: time.Second, Objects: 1, Image: "/linux/vmlinux", NewModules: true, Log: "/linux/.run-kernel/external.log"},
	event.BuildFinished{External: "/home/me/mine", Elapsed: time.Second, Image: "/linux/vmlinux", Log: "/linux/.run-kernel/external.log"},
	event.BuildProved{Elapsed: 8 * time.Second},
	event.BuildProved{Elapsed: 8 * time.Second, Missed: []string{"CC init/main.o", "LD vmlinux"}},
	event.UserlandStarted{Flake: "path:/linux/nixos#vm", Command: []string{"/usr/bin/nix", "build", "path:/linux/nixos#vm"}},
	event.UserlandProgress{Line: "copying path '/nix/store/" + sgrRed + "00000000000000000000000000000000-systemd" + sgrReset + "' from 'https://cache.nixos.org'"},
	event.UserlandFinished{Elapsed: 2 * time.Second, Err: errors.New("nix could not build it")},
	event.UserlandFinished{Path: "/nix/store/00000000000000000000000000000000-nixos-system-vm", Elapsed: 75 * time.Second},
	event.PhaseStarted{Phase: event.PhaseBoot},
	event.BootStarted{Image: "/linux/vmlinux", Accel: "tcg", Command: []string{"qemu-system-x86_64", "-nodefaults"}},
	event.Console{Line: "[    0.000000] Linux version 6.1.0"},
	event.BootReady{Elapsed: 1300 * time.Millisecond},
	event.ModulesSwapped{Modules: []string{"lib", "mine speed=9"}, Lost: []string{"mine.label"}, Idle: []string{"other"}, Elapsed: 210 * time.Millisecond},
	event.ModulesSwapped{Refused: "mine is in use", Elapsed: 20 * time.Millisecond},
	event.ModulesSwapped{Elapsed: 20 * time.Millisecond},
	event.PhaseStarted{Phase: event.PhaseRun},
	event.Output{Data: []byte("to stdout\n")},
	event.Output{Stderr: true, Data: []byte("to " + sgrRed + "stderr" + sgrReset + ", without an end")},
	event.BuildProgress{Done: 1, Elapsed: time.Second, Current: "CC a.o"},
	event.Output{Data: []byte("half a line")},
	event.CommandFinished{Command: "make -C tools/testing/selftests", Status: 1, Elapsed: 2500 * time.Millisecond},
	event.GuestCrashed{Message: "Kernel panic - not syncing: sysrq triggered crash"},
	event.KernelReport{Title: "WARNING in probe", Class: "warning", Function: "probe", File: "drivers/misc/mine.c", Line: 12, Up: true},
	event.KernelReport{Title: "possible deadlock in probe", Class: "lockdep", Function: "probe"},
	event.KernelTrace{
		Title: "WARNING in probe", File: "drivers/misc/mine.c", Line: 12, Edited: true,
		Frames: []event.KernelFrame{
			{Function: "check", File: "drivers/misc/mine.h", Line: 4, Inlined: true, Module: "mine"},
			{Function: "probe", File: "drivers/misc/mine.c", Line: 12, Module: "mine", Offset: 0x11, Size: 0x20},
			{Function: "really_probe", Offset: 0x10, Size: 0x20},
			{Function: "entry"},
		},
		Source: []event.SourceLine{{Number: 10, Text: "{"}, {Number: 11}, {Number: 12, Text: "\tcheck(dev); " + sgrRed}, {Number: 13, Text: "}"}},
	},
	event.KernelTrace{Title: "WARNING in deep", Frames: slices.Repeat([]event.KernelFrame{{Function: "step", File: "lib/deep.c", Line: 7}}, 22)},
	event.CommandFinished{Command: "modprobe mine", Status: 101, Elapsed: time.Second, Report: "WARNING in probe"},
	event.LogNews{Lines: []string{"[    1.234567] mine: ready"}},
	event.GuestLooked{
		Processors: []event.CPU{
			{Index: 0, State: "idle", PC: "ffffffff81a5d2a8", Frames: []event.KernelFrame{{Function: "default_idle"}}},
			{Index: 1, State: "kernel", PC: "ffffffff81000010", Frames: []event.KernelFrame{
				{Function: "cpu_relax", File: "arch/x86/include/asm/vdso/processor.h", Line: 18, Inlined: true},
				{Function: "queued_spin_lock_slowpath", File: "kernel/locking/qspinlock.c", Line: 474},
				{Function: "probe"},
				{Function: "do_one_initcall"},
				{Function: "three"},
				{Function: "four"},
				{Function: "five"},
			}},
			{Index: 2, State: "user", PC: "0000000000401000"},
			{Index: 3, State: "off", PC: "000000000000fff0"},
			{Index: 4, State: "halted", PC: "ffffffff81000020", Frames: []event.KernelFrame{{Function: "stop_this_cpu"}}},
			{Index: 5, State: "kernel", PC: "ffffffffc0000000"},
		},
		Tasks: slices.Repeat([]string{"[    9.0] task:mine state:D"}, 22),
		Log:   []string{"Linux version 6.1.0", "Kernel panic - not syncing: early"},
	},
	event.VMStopped{Reason: "the kernel panicked", Tail: []string{"[    1.0] one", "[    1.1] two"}},
	event.TestStarted{Path: []string{"list-kunit-test"}, Plan: 3},
	event.TestFinished{Path: []string{"list-kunit-test", "list_test_list_init"}, Status: "passed", Elapsed: 2 * time.Millisecond},
	event.TestFinished{Path: []string{"list-kunit-test", "list_test_skip"}, Status: "skipped", Directive: "SKIP", Reason: "no lists here"},
	event.TestFinished{
		Path: []string{"list-kunit-test", "list_test_list_add"}, Status: "failed", Elapsed: 3 * time.Second,
		Log: append(slices.Repeat([]string{"before"}, 30), "EXPECTATION FAILED at lib/list-test.c:30", "\x1b[31mred"), File: "lib/list-test.c", Line: 30,
	},
	event.TestFinished{Path: []string{"list-kunit-test"}, Group: true, Status: "failed", Elapsed: 4 * time.Second, Missing: 1, Errors: []string{"1 of 4 tests never came"}},
	event.TestFinished{Path: []string{""}, Group: true, Status: "no-tests"},
	event.TestsFinished{Status: "failed", Passed: 1, Failed: 1, Skipped: 1, Elapsed: 4 * time.Second, Began: []string{"list-kunit-test.list_test_list_add"}, Ceased: []string{"other.one"}, Compared: true},
	event.TestsFinished{Status: "passed", Passed: 1, Elapsed: time.Second, Compared: true},
	event.TestsFinished{Status: "no-ktap", Errors: []string{"there is no KTAP in the output"}},
	event.VMStopped{},
	event.Failed{Err: fmt.Errorf("boot: %w", &hinted{text: "qemu ended", hint: "try --dry-run"})},
	event.Changed{Paths: []string{"fs/foo.c", "fs/\x1b]0;title\abar.c"}, Total: 4},
	event.Changed{Paths: []string{"fs/foo.c"}, Total: 1},
	event.TurnFinished{
		Changed: []string{"fs/foo.c"}, Total: 1, Check: 20 * time.Millisecond, Compile: 1300 * time.Millisecond, Link: 3200 * time.Millisecond, Nix: 2 * time.Minute, Swap: 200 * time.Millisecond,
		Boot: 1400 * time.Millisecond, Command: 230 * time.Millisecond, Elapsed: 127 * time.Second, Objects: 1, Result: "ok",
	},
	event.Waiting{VM: true},
	event.TurnFinished{Compile: 2100 * time.Millisecond, Elapsed: 2400 * time.Millisecond, Result: "build failed"},
	event.Waiting{},
	event.Diagnostic{File: "a.c", Line: 1, Severity: event.Error, Message: "no"},
	event.Waiting{VM: true, Broken: true},
	event.Waiting{VM: true},
	event.BuildStarted{Dir: "/linux", Command: []string{"make"}},
	event.Waiting{Broken: true},
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestText(t *testing.T) {
	width := func() int { return 60 }
	for name, o := range map[string]Options{
		"plain": {}, "terminal": {Width: width}, "quiet": {Width: width, Quiet: true}, "verbose": {Verbose: true}, "raw": {Width: width},
		"color": {Width: width, Color: true, Title: true, Now: func() time.Time { return noon }},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			o.Out, o.Err = &out, &out // a terminal is both
			r := NewText(o)
			if name == "raw" {
				r.Event(event.BuildProgress{Done: 1, Current: "CC a.o"})
				r.SetRaw(true)
			}
			for _, e := range session {
				r.Event(e)
			}
			r.Close()
			// Keep control characters visible, and ends of lines as they are.
			golden(t, name, strings.NewReplacer("\x1b", "<ESC>", "\r", "<CR>", "\a", "<BEL>", "\x00", "<NUL>").Replace(out.String()))
			if name == "raw" && regexp.MustCompile(`[^\r]\n`).MatchString(strings.ReplaceAll(out.String(), "to stdout\n", "")) {
				t.Error("a line of a raw terminal ends without a carriage return")
			}
		})
	}
}

// A turn that took long rings, and no other.
func TestNotify(t *testing.T) {
	now := noon
	for took, want := range map[time.Duration]bool{time.Second: false, 10 * time.Second: true} {
		var out bytes.Buffer
		r := NewText(Options{Out: &out, Err: &out, Now: func() time.Time { return now }})
		r.NotifyAfter(10 * time.Second)
		r.Event(event.Waiting{VM: true}) // the first needs no notice: no change came before
		r.Event(event.Changed{Paths: []string{"a.c"}, Total: 1})
		now = now.Add(took)
		r.Event(event.Waiting{VM: true})
		if got := strings.Count(out.String(), "\a\x1b]9;run-kernel: the guest runs\x1b\\"); got == 1 != want {
			t.Errorf("after %s: %q", took, out.String())
		}
	}
}

// The line with the keys is the last while the loop waits, and only then.
func TestKeysComeLast(t *testing.T) {
	var out bytes.Buffer
	r := NewText(Options{Out: &out, Err: &out, Width: func() int { return 80 }})
	r.ShowKeys("q quit")
	r.Event(event.Notice{Text: "before"})
	if strings.Contains(out.String(), "q quit") {
		t.Errorf("before the loop waits: %q", out.String())
	}
	r.Event(event.Waiting{VM: true})
	r.Event(event.Notice{Text: "meanwhile"})
	if !strings.HasSuffix(out.String(), "\r\x1b[Knote   meanwhile\n\rq quit\x1b[K") {
		t.Errorf("while it waits: %q", out.String())
	}
	r.Event(event.Changed{Paths: []string{"a.c"}, Total: 1})
	if !strings.HasSuffix(out.String(), "a.c\n") {
		t.Errorf("after a change: %q", out.String())
	}
	r.Event(event.Waiting{VM: true})
	r.SetRaw(true)
	if !strings.HasSuffix(out.String(), "\r\x1b[K") {
		t.Errorf("a shell has the terminal: %q", out.String())
	}
	r.SetRaw(false)
	if !strings.HasSuffix(out.String(), "q quit\x1b[K") {
		t.Errorf("after the shell: %q", out.String())
	}
}

// On a terminal of any width the progress line stays one line, and whole
// characters.
func TestProgressWidth(t *testing.T) {
	for width := range 100 {
		var out bytes.Buffer
		r := NewText(Options{Out: &out, Err: &out, Width: func() int { return width }})
		r.Event(event.BuildProgress{Done: 1, Current: "CC\t\x1b[1mäöü\x1b[0m" + strings.Repeat("ß", 100) + "\n"})
		line := strings.TrimSuffix(strings.TrimPrefix(out.String(), "\r"), "\x1b[K")
		if n := len([]rune(line)); width > 1 && n >= width || strings.ContainsAny(line, "\ufffd\x1b\n\t\r") {
			t.Errorf("%d columns: %q", width, line)
		}
	}
}

func TestOutputStreams(t *testing.T) {
	var out, errOut bytes.Buffer
	r := NewText(Options{Out: &out, Err: &errOut})
	raw := "\x1b[31mraw\x00\xff"
	r.Event(event.Output{Data: []byte(raw)})
	r.Event(event.Output{Stderr: true, Data: []byte("err")})
	r.Event(event.Waiting{})
	if out.String() != raw {
		t.Errorf("standard output got %q", out.String())
	}
	if errOut.String() != "errwatch  no guest runs; waiting for changes\n" {
		t.Errorf("standard error got %q", errOut.String())
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	sink := JSON(&out)
	for _, e := range session {
		sink(e)
	}
	for l := range strings.Lines(out.String()) {
		var object map[string]any
		if err := json.Unmarshal([]byte(l), &object); err != nil {
			t.Fatal(err)
		}
		for k, v := range object {
			if v == nil && k != "err" {
				t.Errorf("%s is null in %s", k, l)
			}
		}
		if _, err := time.Parse(time.RFC3339Nano, object["time"].(string)); err != nil {
			t.Error(err)
		}
	}
	golden(t, "json", regexp.MustCompile(`"time":"[^"]*"`).ReplaceAllString(out.String(), `"time":"T"`))
}

// A character may arrive in pieces, and the streams between each other.
func TestJSONOutput(t *testing.T) {
	var out bytes.Buffer
	sink := JSON(&out)
	text := "aä€𝄞"
	for i := range len(text) {
		sink(event.Output{Data: []byte{text[i]}})
		sink(event.Output{Stderr: true, Data: []byte{text[i]}})
	}
	sink(event.Output{Data: []byte("x\xff\xe2\x82")})
	sink(event.CommandFinished{})
	got := map[bool]string{}
	for d := json.NewDecoder(&out); d.More(); {
		var o struct {
			Event, Data string
			Stderr      bool
		}
		if err := d.Decode(&o); err != nil {
			t.Fatal(err)
		}
		if o.Event == "output" {
			got[o.Stderr] += o.Data
		}
	}
	if diff := cmp.Diff(map[bool]string{false: text + "x\ufffd\ufffd", true: text}, got); diff != "" {
		t.Error(diff)
	}
}

func TestJSONError(t *testing.T) {
	var out bytes.Buffer
	JSONError(&out, fmt.Errorf("a <b> & c: %w", &hinted{text: "d", hint: "h"}), 125)
	JSONError(&out, errors.New("plain"), 2)
	got := regexp.MustCompile(`"time":"[^"]*"`).ReplaceAllString(out.String(), `"time":"T"`)
	want := `{"error":"a <b> & c: d","event":"error","hints":["h"],"status":125,"time":"T"}
{"error":"plain","event":"error","hints":[],"status":2,"time":"T"}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Each type of event is in the session above, so that the golden files show what
// becomes of it, and has a case in the text renderer.
func TestEveryEventIsRendered(t *testing.T) {
	declared := map[string]bool{}
	for _, d := range source(t, "../event/event.go").Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "event" && f.Recv != nil {
			declared[f.Recv.List[0].Type.(*ast.Ident).Name] = true
		}
	}
	if len(declared) < 15 {
		t.Fatalf("found only %v", declared)
	}
	shown, reserved := map[string]bool{}, []string{"time", "event", "hints"}
	for _, e := range session {
		v := reflect.TypeOf(e)
		shown[v.Name()] = true
		for i := range v.NumField() {
			if slices.Contains(reserved, snake(v.Field(i).Name)) {
				t.Errorf("%s.%s has the name of a field that each JSON object has", v.Name(), v.Field(i).Name)
			}
		}
	}
	cases := map[string]bool{}
	ast.Inspect(source(t, "text.go"), func(n ast.Node) bool {
		if c, ok := n.(*ast.CaseClause); ok {
			for _, e := range c.List {
				if s, ok := e.(*ast.SelectorExpr); ok && fmt.Sprint(s.X) == "event" {
					cases[s.Sel.Name] = true
				}
			}
		}
		return true
	})
	for name := range maps.Keys(declared) {
		if !shown[name] {
			t.Errorf("event.%s isn't in the session", name)
		}
		if !cases[name] {
			t.Errorf("event.%s has no case in Text.Event", name)
		}
	}
}

func source(t *testing.T, path string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{
		"NewImage": "new_image", "VMStopped": "vm_stopped", "VM": "vm", "Done": "done", "BuildFinished": "build_finished", "X": "x",
	} {
		if got := snake(name); got != want {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestError(t *testing.T) {
	inner := &hinted{text: "inner", hint: "do this"}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"plain", errors.New("x"), "run-kernel: error: x\n"},
		{"hint", inner, "run-kernel: error: inner\nhint: do this\n"},
		{"wrapped hint", fmt.Errorf("boot: %w", inner), "run-kernel: error: boot: inner\nhint: do this\n"},
		{"two hints", &hinted{"outer", "then that", inner}, "run-kernel: error: outer\nhint: then that\nhint: do this\n"},
		{"the same hint twice", &hinted{"outer", "do this", fmt.Errorf("x: %w", inner)}, "run-kernel: error: outer\nhint: do this\n"},
		{"an empty hint", &hinted{"outer", "", inner}, "run-kernel: error: outer\nhint: do this\n"},
		{
			"joined", errors.Join(errors.New("a"), inner, errors.Join(errors.New("b"))),
			"run-kernel: error: a\nrun-kernel: error: inner\nhint: do this\nrun-kernel: error: b\n",
		},
		{
			"joined and wrapped", fmt.Errorf("x: %w", errors.Join(errors.New("a"), inner)),
			"run-kernel: error: x: a\ninner\nhint: do this\n",
		},
		{"two wrapped", fmt.Errorf("%w: %w", inner, inner), "run-kernel: error: inner: inner\nhint: do this\n"},
		{"several lines", errors.New("a:\n\tb"), "run-kernel: error: a:\n\tb\n"},
		{"control characters", &hinted{"a\x1b[2Jb\r", "c\x1b]0;t\x1b\\d", nil}, "run-kernel: error: ab\nhint: cd\n"},
	} {
		var b strings.Builder
		Error(&b, c.err)
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	Table(&b, 50, []string{"OPTION", "HAVE", "WHY"}, [][]string{
		{"VIRTIO_FS", "n", "the guest's userland is a directory of the host"},
		{"ÄÖÜ", "ß", ""},
		{"X", "y", "averylongwordthatdoesntfitintothecolumnatallandstaysasitis"},
	})
	want := `OPTION     HAVE  WHY
VIRTIO_FS  n     the guest's userland is a
                 directory of the host
ÄÖÜ        ß
X          y     averylongwordthatdoesntfitintothecolumnatallandstaysasitis
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	b.Reset()
	Table(&b, 0, []string{"A"}, [][]string{{"a b  c"}})
	if got := b.String(); got != "A\na b  c\n" {
		t.Errorf("got %q", got)
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 85 * time.Millisecond: "85 ms", 1300 * time.Millisecond: "1.3 s", 59 * time.Second: "59.0 s",
		60 * time.Second: "1m0s", 95*time.Second + 600*time.Millisecond: "1m36s", 2 * time.Hour: "2h0m0s",
	} {
		if got := seconds(d); got != want {
			t.Errorf("%v: got %s", d, got)
		}
	}
}

// documentedEvents are the rows of the table of events in docs/json.md: event, field and
// type.
func documentedEvents(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("# JSON\n\nVersion %d. ", JSONVersion); !strings.HasPrefix(string(data), want) {
		t.Errorf("docs/json.md doesn't begin with %q", want)
	}
	_, table, _ := strings.Cut(string(data), "| event | field | type | meaning |\n|---|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var rows []string
	name := ""
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			t.Fatalf("docs/json.md has the row %q", line)
		}
		if n := strings.Trim(cells[1], " `"); n != "" {
			name = n
		}
		rows = append(rows, name+" "+strings.Trim(cells[2], " `")+": "+strings.TrimSpace(cells[3]))
	}
	return rows
}

// docs/json.md has each event, with each of its fields.
func TestDocumentedJSON(t *testing.T) {
	var want []string
	var describe func(name string, v reflect.Type)
	describe = func(name string, v reflect.Type) {
		for i := range v.NumField() {
			f := v.Field(i)
			kind := f.Type.String()
			switch {
			case f.Type == reflect.TypeFor[time.Duration]():
				kind = "seconds"
			case f.Type == reflect.TypeFor[error]():
				kind = "text or null"
			case f.Type == reflect.TypeFor[[]byte](), f.Type.Kind() == reflect.String:
				kind = "text"
			case f.Type == reflect.TypeFor[[]string]():
				kind = "list of text"
			case f.Type.Kind() == reflect.Slice:
				kind = "list of objects"
				defer describe(name+"."+snake(f.Name), f.Type.Elem())
			case f.Type.Kind() == reflect.Int, f.Type.Kind() == reflect.Uint64:
				kind = "number"
			case f.Type.Kind() == reflect.Bool:
				kind = "true or false"
			}
			want = append(want, name+" "+snake(f.Name)+": "+kind)
		}
	}
	seen := map[reflect.Type]bool{}
	for _, e := range session {
		if v := reflect.TypeOf(e); !seen[v] {
			seen[v] = true
			describe(snake(v.Name()), v)
		}
	}
	want = slices.DeleteFunc(want, func(row string) bool { return row == "failed err: text or null" })
	want = append(want, "failed err: text", "failed hints: list of text")
	// Those that aren't events for others.
	want = append(want, "error error: text", "error hints: list of text", "error status: number", "command command: list of text")
	got := documentedEvents(t)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is printed, and what docs/json.md says: %s", diff)
	}
}
