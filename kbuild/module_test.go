// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
)

// fakeDepmod counts its calls in a file, and fails when there is a file fail.
func fakeDepmod(t *testing.T) (calls func() int, fail func(bool)) {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
test ! -e ` + dir + `/fail || { echo depmod: broken >&2; exit 1; }
echo "$*" >>` + dir + `/calls
: >"$2/lib/modules/$3/modules.dep"
`
	if err := os.WriteFile(filepath.Join(dir, "depmod"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	calls = func() int {
		data, _ := os.ReadFile(filepath.Join(dir, "calls"))
		return strings.Count(string(data), "\n")
	}
	fail = func(on bool) {
		if path := filepath.Join(dir, "fail"); on {
			write(t, dir, map[string]string{"fail": ""})
		} else if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	return calls, fail
}

// Modules outside of the tree are built against it, and staged as they are.
func TestExternal(t *testing.T) {
	src, outside, second := source(t, physical(t)), physical(t), physical(t)
	write(t, outside, map[string]string{"Kbuild": "obj-m := mine.o\n", "mine.c": ""})
	write(t, second, map[string]string{"Makefile": "obj-m := other.o\n", "other.c": ""})
	tree, err := Find(Options{Dir: src, External: []string{outside, second}})
	if err != nil {
		t.Fatal(err)
	}
	// make lists its modules by the directory's path, or without.
	tools(t, `echo "$@" >>"`+src+`/made"; cd "$2"
case "$*" in
*M=`+outside+`*) echo '  CC [M]  `+outside+`/mine.o'; echo "$$" >`+outside+`/mine.ko; echo `+outside+`/mine.ko >`+outside+`/modules.order;;
*M=*) echo 'other.c:3:5: warning: unused'; echo 'include/linux/a.h:1:2: warning: old'
  echo >`+second+`/other.ko; echo other.o >`+second+`/modules.order;;
