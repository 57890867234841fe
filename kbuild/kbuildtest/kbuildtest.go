// SPDX-License-Identifier: GPL-3.0-only

// Package kbuildtest has a source tree with a make of its own, for tests of what
// builds kernels.
package kbuildtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeMake knows the targets that a pass asks for. It logs them, and grants all
// options but those in the file "refused", beside the tree. The image, whose path is in
// the file "image", is a copy of the file "kernel" where that is.
const fakeMake = `#!/bin/sh
src=$2
for target; do case $target in [a-z]*config|[a-z]*mage|vmlinux) break;; esac; done
echo "$target" >>"$src/../made"
case $target in
defconfig|tinyconfig)
	echo CONFIG_64BIT=y >"$KCONFIG_CONFIG";;
olddefconfig)
	while read -r symbol; do sed -i "/^CONFIG_$symbol=/d" "$KCONFIG_CONFIG"; done <"$src/../refused";;
*)
	mkdir -p "$src/arch/x86/boot"
	image=$src/$(cat "$src/../image")
	if [ -e "$src/../kernel" ]; then cp "$src/../kernel" "$image"; else echo "$target" >"$image"; fi;;
esac
`

// A Tree is a kernel's source tree, with tools beside it.
type Tree struct {
	Dir string // of the source tree
	t   *testing.T
}

// New makes a source tree of Linux 6.1 without a .config, and puts its make and gcc
// into $PATH.
func New(t *testing.T) *Tree {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tree := &Tree{Dir: filepath.Join(top, "linux"), t: t}
	for path, text := range map[string]string{
		"linux/Kbuild": "", "linux/Kconfig": "", "linux/Makefile": "VERSION = 6\nPATCHLEVEL = 1\n", "linux/scripts/kconfig/conf.c": "",
		"linux/init/main.c": "", "bin/make": fakeMake, "bin/gcc": "#!/bin/sh\n", "refused": "", "image": "vmlinux\n", "made": "",
	} {
		tree.Write("../"+path, text)
	}
	t.Setenv("PATH", filepath.Join(top, "bin")+":/usr/bin:/bin")
	return tree
}

// Write writes a file, whose path is relative to the tree.
func (tree *Tree) Write(path, text string) {
	tree.t.Helper()
	path = filepath.Join(tree.Dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tree.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		tree.t.Fatal(err)
	}
}

// Read reads a file, whose path is relative to the tree.
func (tree *Tree) Read(path string) string {
	tree.t.Helper()
	data, err := os.ReadFile(filepath.Join(tree.Dir, path))
	if err != nil {
		tree.t.Fatal(err)
	}
	return string(data)
}

// Made returns, and forgets, the targets that make was asked for.
func (tree *Tree) Made() string {
	tree.t.Helper()
	made := strings.Join(strings.Fields(tree.Read("../made")), " ")
	tree.Write("../made", "")
	return made
}
