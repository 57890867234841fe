// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/metaspace/run-kernel/internal/arch"
)

// An ImageError says that a file is no kernel that qemu could start.
type ImageError struct{ Path, problem, hint string }

func (e *ImageError) Error() string { return e.Path + " " + e.problem }

// Hint says which files are, or which guest would do.
func (e *ImageError) Hint() string { return e.hint }

// bootable names the files that can be booted.
func bootable(name string) string {
	if g := arch.Of(name).Guest; g != nil {
		return g.Bootable
	}
	return ""
}

// checkKernel says what is wrong with an image. qemu would hand anything to the
// firmware, which jumps into it and never says a word.
func checkKernel(path, guest string) error {
	// Before it is opened: opening a named pipe waits for a writer.
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("boot: kernel image: %w", err)
	} else if !st.Mode().IsRegular() {
		return fmt.Errorf("boot: kernel image %s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("boot: kernel image: %w", err)
	}
	defer f.Close()
	hint := fmt.Sprintf("for %s it is %s", guest, bootable(guest))
	found, size, err := identifyImage(f)
	switch {
	case err != nil:
		return fmt.Errorf("boot: kernel image: %w", err)
	case found == "", found == anyArch && !unpacks(guest):
		return &ImageError{path, "is not a kernel that can be booted", hint}
	case found != guest && found != anyArch:
		if a := arch.Of(found); a.Guest != nil {
			hint = fmt.Sprintf("ARCH=%s boots it; %s", a.Kernel, hint)
		}
		return &ImageError{path, fmt.Sprintf("is a kernel for %s, and the guest is of %s", found, guest), hint}
	case st.Size() < size:
		return &ImageError{path, fmt.Sprintf("is cut short: it has %d bytes of %d", st.Size(), size), "build it again, or copy it again"}
	}
	if g := arch.Of(found).Guest; g != nil && g.PVH {
		return checkPVH(path)
	}
	return nil
}

// unpacks says whether qemu unpacks a compressed image for a guest. Else it would
// run it as it is.
func unpacks(name string) bool {
	g := arch.Of(name).Guest
	return g != nil && g.Gzip
}

// anyArch is that of a compressed image, which doesn't say.
const anyArch = "any"

// identifyImage tells an image's architecture, as in qemu-system-<arch>, and how
// many bytes it has at least. The architecture is empty when it is no image.
func identifyImage(f *os.File) (name string, size int64, err error) {
	head := make([]byte, arch.HeaderSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", 0, err
	}
	has := func(offset int, magic string) bool {
		return n >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
	}
	if has(0, elf.ELFMAG) {
		name, size = identifyELF(head)
		return name, size, nil
	}
	for _, a := range arch.Guests() {
		if h := a.Guest.Header; has(h.Offset, h.Magic) {
			return a.Name, h.Size(head), nil
		}
	}
	if has(0, "\x1f\x8b") {
		return anyArch, 0, nil // Image.gz
	}
	return "", 0, nil
}

// identifyELF does it for vmlinux, whose table of sections is its end. head is how
// the file begins; see elf(5).
func identifyELF(head []byte) (name string, size int64) {
	const machine, sections, entrySize, entries = 18, 0x28, 0x3a, 0x3c
	class := elf.Class(head[elf.EI_CLASS])
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	if class == elf.ELFCLASS64 {
		table := int64(order.Uint16(head[entrySize:])) * int64(order.Uint16(head[entries:]))
		size = int64(order.Uint64(head[sections:])) + table
	}
	return arch.OfELF(elf.Machine(order.Uint16(head[machine:])), class).Name, size
}
