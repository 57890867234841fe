// SPDX-License-Identifier: GPL-3.0-only

package graph

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// source is where the made-up tree is. Nothing reads it.
const source = "/src/linux"

// object is the .cmd file of a C file's object, as fixdep writes it.
func object(name string, headers ...string) string {
	var b strings.Builder
	stem := strings.TrimSuffix(name, ".o")
	fmt.Fprintf(&b, "savedcmd_%s := gcc -Wp,-MMD,%s.d -c -o %s %s/%s.c\n\n", name, stem, name, source, stem)
	fmt.Fprintf(&b, "source_%s := %s/%s.c\n\ndeps_%s := \\\n", name, source, stem, name)
	for i, h := range headers {
		if i%2 == 0 {
			fmt.Fprintf(&b, "    $(wildcard include/config/OPTION_%d) \\\n", i)
		}
		fmt.Fprintf(&b, "  %s \\\n", h)
	}
	fmt.Fprintf(&b, "\n%s: $(deps_%s)\n\n$(deps_%s):\n\n%s: $(wildcard ./tools/objtool/objtool)\n", name, name, name, name)
	return b.String()
}

// write writes the .cmd file of a target, with a time that says it was long ago.
func write(t *testing.T, build, name, text string) {
	t.Helper()
	path := filepath.Join(build, filepath.Dir(name), "."+filepath.Base(name)+".cmd")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// As make does, which writes a list of headers there first, and removes it.
	if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

// age gives all directories and files a time long ago, the n-th before now.
func age(t *testing.T, build string, n int) {
	t.Helper()
	when := time.Now().Add(-time.Hour + time.Duration(n)*time.Minute)
	err := filepath.WalkDir(build, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, when, when)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func refresh(t *testing.T, g *Graph) []string {
	t.Helper()
	names, err := g.Update()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func rebuilt(g *Graph, files ...string) []string {
	names := []string{}
	for _, x := range g.Rebuilt(files...) {
		names = append(names, x.Name)
	}
	return names
}

func equal[E comparable](t *testing.T, what string, got []E, want ...E) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func newBuild(t *testing.T) string {
	t.Helper()
	build := t.TempDir()
	write(t, build, "init/main.o", object("init/main.o", source+"/include/linux/a.h", source+"/include/linux/b.h"))
	write(t, build, "fs/ext4/inode.o", object("fs/ext4/inode.o", source+"/fs/ext4/../../include/linux/b.h", "include/generated/x.h"))
	// A target that isn't an object, with a list, and one without.
	write(t, build, "kernel/bounds.s", object("kernel/bounds.s", source+"/include/linux/c.h"))
	write(t, build, "kernel/cpu/capflags.c", "cmd_kernel/cpu/capflags.c := sh "+source+"/mk.sh kernel/cpu/capflags.c "+source+"/asm/features.h FORCE\n")
	write(t, build, "built-in.a", "cmd_built-in.a := rm -f built-in.a; ar cDPrST built-in.a init/built-in.a\n")
	// tools has a build of its own.
	write(t, build, "tools/objtool/check.o", object("tools/objtool/check.o", source+"/include/linux/a.h"))
	age(t, build, 0)
	return build
}

// What clangd wants to know of is each object, and nothing else.
func TestCompiled(t *testing.T) {
	build := newBuild(t)
	write(t, build, "lib/core.o", "savedcmd_lib/core.o := rustc core.rs\n\nsource_lib/core.o := "+source+"/lib/core.rs\n\ndeps_lib/core.o := \\\n\n$(deps_lib/core.o):\n")
	write(t, build, "arch/entry.o", strings.ReplaceAll(object("arch/entry.o"), ".c", ".S"))
	g := New(build)
	refresh(t, g)
	var names []string
	for _, x := range g.Compiled() {
		names = append(names, x.Name+" "+x.Source)
	}
	equal(t, "compiled", names, "arch/entry.o "+source+"/arch/entry.S", "fs/ext4/inode.o "+source+"/fs/ext4/inode.c", "init/main.o "+source+"/init/main.c")
}

func TestGraph(t *testing.T) {
	build := newBuild(t)
	g := New(build)
	equal(t, "all", refresh(t, g), "built-in.a", "fs/ext4/inode.o", "init/main.o", "kernel/bounds.s", "kernel/cpu/capflags.c")
	equal(t, "a source", rebuilt(g, source+"/init/main.c"), "init/main.o")
	equal(t, "a header", rebuilt(g, source+"/include/linux/a.h"), "init/main.o")
	equal(t, "a header of two, by two names", rebuilt(g, source+"/include/linux/b.h"), "fs/ext4/inode.o", "init/main.o")
	equal(t, "two files", rebuilt(g, source+"/include/linux/a.h", source+"/include/linux/c.h"), "init/main.o", "kernel/bounds.s")
	equal(t, "what was generated", rebuilt(g, build+"/include/generated/x.h"), "fs/ext4/inode.o")
	equal(t, "what only a command names", rebuilt(g, source+"/asm/features.h"), "kernel/cpu/capflags.c")
	equal(t, "another file", rebuilt(g, source+"/include/linux/d.h"))
	inputs := g.Reads("init/main.o")
	slices.Sort(inputs)
	equal(t, "inputs", inputs, source+"/include/linux/a.h", source+"/include/linux/b.h", source+"/init/main.c")
	if x := g.Rebuilt(source + "/init/main.c")[0]; x.Source != source+"/init/main.c" || !x.Whole {
		t.Errorf("%+v", x)
	}
	equal(t, "broken", g.Broken())
}

// What a build rewrites is read again, and nothing else.
func TestUpdate(t *testing.T) {
	build := newBuild(t)
	g := New(build)
	refresh(t, g)
	equal(t, "nothing", refresh(t, g))

	write(t, build, "init/main.o", object("init/main.o", source+"/include/linux/new.h"))
	equal(t, "one", refresh(t, g), "init/main.o")
	equal(t, "its new header", rebuilt(g, source+"/include/linux/new.h"), "init/main.o")
	equal(t, "its old header", rebuilt(g, source+"/include/linux/a.h"))
	// It was written in the moment before it was read, so it is read once more.
	equal(t, "the same", refresh(t, g))

	// Within the same tick of the clock, and of the same size.
	path := filepath.Join(build, "init/.main.o.cmd")
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, build, "init/main.o", object("init/main.o", source+"/include/linux/wen.h"))
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	equal(t, "one of the same time and size", refresh(t, g), "init/main.o")
	equal(t, "its header", rebuilt(g, source+"/include/linux/wen.h"), "init/main.o")

	write(t, build, "drivers/a/b/new.o", object("drivers/a/b/new.o", source+"/include/linux/a.h"))
	equal(t, "a new directory", refresh(t, g), "drivers/a/b/new.o")
	if err := os.RemoveAll(filepath.Join(build, "drivers/a")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(build, "fs/ext4/.inode.o.cmd")); err != nil {
		t.Fatal(err)
	}
	equal(t, "what has gone", refresh(t, g), "drivers/a/b/new.o", "fs/ext4/inode.o")
	equal(t, "a header of what has gone", rebuilt(g, source+"/include/linux/b.h"))
}

func TestBroken(t *testing.T) {
	build := newBuild(t)
	whole := object("init/main.o", source+"/include/linux/a.h", source+"/include/linux/b.h")
	g := New(build)
	for n := range len(whole) {
		write(t, build, "init/main.o", whole[:n])
		refresh(t, g)
		// What make needs are the last two rules before objtool's.
		if want := n < strings.Index(whole, "):\n\ninit/main.o: $(wildcard")+2; (len(g.Broken()) > 0) != want {
			t.Fatalf("of %q: broken %v, want %v", whole[:n], g.Broken(), want)
		}
	}
	for _, text := range []string{"\x00\x00\x00", "deps_init/main.o := \\\n  /a.h \\\n", "\n\n\n", "cmd_", "cmd_x"} {
		write(t, build, "init/main.o", text)
		refresh(t, g)
		equal(t, fmt.Sprintf("%q", text), g.Broken(), "init/main.o")
	}
}

func TestStore(t *testing.T) {
	build := newBuild(t)
	file := filepath.Join(t.TempDir(), "graph")
	g := New(build)
	refresh(t, g)
	g.Measured(map[string]time.Duration{"init/main.o": 1500 * time.Millisecond})
	if err := g.Save(file); err != nil {
		t.Fatal(err)
	}
	l := Load(file, build)
	equal(t, "nothing", refresh(t, l))
	equal(t, "a header", rebuilt(l, source+"/include/linux/b.h"), "fs/ext4/inode.o", "init/main.o")
	if x := l.Rebuilt(source + "/init/main.c")[0]; x.Took != 1500*time.Millisecond || x.Source != source+"/init/main.c" || !x.Whole {
		t.Errorf("%+v", x)
	}
	write(t, build, "init/main.o", object("init/main.o", source+"/include/linux/new.h"))
	equal(t, "a change after that", refresh(t, l), "init/main.o")
	if x := l.Rebuilt(source + "/init/main.c")[0]; x.Took != 1500*time.Millisecond {
		t.Errorf("its time was forgotten: %+v", x)
	}

	if n := Load(file, build+"x").Len(); n != 0 {
		t.Errorf("another directory's graph has %d targets", n)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		for _, damaged := range [][]byte{data[:n], append(slices.Clone(data[:n]), data[n]^0x20)} {
			if len(damaged) > n {
				damaged = append(damaged, data[n+1:]...)
			}
			if err := os.WriteFile(file, damaged, 0o644); err != nil {
				t.Fatal(err)
			}
			if n := Load(file, build).Len(); n != 0 {
				t.Fatalf("a damaged file was read: %d targets", n)
			}
		}
	}
}

func TestEstimate(t *testing.T) {
	build := t.TempDir()
	for i := range 20 {
		name := fmt.Sprintf("lib/f%d.o", i)
		write(t, build, name, object(name, source+"/include/linux/a.h"))
	}
	g := New(build)
	refresh(t, g)
	all := g.Rebuilt(source + "/include/linux/a.h")
	if d := g.Estimate(all); d != 0 {
		t.Errorf("%s, without a measurement", d)
	}
	took := map[string]time.Duration{}
	for i := range 10 {
		took[fmt.Sprintf("lib/f%d.o", i)] = time.Duration(i+1) * time.Second
	}
	g.Measured(took)
	// 55 s are measured, and the others take 5.5 s each as far as is known.
	if d := g.Estimate(g.Rebuilt(source + "/include/linux/a.h")); d != 110*time.Second {
		t.Errorf("%s, want 110 s", d)
	}
	if d := g.Estimate(g.Rebuilt(source + "/lib/f2.c")); d != 3*time.Second {
		t.Errorf("%s, want 3 s", d)
	}
}

// synthetic is a build of 20,000 objects, each of which reads 450 of 12,000 headers, as
// that of a distribution's kernel is.
func synthetic(b *testing.B) string {
	b.Helper()
	build := b.TempDir()
	var line []string
	for i := range 12000 {
		line = append(line, fmt.Sprintf("  %s/include/subsystem%d/some/header_%d.h \\\n    $(wildcard include/config/SOME_OPTION_%d) \\\n    $(wildcard include/config/OTHER_OPTION_%d) \\\n", source, i%100, i, i, i))
	}
	for i := range 20000 {
		dir := filepath.Join(build, fmt.Sprintf("drivers/d%d/e%d", i%100, i%1500))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		name := fmt.Sprintf("drivers/d%d/e%d/f%d.o", i%100, i%1500, i)
		head, tail, _ := strings.Cut(object(name), ":= \\\n\n")
		var text strings.Builder
		text.WriteString(head + ":= \\\n")
		for j := range 350 {
			text.WriteString(line[j])
		}
		for j := range 100 {
			text.WriteString(line[350+(i*17+j*113)%11650])
		}
		text.WriteString("\n" + tail)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf(".f%d.o.cmd", i)), []byte(text.String()), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return build
}

func BenchmarkGraph(b *testing.B) {
	build := synthetic(b)
	file := filepath.Join(b.TempDir(), "graph")
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			g := New(build)
			if _, err := g.Update(); err != nil || g.Len() != 20000 {
				b.Fatal(err, g.Len())
			}
		}
	})
	g := New(build)
	if _, err := g.Update(); err != nil {
		b.Fatal(err)
	}
	if err := g.Save(file); err != nil {
		b.Fatal(err)
	}
	st, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("warm", func(b *testing.B) {
		for b.Loop() {
			g := Load(file, build)
			if names, err := g.Update(); err != nil || len(names) != 0 || g.Len() != 20000 {
				b.Fatal(err, len(names), g.Len())
			}
		}
		b.ReportMetric(float64(st.Size())/1e6, "MB")
	})
	b.Run("query", func(b *testing.B) {
		for b.Loop() {
			if n := len(g.Rebuilt(fmt.Sprintf("%s/include/subsystem%d/some/header_%d.h", source, 40, 5040))); n == 0 {
				b.Fatal(n)
			}
		}
	})
}
