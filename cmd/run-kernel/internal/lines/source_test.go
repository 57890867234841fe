// SPDX-License-Identifier: GPL-3.0-only

package lines

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/kbuild"
)

// Only lines of the tree's source files are shown, whatever a guest names.
func TestSourceOfTheTreeOnly(t *testing.T) {
	tree := &kbuild.Tree{Source: t.TempDir(), BuildDir: t.TempDir(), External: []string{t.TempDir()}}
	const text = "one\ntwo\nthree\n"
	in := func(dir, name string) string { return filepath.Join(dir, name) }
	key, other := in(t.TempDir(), ".ssh/id_rsa"), in(t.TempDir(), "other.c")
	for _, path := range []string{
		in(tree.Source, "drv/driver.c"), in(tree.Source, ".git/config"), in(tree.BuildDir, "gen.h"), in(tree.External[0], "mine.rs"), key, other,
	} {
		write(t, path, text)
	}
	if err := os.Symlink(key, in(tree.Source, "link.c")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(in(tree.Source, "fifo.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	up, err := filepath.Rel(tree.Source, other)
	if err != nil {
		t.Fatal(err)
	}
	d := &Decoder{tree: tree, built: time.Now().Add(time.Hour)}
	for file, want := range map[string]int{
		"drv/driver.c": 3, in(tree.Source, "drv/driver.c"): 3, in(tree.BuildDir, "gen.h"): 3, in(tree.External[0], "mine.rs"): 3,
		key: 0, other: 0, up: 0, "link.c": 0, "fifo.c": 0, ".git/config": 0, "missing.c": 0,
	} {
		if around, _ := d.Source(file, 2); len(around) != want {
			t.Errorf("%s: %d lines, want %d", file, len(around), want)
		}
	}
}
