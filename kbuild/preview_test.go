// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
)

func TestCheckCommand(t *testing.T) {
	for _, c := range []struct{ name, saved, want string }{
		{
			"6.1", "cmd_init/main.o := gcc -Wp,-MMD,init/.main.o.d -Iinclude -DX='\"a\\#b\"' -c -o init/main.o /src/init/main.c   ; ./tools/objtool/objtool --orc init/main.o\n\nsource_init/main.o := x\n",
			"gcc -Iinclude -DX='\"a#b\"' -fsyntax-only /src/init/main.c",
		},
		{"since 6.3", "savedcmd_init/main.o := gcc -c -o init/main.o init/main.c\n", "gcc -fsyntax-only init/main.c"},
		{"a dollar", "cmd_init/main.o := gcc -DX=$$y -c -o init/main.o init/main.c\n", "gcc -DX=$y -fsyntax-only init/main.c"},
		{"an archive", "cmd_init/main.o := ar cDPrST init/main.o\n", ""},
		{"nothing", "", ""},
	} {
		src := source(t, physical(t))
		tree, err := Find(Options{Dir: src})
		if err != nil {
			t.Fatal(err)
		}
		write(t, src, map[string]string{"init/.main.o.cmd": c.saved})
		if diff := cmp.Diff(c.want, tree.checkCommand(filepath.Join(src, "init/main.c"))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		for _, other := range []string{"init/version.c", "init/main.h", "../elsewhere.c"} {
			if got := tree.checkCommand(filepath.Join(src, other)); got != "" {
				t.Errorf("%s: %s: %q", c.name, other, got)
			}
		}
		if err := os.Remove(filepath.Join(src, "init/main.c")); err != nil {
			t.Fatal(err)
		}
		if got := tree.checkCommand(filepath.Join(src, "init/main.c")); got != "" {
			t.Errorf("%s: of a deleted file: %q", c.name, got)
		}
	}
}

// previewOf builds with a make that waits until the error is reported, so many times
// 50 ms at most, and then reports it as well.
func previewOf(t *testing.T, patience int, changed []string, prepare func(src string)) (errors []event.Diagnostic, early bool) {
	t.Helper()
	src := source(t, physical(t))
	tree, err := Find(Options{Dir: src})
	if err != nil {
		t.Fatal(err)
	}
	const said = "init/main.c:7:3: error: expected ';' before 'x'\n"
	dir := tools(t, `cd "$2"
n=0
while [ ! -e reported ]; do sleep 0.05; n=$((n+1)); [ $n -lt `+strconv.Itoa(patience)+` ] || { : >late; break; }; done
cat "${0%/*}/said"; exit 2`)
	write(t, dir, map[string]string{"said": said})
	write(t, src, map[string]string{
		".config": "", "include/config/auto.conf": "",
		"init/.main.o.cmd": "cmd_init/main.o := sh -c 'cat " + dir + "/said; exit 1' -c -o init/main.o init/main.c\n",
	})
	if prepare != nil {
		prepare(src)
	}
	for i, name := range changed {
		changed[i] = filepath.Join(src, name)
	}
	r := new(recorder)
	_, err = tree.Build(t.Context(), BuildOptions{
		Image: filepath.Join(src, "vmlinux"), Target: "vmlinux", Changed: changed, Events: func(e event.Event) {
			r.sink(e)
			if _, ok := e.(event.Diagnostic); ok {
				_ = os.WriteFile(filepath.Join(src, "reported"), nil, 0o644)
			}
		},
	})
	if err == nil {
		t.Error("the build succeeded")
	}
	_, err = os.Stat(filepath.Join(src, "late"))
	return of[event.Diagnostic](r), err != nil
}

func TestPreview(t *testing.T) {
	for name, prepare := range map[string]func(src string){
		"another .config": func(src string) {
			later := time.Now().Add(time.Hour)
			if err := os.Chtimes(filepath.Join(src, ".config"), later, later); err != nil {
				t.Fatal(err)
			}
		},
		"never built": func(src string) { _ = os.Remove(filepath.Join(src, "init/.main.o.cmd")) },
	} {
		if found, early := previewOf(t, 10, []string{"init/main.c"}, prepare); early || len(found) != 1 {
			t.Errorf("%s: early: %v, %+v", name, early, found)
		}
	}
	if found, early := previewOf(t, 10, []string{"a.c", "b.c", "c.c", "init/main.c"}, nil); early || len(found) != 1 {
		t.Errorf("many files: early: %v, %+v", early, found)
	}
	for _, other := range []string{"init/Makefile", "arch/x86/entry/syscalls/syscall_64.tbl"} {
		if found, early := previewOf(t, 10, []string{"init/main.c", other}, nil); early || len(found) != 1 {
			t.Errorf("%s: early: %v, %+v", other, early, found)
		}
	}
	found, early := previewOf(t, 2000, []string{"init/main.c"}, nil)
	if len(found) != 1 || found[0].File != "init/main.c" || found[0].Line != 7 || !early {
		t.Errorf("early: %v, %+v", early, found)
	}
}
