// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLeaves(t *testing.T) {
	root := t.TempDir()
	l := leavesOf(root)
	if !l.ok {
		t.Skipf("the file system of %s doesn't count the directories in a directory by its links", root)
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !l.has(root) {
		t.Error("a directory of files has directories")
	}
	if l.has(filepath.Join(root, "file")) || l.has(filepath.Join(root, "none")) {
		t.Error("what is no directory is a directory without directories")
	}
	if err := os.Mkdir(filepath.Join(root, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if l.has(root) {
		t.Error("a directory with a directory has none")
	}
	if l.has("/proc/self") || leavesOf("/proc").ok {
		t.Error("another file system is taken for one that counts")
	}
}
