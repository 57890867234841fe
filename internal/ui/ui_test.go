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
	red   = "\x1b[1;31m"
	reset = "\x1b[0m"
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
		Detail: []string{"    4 |         return " + red + "undeclared" + reset + ";", "      |                ^~~~~~~~~~"},
	},
	event.BuildProgress{Done: 1400, Total: 1380, Elapsed: 65 * time.Second, Current: "CC überlang/größe/\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4.o"},
	event.Diagnostic{File: "init/main.c", Line: 9, Severity: event.Warn, Message: "unused variable", Detail: []string{"    9 | int x;"}},
	event.Diagnostic{File: "fs/foo.o", Severity: event.Note, Message: "a note"},
	event.Diagnostic{Message: "something " + red + "red" + reset + "\r\a\x00\u009b1m of unknown severity"},
	event.BuildFinished{Elapsed: 95 * time.Second, Objects: 12, Log: "/linux/.run-kernel/build.log", Err: errors.New("make failed: exit status 2")},
	event.BuildFinished{Elapsed: time.Second, Objects: 1, Log: "/linux/.run-kernel/build.log", Err: fmt.Errorf("%w: overtaken", context.Canceled)},
	event.BuildFinished{Elapsed: 6800 * time.Millisecond, Objects: 1, Image: "/linux/vmlinux", NewImage: true, Log: "/linux/.run-kernel/build.log"},
	event.BuildFinished{Elapsed: 4300 * time.Millisecond, Image: "/linux/vmlinux", Log: "/linux/.run-kernel/build.log"},
	event.UserlandStarted{Flake: "path:/linux/nixos#vm", Command: []string{"/usr/bin/nix", "build", "path:/linux/nixos#vm"}},
	event.UserlandProgress{Line: "copying path '/nix/store/" + red + "00000000000000000000000000000000-systemd" + reset + "' from 'https://cache.nixos.org'"},
	event.UserlandFinished{Elapsed: 2 * time.Second, Err: errors.New("nix could not build it")},
	event.UserlandFinished{Path: "/nix/store/00000000000000000000000000000000-nixos-system-vm", Elapsed: 75 * time.Second},
	event.PhaseStarted{Phase: event.PhaseBoot},
	event.BootStarted{Image: "/linux/vmlinux", Accel: "tcg", Command: []string{"qemu-system-x86_64", "-nodefaults"}},
	event.Console{Line: "[    0.000000] Linux version 6.1.0"},
	event.BootReady{Elapsed: 1300 * time.Millisecond},
	event.PhaseStarted{Phase: event.PhaseRun},
	event.Output{Data: []byte("to stdout\n")},
	event.Output{Stderr: true, Data: []byte("to " + red + "stderr" + reset + ", without an end")},
	event.BuildProgress{Done: 1, Elapsed: time.Second, Current: "CC a.o"},
	event.Output{Data: []byte("half a line")},
	event.CommandFinished{Command: "make -C tools/testing/selftests", Status: 1, Elapsed: 2500 * time.Millisecond},
	event.GuestCrashed{Message: "Kernel panic - not syncing: sysrq triggered crash"},
	event.VMStopped{Reason: "the kernel panicked", Tail: []string{"[    1.0] one", "[    1.1] two"}},
	event.VMStopped{},
	event.Failed{Err: fmt.Errorf("boot: %w", &hinted{text: "qemu ended", hint: "try --dry-run"})},
	event.Changed{Paths: []string{"fs/foo.c", "fs/\x1b]0;title\abar.c"}, Total: 4},
	event.Changed{Paths: []string{"fs/foo.c"}, Total: 1},
	event.Waiting{VM: true},
	event.Waiting{},
}

func TestText(t *testing.T) {
	width := func() int { return 60 }
	for name, o := range map[string]Options{
		"plain": {}, "terminal": {Width: width}, "quiet": {Width: width, Quiet: true}, "verbose": {Verbose: true}, "raw": {Width: width},
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
			// Keep control characters visible, and ends of lines as they are.
			golden(t, name, strings.NewReplacer("\x1b", "<ESC>", "\r", "<CR>", "\a", "<BEL>", "\x00", "<NUL>").Replace(out.String()))
			if name == "raw" && regexp.MustCompile(`[^\r]\n`).MatchString(strings.ReplaceAll(out.String(), "to stdout\n", "")) {
				t.Error("a line of a raw terminal ends without a carriage return")
			}
		})
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
