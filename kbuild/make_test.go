// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/proc"
)

// tools puts a make with the given shell script, and a compiler, first into
// $PATH, and returns their directory.
func tools(t *testing.T, script string) string {
	t.Helper()
	dir := physical(t)
	write(t, dir, map[string]string{"make": "#!/bin/sh\n" + script + "\n", "gcc": "#!/bin/sh\n"})
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	return dir
}

func TestMakeArgs(t *testing.T) {
	all := "-j" + strconv.Itoa(runtime.NumCPU())
	for _, c := range []struct {
		build   string
		options Options
		want    []string
	}{
		{"/linux", Options{}, []string{"-C", "/linux", all}},
		{"/out", Options{Jobs: 3}, []string{"-C", "/linux", "-j3", "O=/out"}},
		{
			"/linux/out",
			Options{Jobs: 1, Arch: "arm64", CrossCompile: "aarch64-linux-gnu-", LLVM: "-15", CC: "ccache gcc"},
			[]string{"-C", "/linux", "-j1", "O=/linux/out", "ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-", "LLVM=-15", "CC=ccache gcc"},
		},
	} {
		tree := &Tree{Source: "/linux", BuildDir: c.build, options: c.options}
		if diff := cmp.Diff(c.want, tree.makeArgs()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestEnviron(t *testing.T) {
	for _, name := range []string{
		"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS", "KBUILD_OUTPUT", "ARCH", "CROSS_COMPILE", "LLVM", "CC",
		"KCONFIG_CONFIG", "LC_ALL", "LC_MESSAGES", "LANGUAGE", "GCC_COLORS",
	} {
		t.Setenv(name, "outer")
	}
	for _, name := range []string{"KBUILD_BUILD_USER", "CCACHE_DIR", "LANG", "KCFLAGS"} {
		t.Setenv(name, "kept")
	}
	got := Environ()
	for _, e := range got {
		if strings.HasSuffix(e, "=outer") {
			t.Errorf("%s is passed on", e)
		}
	}
	for _, e := range []string{"KBUILD_BUILD_USER=kept", "CCACHE_DIR=kept", "LANG=kept", "KCFLAGS=kept", "LC_MESSAGES=C", "GCC_COLORS=", "PATH=" + os.Getenv("PATH")} {
		if !slices.Contains(got, e) {
			t.Errorf("%s is missing", e)
		}
	}
}

func TestLookCompiler(t *testing.T) {
	dir := physical(t)
	for _, name := range []string{"gcc", "ccache", "clang", "clang-15", "aarch64-linux-gnu-gcc", "llvm/bin/clang"} {
		write(t, dir, map[string]string{name: "#!/bin/sh\n"})
	}
	t.Setenv("PATH", dir)
	for _, c := range []struct {
		options Options
		missing string
	}{
		{Options{}, ""},
		{Options{CrossCompile: "aarch64-linux-gnu-"}, ""},
		{Options{CrossCompile: "riscv64-linux-gnu-"}, "riscv64-linux-gnu-gcc"},
		{Options{LLVM: "1"}, ""},
		{Options{LLVM: "0"}, ""},
		{Options{LLVM: "-15"}, ""},
		{Options{LLVM: "-16"}, "clang-16"},
		{Options{LLVM: dir + "/llvm/bin/"}, ""},
		{Options{LLVM: "1", CrossCompile: "riscv64-linux-gnu-"}, ""},
		{Options{CC: "gcc -m32"}, ""},
		{Options{CC: "ccache gcc"}, ""},
		{Options{CC: "ccache gcc-12"}, "gcc-12"},
		{Options{CC: "distcc gcc"}, "distcc"},
		{Options{CC: " "}, ""},
	} {
		err := (&Tree{options: c.options}).lookCompiler()
		var missing *proc.MissingToolError
		if c.missing == "" && err != nil || c.missing != "" && (!errors.As(err, &missing) || missing.Tool != c.missing) {
			t.Errorf("%+v: got %v", c.options, err)
		}
	}
}

func TestMissingTools(t *testing.T) {
	tree, err := Find(Options{Dir: source(t, physical(t))})
	if err != nil {
		t.Fatal(err)
	}
	dir := tools(t, "exit 0")
	t.Setenv("PATH", dir)
	for _, tool := range []string{"gcc", "make"} {
		if err := os.Remove(filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
		_, build := tree.Build(t.Context(), BuildOptions{Target: "vmlinux"})
		for _, err := range []error{build, tree.Configure(t.Context(), "olddefconfig", "x")} {
			var missing *proc.MissingToolError
			if !errors.As(err, &missing) || missing.Tool != tool || !strings.Contains(missing.Hint(), "Debian "+tool) {
				t.Errorf("%s: got %v", tool, err)
			}
		}
	}
}

func TestConfigure(t *testing.T) {
	src := source(t, physical(t))
	tree, err := Find(Options{Dir: src, Output: "out", Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	tools(t, `echo "make[1]: Entering directory '/out'"; echo "$@"; echo "$KCONFIG_CONFIG" "$MAKEFLAGS" "$LC_MESSAGES"; exit 2`)
	t.Setenv("MAKEFLAGS", "-n")
	t.Setenv("KCONFIG_CONFIG", "other")
	err = tree.Configure(t.Context(), "olddefconfig", "/x/.config.new")
	var failed *ConfigureError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	want := []string{"-C " + src + " -j1 O=" + src + "/out olddefconfig", "/x/.config.new  C"}
	if diff := cmp.Diff(want, failed.Output); diff != "" {
		t.Error(diff)
	}
	if text := err.Error(); !strings.HasPrefix(text, "make olddefconfig: exit status 2:\n\t-C ") || failed.Hint() != "" {
		t.Errorf("got %s, hint %s", text, failed.Hint())
	}

	tools(t, `for i in $(seq 100); do echo "line $i"; done; echo '/bin/sh: 1: flex: not found' >&2; exit 2`)
	err = tree.Configure(t.Context(), "olddefconfig", "x")
	if !errors.As(err, &failed) || len(failed.Output) != 12 || !strings.Contains(failed.Hint(), "Debian flex") {
		t.Errorf("got %v", err)
	}

	tools(t, "exit 0")
	if err := tree.Configure(t.Context(), "olddefconfig", "x"); err != nil {
		t.Error(err)
	}
	overtaken := errors.New("overtaken")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(overtaken)
	if err := tree.Configure(ctx, "olddefconfig", "x"); !errors.Is(err, overtaken) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestToolHint(t *testing.T) {
	for line, want := range map[string]string{
		"/bin/sh: 1: flex: not found":                                                       "Debian flex",
		"/bin/sh: line 1: bison: command not found":                                         "Debian bison",
		"make[3]: bc: No such file or directory":                                            "Debian bc",
		"/bin/sh: 1: /usr/bin/perl: not found":                                              "Debian perl",
		"./scripts/link-vmlinux.sh: 116: pahole: not found":                                 "Debian dwarves",
		"BTF: .tmp_vmlinux.btf: pahole (pahole) is not available":                           "Debian dwarves",
		"/bin/sh: 1: zstd: not found":                                                       "needs zstd",
		"/bin/sh: 1: ld.lld: not found":                                                     "Debian lld",
		"certs/extract-cert.c:21:10: fatal error: openssl/bio.h: No such file or directory": "Debian libssl-dev",
		"scripts/sign-file.c:25:10: fatal error: 'openssl/opensslv.h' file not found":       "Debian libssl-dev",
		"<stdin>:1:10: fatal error: libelf.h: No such file or directory":                    "Debian libelf-dev",
		"fs/foo.c:1: fatal error: error writing to /tmp/x.s: No space left on device":       "disk is full",
		"gcc: fatal error: Killed signal terminated program cc1":                            "-j2",
		"collect2: fatal error: ld terminated with signal 9 [Killed]":                       "-j2",
		"make[1]: *** [scripts/Makefile.vmlinux:34: vmlinux] Error 137":                     "-j2",
		"Error in reading or end of file.":                                                  "make olddefconfig",
		"ld.lld: error: cannot open foo.o: No such file or directory":                       "",
		"init/main.c:5:10: fatal error: linux/nosuch.h: No such file or directory":          "",
		"make[1]: *** [scripts/Makefile.build:250: init/main.o] Error 1":                    "",
		"warning: symbol not found":                                                         "",
		"":                                                                                  "",
	} {
		got := toolHint([]string{"  CC      init/main.o", line, "make: *** [Makefile:1: x] Error 2"})
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}
