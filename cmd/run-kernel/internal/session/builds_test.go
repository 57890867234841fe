// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kbuild/kbuildtest"
)

func TestBuilds(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	source := kbuildtest.New(t)
	build := func(name string) string {
		t.Helper()
		dir := filepath.Join(filepath.Dir(source.Dir), name)
		tree, err := kbuild.Find(kbuild.Options{Dir: source.Dir, Output: dir, Arch: "x86"})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".config"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		remember(tree)
		return tree.BuildDir
	}
	a, b := build("a"), build("b")
	build("a")
	if got := Builds(source.Dir); !slices.Equal(got, []string{a, b}) {
		t.Errorf("got %q", got)
	}
	if err := os.RemoveAll(a); err != nil {
		t.Fatal(err)
	}
	if got := Builds(source.Dir); !slices.Equal(got, []string{b}) {
		t.Errorf("one is gone: %q", got)
	}
	if err := os.WriteFile(buildsFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Builds(source.Dir); len(got) > 0 {
		t.Errorf("of a file that is cut: %q", got)
	}
	build("b")
	if got := Builds(source.Dir); !slices.Equal(got, []string{b}) {
		t.Errorf("afterwards: %q", got)
	}
}

// A home that isn't a whole path is none: it would be in whatever directory we work in.
func TestNoBuildsInARelativeHome(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "")
	for home, want := range map[string]string{"": "", "home": "", "/home/me": "/home/me/.local/state/run-kernel/builds.json"} {
		t.Setenv("HOME", home)
		if got := buildsFile(); got != want {
			t.Errorf("HOME=%s: got %q, want %q", home, got, want)
		}
	}
}
