// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
		want := []module{{tree.BuildDir + "/fs/a.ko", "fs/a.ko"}, {tree.BuildDir + "/net/b.ko", "net/b.ko"}}
		if name == "later" {
			want = append(want, module{outside + "/mine.ko", outside + "/mine.ko"})
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
