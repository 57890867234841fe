// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/internal/arch"
)

// texts are files at the top of the tree for people.
var texts = []string{"COPYING", "CREDITS", "MAINTAINERS", "README", ".mailmap"}

// Rel returns the path of a file relative to the source tree, or as it is where it
// isn't below that.
func (t *Tree) Rel(path string) string {
	if rel, err := filepath.Rel(t.Source, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// Concerns says whether a build may read the source file at path. It doesn't read
// documentation, nor the files of an architecture that this one builds nothing from.
func (t *Tree) Concerns(path string) bool {
	rel := t.Rel(path)
	if filepath.IsAbs(rel) {
		return true
	}
	parts := strings.Split(rel, string(filepath.Separator))
	switch {
	case len(parts) == 1:
		return !slices.Contains(texts, rel)
	case parts[0] == "LICENSES":
		return false
	case parts[0] == "Documentation":
		// The top Kconfig file sources one that is there, and the top Makefile may
		// descend.
		name := parts[len(parts)-1]
		return strings.HasPrefix(name, "Kconfig") || name == "Makefile"
	case parts[0] == "arch" && len(parts) > 2:
		// What the others build from is not known.
		a := arch.OfKernel(t.Arch())
		return a.Guest == nil || parts[1] == a.Kernel || slices.Contains(a.Borrows, parts[1])
	}
	return true
}
