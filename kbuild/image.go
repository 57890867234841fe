// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"os"
	"path/filepath"
	"syscall"
)

// Image returns the path and the make target of the image to boot, for a
// configuration that enabled tells of.
//
// On x86 that is vmlinux when the kernel has the PVH entry point: it saves the
// compression at build time and the decompression at boot.
func (t *Tree) Image(enabled func(symbol string) bool) (path, target string) {
	arch := t.SrcArch()
	switch arch {
	case "x86":
		if !enabled("PVH") {
			path, target = "arch/x86/boot/bzImage", "bzImage"
			break
		}
		path, target = "vmlinux", "vmlinux"
	case "arm64", "riscv":
		path, target = "arch/"+arch+"/boot/Image", "Image"
	case "s390":
		path, target = "arch/s390/boot/bzImage", "bzImage"
	default:
		path, target = "vmlinux", "vmlinux"
	}
	return filepath.Join(t.BuildDir, path), target
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
