// SPDX-License-Identifier: GPL-3.0-only

package decode_test

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/boot/report/decode"
)

// bannerSource is what init/version.c has of a kernel's identity.
const bannerSource = `const char linux_banner[] = "Linux version 6.1.7 (me@host) (gcc 12) #3 SMP Mon Jan 1 00:00:00 UTC 2026\n";
int kernel_init(void) { return 0; }
`

// labelSource is assembly with labels that have no size.
const labelSource = `.text
.globl entry
entry:
	nop
.globl label
label:
	nop
	nop
.globl after
after:
	nop
`

// kernel makes a vmlinux and a module of the sources, compiled with flags.
func kernel(t *testing.T, flags ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	writeSources(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "init"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "init/main.c"), []byte(bannerSource), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "label.S"), []byte(labelSource), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first.c", "second.c", "init/main.c", "label.S"} {
		tool(t, dir, append(append([]string{"gcc"}, flags...), "-O2", "-c", filepath.Join(dir, name), "-o", strings.TrimSuffix(name, filepath.Ext(name))+".o")...)
	}
	tool(t, dir, "gcc", "-no-pie", "-Wl,--build-id", "first.o", "second.o", "init/main.o", "label.o", "-o", "vmlinux")
	tool(t, dir, "ld", "-r", "--build-id", "first.o", "second.o", "-o", "some-module.ko")
	return dir
}

// a frame names the instruction of a function at which the source has a line.
func frame(t *testing.T, path, function, module string, size uint64, at string) string {
	t.Helper()
	f, err := decode.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for offset := range size {
		places, err := f.Decode(function, offset, size)
		if err != nil {
			t.Fatal(err)
		}
		if len(places) > 0 && fmt.Sprintf("%s:%d", filepath.Base(places[0].File), places[0].Line) == at {
			return fmt.Sprintf(" %s+%#x/%#x%s", function, offset, size, module)
		}
	}
	t.Fatalf("no instruction of %s is from %s", function, at)
	return ""
}

// sizes are those of the functions with a name.
func sizes(t *testing.T, path, function string) (list []uint64) {
	t.Helper()
	e, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	symbols, err := e.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == function {
			list = append(list, s.Size)
		}
	}
	if len(list) == 0 {
		t.Fatalf("no %s", function)
	}
	return list
}

// What isn't certain isn't decoded, and a call that never returns belongs to its function.
func TestUncertain(t *testing.T) {
	dir := kernel(t, "-g")
	b := open(t, dir)
	size := sizes(t, filepath.Join(dir, "vmlinux"), "dead")[0]
	twin := sizes(t, filepath.Join(dir, "vmlinux"), "twin")[0]
	for _, test := range []struct {
		function     string
		offset, size uint64
		want         string
	}{
		{"dead", size, size, "first.c:28"},
		{"dead", size + 1, size, ""},
		{"twin", 1, 0, ""}, // of two
		{"twin", 1, twin + 1000, ""},
	} {
		places, err := b.Vmlinux.Decode(test.function, test.offset, test.size)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(places) > 0 {
			got = fmt.Sprintf("%s:%d", filepath.Base(places[0].File), places[0].Line)
		}
		if got != test.want {
			t.Errorf("%s+%#x/%#x is %q", test.function, test.offset, test.size, got)
		}
	}
}

func parse(t *testing.T, lines ...string) report.Report {
	t.Helper()
	reports, err := report.Parse(strings.NewReader(strings.Join(lines, "\n") + "\n"))
	if err != nil || len(reports) != 1 {
		t.Fatal(len(reports), err)
	}
	return reports[0]
}

// oops returns a report with these frames.
func oops(t *testing.T, before string, frames ...string) report.Report {
	t.Helper()
	lines := []string{
		before,
		"BUG: kernel NULL pointer dereference, address: 0000000000000000",
		"CPU: 0 PID: 1 Comm: sh Not tainted 6.1.7 #3",
		"RIP: 0010:" + strings.TrimSpace(frames[0]),
		"Call Trace:", " <TASK>",
	}
	lines = append(lines, frames[1:]...)
	return parse(t, append(lines, " </TASK>", "---[ end trace 0000000000000000 ]---")...)
}

