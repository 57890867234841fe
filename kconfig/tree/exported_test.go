// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeTree writes a tree with a Makefile and Kconfig files of a conf without
// anything special.
func fakeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{"scripts/kconfig/expr.h": "#define SYMBOL_HASHSIZE 9973\n", "arch/x86/Kconfig": ""}
	for _, name := range []string{"lexer.l", "parser.y", "symbol.c", "confdata.c", "conf.c", "expr.c"} {
		all["scripts/kconfig/"+name] = ""
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A variable of the Makefile's that only make knows is asked for, once, whether a
// Kconfig file reads it, a command, or a script that a command calls.
func TestExported(t *testing.T) {
	const makefile = "VERSION = 7\nexport A \\\n\tB C\n  export D := x\nexport E\n"
	srctree := fakeTree(t, map[string]string{
		"Makefile":          makefile,
		"scripts/reads.sh":  "#!/bin/sh\nE=own\necho ${C}$E\n",
		"scripts/silent.sh": "#!/bin/sh\necho nothing\n",
		"Kconfig": `config A
	string
	default "$(A)"
config B
	string
	default "$(shell,echo $B)"
config C
	string
	default "$(shell,$(srctree)/scripts/reads.sh)"
config N
	string
	default "$(shell,$(srctree)/scripts/silent.sh)"
config ARCH
	string
	default "$(ARCH)"
`,
	})
	answer := []string{"A=a", "B=b", "C=c", "D=d", "E=e", "ARCH=wrong", "PATH=wrong"}
	asked := 0
	o := Options{Srctree: srctree, Vars: map[string]string{"ARCH": "x86"}, Env: os.Environ(), Cache: t.TempDir(), Environ: func(context.Context) ([]string, error) {
		asked++
		return answer, nil
	}}
	load := func(want map[string]string, calls int) {
		t.Helper()
		m, err := Load(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		s := m.NewState()
		for name := range want {
			got[name] = s.String(m.Lookup(name))
		}
		if d := cmp.Diff(want, got); d != "" || asked != calls {
			t.Errorf("make was asked %d times, want %d; %s", asked, calls, d)
		}
	}
	fingerprint := func() string {
		t.Helper()
		in, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		f, err := in.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	want := map[string]string{"A": "a", "B": "b", "C": "cown", "N": "nothing", "ARCH": "x86"}
	load(want, 1)
	load(want, 1)
	known := fingerprint()
	// Another Makefile may say something else.
	if err := os.WriteFile(filepath.Join(srctree, "Makefile"), []byte(makefile+"# changed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	answer = slices.Concat(answer, []string{"B=2"})
	want["B"] = "2"
	load(want, 2)
	if fingerprint() == known {
		t.Error("the fingerprint doesn't depend on what make says")
	}
	// Without make, it's a tree that the engine doesn't understand.
	o.Environ, o.Cache = nil, t.TempDir()
	var unsupported *UnsupportedError
	if _, err := Load(t.Context(), o); !errors.As(err, &unsupported) {
		t.Errorf("got %v", err)
	}
}

func TestExportedNames(t *testing.T) {
	got := exportedNames("export A B # C\n\texport D:=x\nexport E ?= y z\nexporting F\nexport\tG += h\nexport I \\\n  J\nunexport K\nexport L = M N\nexport O::=p\n")
	if d := cmp.Diff([]string{"A", "B", "D", "E", "G", "I", "J", "L", "O"}, got); d != "" {
		t.Error(d)
	}
}

// A new variable in the environment asks nothing anew, unless a command speaks of it,
// or the compiler is a script that may.
func TestUnrelatedVariable(t *testing.T) {
	srctree := fakeTree(t, map[string]string{
		"Makefile": "VERSION = 7\n",
		"Kconfig":  "config A\n\tstring\n\tdefault \"$(shell,date +%s%N)\"\nconfig B\n\tstring\n\tdefault \"$(shell,echo $SPOKEN; date +%s%N)\"\n",
	})
	script := filepath.Join(t.TempDir(), "gcc")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho gcc\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	load := func(compiler string, env ...string) (a, b string) {
		t.Helper()
		m, err := Load(t.Context(), Options{Srctree: srctree, Vars: map[string]string{"ARCH": "x86", "CC": compiler}, Env: append(os.Environ(), env...), Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		s := m.NewState()
		return s.String(m.Lookup("A")), s.String(m.Lookup("B"))
	}
	a, b := load("gcc")
	if a2, b2 := load("gcc", "UNRELATED=1"); a2 != a || b2 != b {
		t.Error("a variable that nothing reads had the commands run again")
	}
	if a2, b2 := load("gcc", "SPOKEN=1"); a2 != a || b2 == b {
		t.Error("the command that reads a variable wasn't run again, or the other one was")
	}
	if a2, _ := load("gcc", "CPATH=/usr/include"); a2 == a {
		t.Error("a variable that the compiler reads didn't matter")
	}
	a, _ = load(script)
	if a2, _ := load(script, "UNRELATED=1"); a2 == a {
		t.Error("the variables of a compiler that is a script didn't matter")
	}
}
