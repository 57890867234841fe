// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
)

// HasSandbox says whether the qemu at path knows -sandbox, which it does when it was
// built with libseccomp. Asking it would take as long as it takes to start.
func HasSandbox(path string) bool {
	// Nixpkgs has a script at the path, and the program beside it.
	wrapped := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"-wrapped")
	for _, p := range []string{path, wrapped} {
		f, err := elf.Open(p)
		if err != nil {
			continue
		}
		libraries, err := f.ImportedLibraries()
		_ = f.Close()
		return err == nil && slices.ContainsFunc(libraries, func(l string) bool { return strings.HasPrefix(l, "libseccomp.") })
	}
	return false
}
