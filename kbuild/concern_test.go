// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"path/filepath"
	"testing"
)

func TestConcerns(t *testing.T) {
	for _, c := range []struct {
		arch, path string
		want       bool
	}{
		{"x86_64", "init/main.c", true},
		{"x86_64", "MAINTAINERS", false},
		{"x86_64", "arch/x86/mm/fault.c", true},
		{"x86_64", "Kbuild", true},
		{"x86_64", "LICENSES/preferred/GPL-2.0", false},
		{"x86_64", "arch/Kconfig", true},
		{"x86_64", "arch/arm/mm/fault.c", false},
		{"x86_64", "arch/arm64/Kconfig", false},
		{"i386", "arch/x86/mm/fault.c", true},
		{"arm64", "arch/x86/mm/fault.c", false},
		{"arm64", "arch/arm/xen/mm.c", true},
		{"riscv", "arch/arm64/boot/dts/renesas/r9a07g043.dtsi", true},
		{"um", "arch/x86/um/signal.c", true},
		{"x86_64", "Documentation/admin-guide/README.rst", false},
		{"x86_64", "Documentation/Kconfig", true},
		{"x86_64", "Documentation/Makefile", true},
		{"x86_64", "tools/objtool/check.c", true},
		{"x86_64", "../elsewhere/Documentation/x", true},
	} {
		tree := &Tree{Source: "/src/linux", options: Options{Arch: c.arch}}
		if got := tree.Concerns(filepath.Join(tree.Source, c.path)); got != c.want {
			t.Errorf("%s: %s: %v", c.arch, c.path, got)
		}
	}
}