*) echo > vmlinux;;
esac`)
	calls, _ := fakeDepmod(t)
	write(t, src, map[string]string{"include/config/kernel.release": "6.1.0\n", "vmlinux": ""})
	r := new(recorder)
	o := BuildOptions{Image: filepath.Join(src, "vmlinux"), Target: "vmlinux", Events: r.sink}
	result, err := tree.BuildExternal(t.Context(), o)
	if err != nil || !result.NewModules || result.NewImage || result.Objects != 1 {
		t.Fatalf("%+v, %v", result, err)
	}
	made, _ := os.ReadFile(filepath.Join(src, "made"))
	for i, line := range strings.Split(strings.TrimSpace(string(made)), "\n") {
		if want := " M=" + tree.External[i] + " modules"; !strings.HasSuffix(line, want) {
			t.Errorf("make was called with %q, want%s", line, want)
		}
	}
	if f := of[event.BuildFinished](r); len(f) != 2 || f[0].External != outside || !f[0].NewModules || !strings.HasSuffix(f[0].Log, "/external.log") {
		t.Errorf("%+v", f)
	}
	// Since Linux 6.13, its compilers run in the directory of the modules.
	if d := of[event.Diagnostic](r); len(d) != 2 || d[0].File != second+"/other.c" || d[1].File != "include/linux/a.h" {
		t.Errorf("%+v", d)
	}
	files := tree.ModuleFiles()
	if files["mine"].Path != outside+"/mine.ko" || files["other"].Path != second+"/other.ko" {
		t.Errorf("modules: %+v", files)
	}
	m, err := tree.StageModules(t.Context())
	if err != nil || calls() != 1 {
		t.Fatal(err)
	}
	staged := filepath.Join(m.Dir, "updates", outside, "mine.ko")
	before, err := os.ReadFile(staged)
	if st, _ := os.Lstat(staged); err != nil || !st.Mode().IsRegular() {
		t.Errorf("it isn't staged as a copy: %v", err)
	}
	if _, err := tree.BuildExternal(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if tree.ModuleFiles()["mine"] == files["mine"] {
		t.Error("the new module isn't told from the old one")
	}
	if _, err := tree.StageModules(t.Context()); err != nil || calls() != 2 {
		t.Errorf("staged %d times, %v", calls(), err)
	}
	if after, _ := os.ReadFile(staged); string(after) == string(before) {
		t.Error("the copy is the old one")
	}

	if got := tree.ExternalOf(second + "/sub/x.c"); got != second {
		t.Errorf("x.c is in %q", got)
	}
	if got := tree.ExternalOf(src + "/init/main.c"); got != "" {
		t.Errorf("main.c is in %q", got)
	}
	around := &Tree{Source: "/mine/linux", External: []string{"/mine"}}
	if got := around.ExternalOf("/mine/linux/init/main.c"); got != "" {
		t.Errorf("main.c of a tree in the directory of modules is in %q", got)
	}
	if got := around.ExternalOf("/mine/linux.c"); got != "/mine" {
		t.Errorf("linux.c is in %q", got)
	}
	for name, want := range map[string]bool{
		"mine.c": false, "Kbuild": false, "mine.h": false, "data.mod.txt": false, "mine.o": true, "mine.ko": true, "mine.mod.c": true, ".mine.o.cmd": true, "modules.order": true,
	} {
		if Generated(filepath.Join(outside, name)) != want {
			t.Errorf("%s: want %v", name, want)
		}
	}
	for _, bad := range []string{filepath.Join(outside, "nowhere"), physical(t)} {
		if _, err := Find(Options{Dir: src, External: []string{bad}}); err == nil {
			t.Errorf("%s has modules", bad)
		}
	}
}

// A module outside of the tree comes before the tree's own of the same name: it is the one
// that somebody works on. The real depmod decides.
func TestExternalOfTheSameName(t *testing.T) {
	depmod, err := proc.Look("depmod", "/usr/sbin", "/sbin")
	if err != nil {
		t.Skip("there is no depmod")
	}
	t.Setenv("PATH", filepath.Dir(depmod)+":"+os.Getenv("PATH"))
	// Without a rule, it is chance which of two directories comes first.
	for _, name := range []string{"drivers", "net", "fs"} {
		tree := &Tree{Source: t.TempDir(), BuildDir: t.TempDir()}
		outside := physical(t)
		elf, err := os.ReadFile("/proc/self/exe") // depmod wants one
		if err != nil {
			t.Fatal(err)
		}
		tree.External = []string{outside}
		write(t, tree.BuildDir, map[string]string{"include/config/kernel.release": "6.1.0\n", "modules.order": name + "/mine.o\n", name + "/mine.ko": string(elf)})
		write(t, outside, map[string]string{"modules.order": "mine.o\n", "mine.ko": string(elf)})
		m, err := tree.StageModules(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dep, err := os.ReadFile(filepath.Join(m.Dir, "modules.dep"))
		if want := "updates" + outside + "/mine.ko:\n"; err != nil || string(dep) != want {
			t.Errorf("%s: %q, %v, want %q", name, dep, err, want)
		}
		// It goes when nobody names its directory any more.
		tree.External = nil
		if _, err := tree.StageModules(t.Context()); err != nil {
			t.Fatal(err)
		}
		if dep, err := os.ReadFile(filepath.Join(m.Dir, "modules.dep")); err != nil || string(dep) != "kernel/"+name+"/mine.ko:\n" {
			t.Errorf("%s: without it %q, %v", name, dep, err)
		}
	}
}

func TestModules(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, map[string]string{"mine.ko": "x"})
	for name, order := range map[string]string{
		"until 6.2": "kernel/fs/a.ko\nkernel/net/b.ko\n",
		"6.3":       "fs/a.ko\nnet/b.ko\n",
		"later":     "fs/a.o\nnet/b.o\n" + outside + "/mine.o\n",
	} {
		tree := &Tree{BuildDir: t.TempDir()}
		write(t, tree.BuildDir, map[string]string{"modules.order": order, "fs/a.ko": "a", "net/b.ko": "b"})
		want := []module{{file: tree.BuildDir + "/fs/a.ko", name: "fs/a.ko"}, {file: tree.BuildDir + "/net/b.ko", name: "net/b.ko"}}
		if name == "later" {
			want = append(want, module{file: outside + "/mine.ko", name: outside + "/mine.ko"})
		}
		if diff := cmp.Diff(want, tree.modules(), cmp.AllowUnexported(module{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestStageModules(t *testing.T) {
	calls, fail := fakeDepmod(t)
	tree := &Tree{Source: t.TempDir(), BuildDir: t.TempDir()}
	stage := func() *Modules {
		t.Helper()
		m, err := tree.StageModules(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := stage(); m != nil {
		t.Errorf("before a build: %+v", m)
	}
	write(t, tree.BuildDir, map[string]string{
		"include/config/kernel.release": "6.1.0-test\n", "modules.order": "kernel/fs/a.ko\nkernel/net/b.ko\n",
		"fs/a.ko": "a", "net/b.ko": "b", "modules.builtin": "kernel/fs/c.ko\n",
	})
	m := stage()
	if m == nil || m.Release != "6.1.0-test" || m.Dir != tree.BuildDir+"/.run-kernel/modules/lib/modules/6.1.0-test" {
		t.Fatalf("got %+v", m)
	}
	for name, want := range map[string]string{
		"kernel/fs/a.ko": "a", "kernel/net/b.ko": "b", "modules.order": "kernel/fs/a.ko\nkernel/net/b.ko\n",
		"modules.builtin": "kernel/fs/c.ko\n", "modules.dep": "",
	} {
		if data, err := os.ReadFile(filepath.Join(m.Dir, name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if to, err := os.Readlink(filepath.Join(m.Dir, "build")); err != nil || to != tree.BuildDir {
		t.Errorf("build leads to %q, %v", to, err)
	}
	stage()
	if n := calls(); n != 1 {
		t.Errorf("depmod was called %d times", n)
	}

	// One module is made anew, one goes, one comes.
	write(t, tree.BuildDir, map[string]string{"modules.order": "kernel/fs/a.ko\nkernel/d.ko\n", "fs/a.ko": "aa", "d.ko": "d"})
	stage()
	if n := calls(); n != 2 {
		t.Errorf("depmod was called %d times", n)
	}
	if _, err := os.Lstat(filepath.Join(m.Dir, "kernel/net/b.ko")); !os.IsNotExist(err) {
		t.Errorf("what is gone is there: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(m.Dir, "kernel/d.ko")); string(data) != "d" {
		t.Errorf("what is new isn't there: %v", err)
	}

	// A failure isn't taken for success the next time.
	write(t, tree.BuildDir, map[string]string{"d.ko": "dd"})
	fail(true)
	for range 2 {
		if _, err := tree.StageModules(context.Background()); err == nil || !strings.Contains(err.Error(), "depmod: broken") {
			t.Errorf("depmod failed: %v", err)
		}
	}
	fail(false)
	stage()

	// Another release takes the place of the one before.
	write(t, tree.BuildDir, map[string]string{"include/config/kernel.release": "6.1.1\n"})
	if next := stage(); next.Release != "6.1.1" {
		t.Errorf("got %+v", next)
	}
	if _, err := os.Stat(m.Dir); !os.IsNotExist(err) {
		t.Errorf("the old release is there: %v", err)
	}
}
