// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// compileAll compiles files of a tree as kbuild does, with its .cmd files.
func compileAll(t *testing.T, tree *Tree, sources ...string) {
	t.Helper()
	for _, source := range sources {
		object := strings.TrimSuffix(source, filepath.Ext(source)) + ".o"
		command := fmt.Sprintf("gcc -Wp,-MMD,%s.d -O2 -DNAME='\"a\"' -c -o %s %s/%s", object, object, tree.Source, source)
		run(t, tree.BuildDir, "sh", "-c", "mkdir -p "+filepath.Dir(object)+"; "+command)
		_ = os.Remove(filepath.Join(tree.BuildDir, object+".d"))
		text := "savedcmd_" + object + " := " + strings.ReplaceAll(command, "$", "$$") + " ; false " + object + "\n\n" +
			"source_" + object + " := " + tree.Source + "/" + source + "\n\ndeps_" + object + " := \\\n" +
			"    $(wildcard include/config/A) \\\n  " + tree.Source + "/a.h \\\n\n" + object + ": $(deps_" + object + ")\n"
		write(t, tree.BuildDir, map[string]string{cmdFile(object): text})
	}
}

func run(t *testing.T, dir string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", argv, err, out)
	}
}

// sizeOf is the size of a function of an object.
func sizeOf(t *testing.T, path, name string) uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == name {
			return s.Size
		}
	}
	t.Fatalf("%s has no %s", path, name)
	return 0
}

func TestRecompile(t *testing.T) {
	for _, name := range []string{"gcc", "ar"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	tree := &Tree{Source: t.TempDir(), BuildDir: t.TempDir()}
	twin := "static __attribute__((noipa)) int twin(int a) { return a * 7; }\n"
	write(t, tree.Source, map[string]string{
		"a.h":        "\n",
		"a/one.c":    twin + "int one(int a) { return twin(a) + 1; }\nint other(int a) { return a; }\n",
		"a/two.c":    twin + "int two(int a) { return twin(a) * sizeof(NAME); }\n",
		"lib/asm.S":  ".text\n.type low,@function\nlow:\n nop\n.globl label\nlabel:\n nop\n.size low,.-low\n",
		"mod/part.c": "int part(int a) { return a << 3; }\n",
	})
	compileAll(t, tree, "a/one.c", "a/two.c", "lib/asm.S", "mod/part.c")
	run(t, tree.BuildDir, "ar", "cDPrST", "vmlinux.a", "a/one.o", "a/two.o")
	run(t, filepath.Join(tree.BuildDir, "lib"), "ar", "cDPrST", "lib.a", "asm.o")
	write(t, tree.BuildDir, map[string]string{"modules.order": "mod/some-mod.o\n", "mod/some-mod.ko": "x", "mod/some-mod.mod": "mod/part.o\n"})

	functions := []Function{
		{Name: "one", Size: sizeOf(t, tree.BuildDir+"/a/one.o", "one")},
		{Name: "twin", Size: sizeOf(t, tree.BuildDir+"/a/one.o", "twin"), Source: "two.c"},
		{Name: "twin", Size: sizeOf(t, tree.BuildDir+"/a/one.o", "twin")}, // of which file?
		{Name: "low", Size: 2, Source: "one.c"},                           // assembly names no file, and comes behind another's
		{Name: "part", Size: sizeOf(t, tree.BuildDir+"/mod/part.o", "part"), Module: "some_mod"},
		{Name: "label"},
		{Name: "two", Size: 1}, // of another build
		{Name: "other", Size: sizeOf(t, tree.BuildDir+"/a/one.o", "other")},              // in an object that is compiled once
		{Name: "part", Size: sizeOf(t, tree.BuildDir+"/mod/part.o", "part")},             // not in vmlinux
		{Name: "one", Size: sizeOf(t, tree.BuildDir+"/a/one.o", "one"), Module: "never"}, // no such module
	}
	want := []string{"one", "twin", "", "low", "part", "label", "", "other", "", ""}
	check := func(what string, want []string, found []string) {
		t.Helper()
		for i, path := range found {
			if (path != "") != (want[i] != "") {
				t.Errorf("%s: %s is in %q", what, functions[i].Name, path)
			}
			if path == "" {
				continue
			}
			f, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if f.Section(".debug_line") == nil {
				t.Errorf("%s: %s has no lines", what, path)
			}
			_ = f.Close()
			if size := sizeOf(t, path, want[i]); size != functions[i].Size {
				t.Errorf("%s: %s has another size: %d", what, want[i], size)
			}
		}
	}
	before := listing(t, tree.BuildDir)
	dir, built := t.TempDir(), time.Now()
	found := tree.Recompile(t.Context(), dir, built, functions)
	check("all", want, found)
	if found[0] != found[7] || found[0] == found[1] {
		t.Errorf("one.o is %s and %s", found[0], found[7])
	}
	if after := listing(t, tree.BuildDir); !slices.Equal(before, after) {
		t.Errorf("the build directory has changed: %q", after)
	}

	// Each directory has an archive before Linux 6.1.
	if err := os.Remove(tree.BuildDir + "/vmlinux.a"); err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Join(tree.BuildDir, "a"), "ar", "cDPrST", "built-in.a", "one.o", "two.o")
	run(t, tree.BuildDir, "ar", "cDPrST", "built-in.a", "a/built-in.a")
	check("old", want, tree.Recompile(t.Context(), t.TempDir(), built, functions))

	nothing := make([]string, len(functions))
	check("a later build", nothing, tree.Recompile(t.Context(), t.TempDir(), built.Add(-time.Hour), functions))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	check("too late", nothing, tree.Recompile(ended, t.TempDir(), built, functions))
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(tree.Source+"/a/one.c", later, later); err != nil {
		t.Fatal(err)
	}
	edited := slices.Clone(want)
	edited[0], edited[7] = "", ""
	check("edited", edited, tree.Recompile(t.Context(), t.TempDir(), built, functions))
	if err := os.Chtimes(tree.Source+"/a.h", later, later); err != nil {
		t.Fatal(err)
	}
	check("an edited header", nothing, tree.Recompile(t.Context(), t.TempDir(), built, functions))
}

// listing are the files below a directory, with their times.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
		if err == nil && !st.IsDir() {
			list = append(list, fmt.Sprint(path, st.ModTime(), st.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
