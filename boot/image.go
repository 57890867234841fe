// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// An ImageError says that a file is no kernel that qemu could start.
type ImageError struct{ Path, problem, hint string }

func (e *ImageError) Error() string { return e.Path + " " + e.problem }

// Hint says which files are, or which guest would do.
func (e *ImageError) Hint() string { return e.hint }

// images are the files that can be booted, by architecture.
var images = map[string]string{
	"x86_64":  "arch/x86/boot/bzImage, /boot/vmlinuz-*, or vmlinux with CONFIG_PVH=y",
	"aarch64": "arch/arm64/boot/Image",
	"riscv64": "arch/riscv/boot/Image",
}

// checkKernel says what is wrong with an image. qemu would hand anything to the
// firmware, which jumps into it and is silent for ever.
func checkKernel(path, arch string) error {
	// Before it is opened: to open a named pipe could take for ever.
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
	hint := fmt.Sprintf("for %s it is %s", arch, images[arch])
	found, size, err := identifyImage(f)
	switch {
	case err != nil:
		return fmt.Errorf("boot: kernel image: %w", err)
	case found == "":
		return &ImageError{path, "is not a kernel that can be booted", hint}
	case found != arch && found != anyArch:
		hint := fmt.Sprintf("ARCH=%s boots it; %s", kernelArch(found), hint)
		if images[found] == "" {
			hint = "for " + arch + " it is " + images[arch]
		}
		return &ImageError{path, fmt.Sprintf("is a kernel for %s, and the guest is of %s", found, arch), hint}
	case st.Size() < size:
		return &ImageError{path, fmt.Sprintf("is cut short: it has %d bytes of %d", st.Size(), size), "build it again, or copy it again"}
	}
	return nil
}

// kernelArch translates qemu's name of an architecture to make's.
func kernelArch(arch string) string {
	switch arch {
	case "x86_64":
		return "x86"
	case "aarch64":
		return "arm64"
	case "riscv64":
		return "riscv"
	}
	return arch
}

// anyArch is that of a compressed image, which doesn't say.
const anyArch = "any"

// identifyImage tells an image's architecture, as in qemu-system-<arch>, and how
// many bytes it has at least. The architecture is empty when it is no image.
func identifyImage(f *os.File) (arch string, size int64, err error) {
	const (
		// Documentation/arch/x86/boot.rst of the kernel.
		setupSectors, sysSize, x86Magic = 0x1f1, 0x1f4, 0x202
		// Documentation/arch/arm64/booting.rst, and riscv/boot-image-header.rst.
		armMagic, riscvMagic = 0x38, 0x38
	)
	head := make([]byte, 0x206)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", 0, err
	}
	has := func(offset int, magic string) bool {
		return n >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
	}
	switch {
	case has(0, elf.ELFMAG):
		arch, size = identifyELF(head)
		return arch, size, nil
	case has(x86Magic, "HdrS"):
		sectors := int64(head[setupSectors])
		if sectors == 0 {
			sectors = 4
		}
		return "x86_64", (sectors+1)*512 + int64(binary.LittleEndian.Uint32(head[sysSize:]))*16, nil
	case has(armMagic, "ARM\x64"):
		return "aarch64", 64, nil
	case has(riscvMagic, "RSC\x05"):
		return "riscv64", 64, nil
	case has(0, "\x1f\x8b"):
		return anyArch, 0, nil // Image.gz, which qemu unpacks
	}
	return "", 0, nil
}

// identifyELF does it for vmlinux, whose table of sections is its end. head is how
// the file begins; see elf(5).
func identifyELF(head []byte) (arch string, size int64) {
	const machine, sections, entrySize, entries = 18, 0x28, 0x3a, 0x3c
	if elf.Class(head[elf.EI_CLASS]) == elf.ELFCLASS64 && elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2LSB {
		table := int64(binary.LittleEndian.Uint16(head[entrySize:])) * int64(binary.LittleEndian.Uint16(head[entries:]))
		size = int64(binary.LittleEndian.Uint64(head[sections:])) + table
	}
	return machineArch(elf.Machine(binary.LittleEndian.Uint16(head[machine:]))), size
}

// machineArch is an ELF machine as in qemu-system-<arch>.
func machineArch(machine elf.Machine) string {
	switch machine {
	case elf.EM_X86_64:
		return "x86_64"
	case elf.EM_AARCH64:
		return "aarch64"
	case elf.EM_RISCV:
		return "riscv64"
	}
	return strings.ToLower(strings.TrimPrefix(machine.String(), "EM_"))
}