func show(frames []report.Frame) string {
	var b strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&b, "%s %s:%d", f.Function, f.File, f.Line)
		if f.Inlined {
			b.WriteString(" inlined")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// banner is what the kernel of these tests begins its log with.
const banner = "Linux version 6.1.7 (me@host) (gcc 12) #3 SMP Mon Jan 1 00:00:00 UTC 2026"

func open(t *testing.T, dir string) *decode.Build {
	t.Helper()
	vmlinux, err := decode.Open(filepath.Join(dir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vmlinux.Close() })
	return &decode.Build{Vmlinux: vmlinux, Module: func(name string) *decode.File {
		if name != "some_module" {
			return nil
		}
		module, err := decode.Open(filepath.Join(dir, "some-module.ko"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = module.Close() })
		return module
	}}
}

// frames are of vmlinux and of a module: inlined code, two functions with one name, which
// their sizes tell apart, and a section that doesn't begin where the code does.
func frames(t *testing.T, dir string) []string {
	t.Helper()
	vmlinux, module := filepath.Join(dir, "vmlinux"), filepath.Join(dir, "some-module.ko")
	twins := sizes(t, module, "twin")
	first, second := min(twins[0], twins[1]), max(twins[0], twins[1])
	second = (second + 15) / 16 * 16 // up to the next symbol, as the kernel counts
	outer := sizes(t, vmlinux, "outer")[0]
	return []string{
		frame(t, vmlinux, "outer", "", outer, "inner.h:3"),
		frame(t, module, "twin", " [some_module]", second, "second.c:7"),
		frame(t, module, "twin", " [some_module]", first, "first.c:5"),
		frame(t, module, "start", " [some_module]", sizes(t, module, "start")[0], "first.c:34"),
		" nobody+0x1/0x2",
		" outer+0x1/0x7777",
		" elsewhere+0x1/0x2 [other]",
	}
}

const wantFrames = `inner inner.h:3 inlined
middle first.c:11 inlined
outer first.c:16
twin second.c:7
twin first.c:5
start first.c:34
nobody :0
outer :0
elsewhere :0
`

func TestDecode(t *testing.T) {
	dir := kernel(t, "-g")
	b := open(t, dir)
	r := oops(t, banner, frames(t, dir)...)
	if err := b.Decode(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if got := show(r.Frames()); got != wantFrames {
		t.Errorf("%s", got)
	}
	if r.File != "first.c" || r.Line != 11 { // in middle, which is inlined
		t.Errorf("the report is in %s:%d", r.File, r.Line)
	}
	// A second time changes nothing.
	if err := b.Decode(t.Context(), &r); err != nil || show(r.Frames()) != wantFrames {
		t.Errorf("again: %v\n%s", err, show(r.Frames()))
	}
}

// The place that a headline names lacks the functions between; a log that was decoded
// before has its own lines.
func TestNamedBefore(t *testing.T) {
	dir := kernel(t, "-g")
	b := open(t, dir)
	outer := strings.TrimSpace(frames(t, dir)[0])
	for _, test := range []struct{ name, at, frame, want string }{
		{"by the headline", " at include/inner.h:3 ", outer, "inner inner.h:3 inlined\nmiddle first.c:11 inlined\nouter first.c:16\n"},
		{"by a script", " at include/inner.h:3 ", outer + " other.c:7", "outer other.c:7\n"},
	} {
		r := parse(t, banner, "WARNING: CPU: 0 PID: 77"+test.at+outer, "CPU: 0 PID: 1 Comm: sh Not tainted 6.1.7 #3", "RIP: 0010:"+test.frame, "---[ end trace 0 ]---")
		if err := b.Decode(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		if got := show(r.Frames()); got != test.want || r.File != "include/inner.h" {
			t.Errorf("%s: %s: %s", test.name, r.File, got)
		}
	}
}

// Without debug information the lines are those of objects that were compiled again.
func TestDecodeCompiled(t *testing.T) {
	with, without := kernel(t, "-g"), kernel(t)
	b := open(t, without)
	b.Source = with
	var asked []decode.Function
	b.Compile = func(_ context.Context, functions []decode.Function) []*decode.File {
		asked = functions
		objects := make([]*decode.File, len(functions))
		for i, f := range functions {
			name := "first.o"
			switch {
			case f.Source == "second.c":
				name = "second.o"
			case f.Name == "label":
				name = "label.o"
			}
			object, err := decode.Open(filepath.Join(with, name))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = object.Close() })
			objects[i] = object
		}
		return objects
	}
	r := oops(t, banner, frames(t, with)...)
	if err := b.Decode(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if got := show(r.Frames()); got != wantFrames {
		t.Errorf("%s", got)
	}
	if len(asked) != 4 {
		t.Errorf("asked for %+v", asked)
	}
	// Nothing but the kernel's size tells of a label in assembly.
	r = oops(t, banner, " label+0x1/0x2")
	if err := b.Decode(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if got := show(r.Frames()); got != "label label.S:8\n" {
		t.Errorf("%s", got)
	}
	// Code of another size has other lines.
	other := open(t, without)
	other.Compile = b.Compile
	tool(t, with, "gcc", "-g", "-O1", "-c", "first.c", "-o", "first.o")
	r = oops(t, banner, frames(t, with)[0])
	if err := other.Decode(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if got := show(r.Frames()); got != "outer :0\n" {
		t.Errorf("%s", got)
	}
}

// A report of another build is refused, by whatever tells.
func TestAnotherBuild(t *testing.T) {
	dir := kernel(t, "-g")
	b := open(t, dir)
	outer := frames(t, dir)[0]
	id := b.Vmlinux.BuildID()
	if len(id) != 40 {
		t.Fatalf("build id %q", id)
	}
	for _, test := range []struct{ name, before, identity, want string }{
		{"the same", banner, "6.1.7 #3", ""},
		{"no banner", "", "6.1.7 #3 " + id, ""},
		{"another banner", strings.Replace(banner, "Jan 1", "Jan 2", 1), "6.1.7 #3", "the report is of 6.1.7 #3 SMP Mon Jan 2 00:00:00 UTC 2026"},
		{"another release", "", "6.1.8 #3", "it is 6.1.7 #3, the report is of 6.1.8 #3"},
		{"another number", "", "6.1.7 #4", "it is 6.1.7 #3, the report is of 6.1.7 #4"},
		{"another build id", banner, "6.1.7 #3 " + strings.Repeat("7", 40), "the report is of build id 7777"},
		{"tainted", "", "6.1.7 #30 PREEMPT(full)", "the report is of 6.1.7 #30"},
	} {
		t.Run(test.name, func(t *testing.T) {
			taint := "Not tainted"
			if test.name == "tainted" {
				taint = "Tainted: G        W         "
			}
			r := parse(t, test.before, "BUG: kernel NULL pointer dereference, address: 0000000000000000",
				"CPU: 0 PID: 1 Comm: a b "+taint+" "+test.identity, "RIP: 0010:"+strings.TrimSpace(outer), "Call Trace:", outer, "---[ end trace 0 ]---")
			err := b.Decode(t.Context(), &r)
			var mismatch *decode.MismatchError
			if errors.As(err, &mismatch) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatal(err)
			}
			if decoded := strings.Contains(show(r.Frames()), "first.c"); decoded != (test.want == "") {
				t.Errorf("%s", show(r.Frames()))
			}
		})
	}
	// A module's build id counts for its frames.
	module := frames(t, dir)[2]
	for _, test := range []struct {
		id   string
		want string
	}{{open(t, dir).Module("some_module").BuildID(), "twin first.c:5\n"}, {strings.Repeat("7", 40), "twin :0\n"}} {
		r := oops(t, banner, strings.Replace(module, "]", " "+test.id+"]", 1))
		if err := b.Decode(t.Context(), &r); err != nil || show(r.Frames()) != test.want {
			t.Errorf("%v: %s", err, show(r.Frames()))
		}
	}
}

// A file that is damaged, or none at all, is an error and nothing worse.
func TestDamaged(t *testing.T) {
	dir := kernel(t, "-g")
	data, err := os.ReadFile(filepath.Join(dir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := elf.Open(filepath.Join(dir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	info, line := e.Section(".debug_info").Offset, e.Section(".debug_line").Offset
	_ = e.Close()
	path := filepath.Join(t.TempDir(), "vmlinux")
	for _, at := range []uint64{0, 16, 40, info, info + 4, info + 12, info + 40, line, line + 8, line + 30} {
		damaged := append([]byte{}, data...)
		for i := range min(uint64(8), uint64(len(damaged))-at) {
			damaged[at+i] = 0xff
		}
		if err := os.WriteFile(path, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := decode.Open(path)
		if err != nil {
			continue
		}
		_, _ = f.Decode("outer", 1, 0) // it may know, or not
		_ = f.Close()
	}
	// Somebody makes it shorter while it is read.
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := decode.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, 1); err != nil {
		t.Fatal(err)
	}
	if places, err := f.Decode("outer", 1, 0); err == nil {
		t.Errorf("no error, but %v", places)
	}
	for _, text := range []string{"", "no ELF file"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := decode.Open(path); err == nil {
			t.Errorf("%q is a kernel", text)
		}
	}
	if _, err := decode.Open(t.TempDir()); err == nil {
		t.Error("a directory is a kernel")
	}
}
