// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/metaspace/run-kernel/internal/arch"
)

// instrumenting are the options with which x86's PVH entry point doesn't work.
var instrumenting = []string{"KASAN", "KCSAN", "KMSAN"}

// Image returns the path and the make target of the image to boot, for a
// configuration that enabled tells of.
//
// On x86 it is bzImage for a kernel with KASAN or KCSAN. The PVH entry point, by which qemu starts
// vmlinux, runs before KASAN has its shadow memory: the first call of KASAN reads what
// isn't mapped, and the processor resets itself. Linux 6.1 compiles all of it with such
// calls. Linux 6.12 exempts its file (KASAN_SANITIZE in arch/x86/platform/pvh/Makefile),
// but not the memcmp() that it calls where the compiler optimises for size, unless
// AMD_MEM_ENCRYPT exempts that (lib/Makefile). The entry point of bzImage is safe
// everywhere. KCSAN counts in variables of each processor, which have no place yet: it counts
// down what is anywhere in the kernel, in 6.1 entries for its table of interrupts. KMSAN is
// like KASAN, and was not tried; KCOV in all code does no harm.
func (t *Tree) Image(enabled func(symbol string) bool) (path, target string) {
	image := arch.OfKernel(t.Arch()).Image(func(symbol string) bool {
		return enabled(symbol) && (symbol != "PVH" || !slices.ContainsFunc(instrumenting, enabled))
	})
	return filepath.Join(t.BuildDir, image.Path), image.Target
}

// An identity tells one state of a file from another. make writes a new file
// when it links, so time and inode change.
type identity struct {
	size, mtime int64
	inode       uint64
}

func identify(path string) identity {
	st, err := os.Stat(path)
	if err != nil {
		return identity{}
	}
	id := identity{size: st.Size(), mtime: st.ModTime().UnixNano()}
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		id.inode = s.Ino
	}
	return id
}
