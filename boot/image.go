// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// An ImageError says that a file is no kernel that qemu could start.
type ImageError struct{ Path, problem string }

func (e *ImageError) Error() string { return e.Path + " " + e.problem }

// Hint says which files are.
func (e *ImageError) Hint() string {
	return "on x86 it is arch/x86/boot/bzImage, /boot/vmlinuz-*, or vmlinux with CONFIG_PVH=y"
}

// checkKernel says what is wrong with an image. qemu would hand anything to the
// firmware, which jumps into it and is silent for ever.
func checkKernel(path, arch string) error {
	// Before it is opened: to open a named pipe could take for ever.
	if st, err := os.Stat(path); err != nil {
		return fmt.Errorf("boot: kernel image: %w", err)
	} else if !st.Mode().IsRegular() {
		return fmt.Errorf("boot: kernel image %s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("boot: kernel image: %w", err)
	}
	defer f.Close()
	if arch != "x86_64" {
		return nil
	}
	// The boot protocol's magic number is at 0x202; see
	// Documentation/arch/x86/boot.rst.
	const magic, offset = "HdrS", 0x202
	head := make([]byte, offset+len(magic))
	if _, err := io.ReadFull(f, head); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("boot: kernel image: %w", err)
	}
	if string(head[offset:]) != magic && string(head[:4]) != "\x7fELF" {
		return &ImageError{path, "is neither a bzImage nor a vmlinux"}
	}
	return nil
}
