// SPDX-License-Identifier: GPL-3.0-only

package arch

import (
	"debug/elf"
	"encoding/binary"
)

// table has the architectures. Of those with the same directory in arch/, the one
// that guests are booted of comes first.
var table = []Arch{
	{
		Name: "x86_64", Kernel: "x86", Aliases: []string{"x86_64", "i386"},
		Go: "amd64", Debian: "amd64", Nix: "x86_64", GDB: "i386:x86-64",
		Machine: elf.EM_X86_64,
		Images: []Image{
			// Where the kernel has the PVH entry point, this saves the compression at build
			// time and the decompression at boot.
			{Target: "vmlinux", Path: "vmlinux", Option: "PVH"},
			{Target: "bzImage", Path: "arch/x86/boot/bzImage"},
		},
		Guest: &Guest{
			// Not microvm: without KVM it has no timer that the kernel could calibrate
			// the TSC against, and a busy host makes that hang.
			Machine: "q35",
			// A processor with fast string instructions is given them by the kernel and by
			// the C library for all that is large, and TCG runs them byte by byte.
			CPU: "max,-erms,-fsrm",
			// The early console shows a panic that comes before the driver's.
			Console: []string{"earlycon=uart8250,io,0x3f8,115200", "console=ttyS0,115200"},
			// Whether the timer interrupt works is judged by its ticks in 40 ms; a busy
			// host has none to give, and the kernel panics.
			TCG:         []string{"no_timer_check"},
			EarlyPrintk: "earlyprintk=ttyS0",
			KVM:         []string{"vmx", "svm"},
			PVH:         true, // x86_load_linux in hw/i386/x86.c of qemu
			// Documentation/arch/x86/boot.rst of the kernel.
			Header:   Header{Offset: 0x202, Magic: "HdrS", Size: bzImageSize},
			Bootable: "arch/x86/boot/bzImage, /boot/vmlinuz-*, or vmlinux with CONFIG_PVH=y",
			Tools: map[string][4]string{
				"qemu-system-x86_64": {"qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86", "qemu"},
			},
		},
	},
	{
		Name: "aarch64", Kernel: "arm64", Borrows: []string{"arm"}, Go: "arm64", Debian: "arm64", Nix: "aarch64", GDB: "aarch64",
		Machine: elf.EM_AARCH64,
		Images:  []Image{{Target: "Image", Path: "arch/arm64/boot/Image"}},
		Guest: &Guest{
			// The default is GICv2, which ends at eight processors and which the
			// processors of many hosts don't have.
			Machine: "virt,gic-version=max",
			// The architecture's own algorithm for signed pointers takes half of the time,
			// translated.
			CPU: "max,pauth-impdef=on",
			// The device tree names the port of the early console.
			Console: []string{"earlycon", "console=ttyAMA0"},
			// Documentation/arch/arm64/booting.rst.
			Header:   Header{Offset: 0x38, Magic: "ARM\x64", Size: headerOnly},
			Gzip:     true, // load_aarch64_image in hw/arm/boot.c of qemu; it alone does
			Bootable: "arch/arm64/boot/Image",
			Tools: map[string][4]string{
				"qemu-system-aarch64":   {"qemu-system-arm", "qemu-system-aarch64-core", "qemu-system-aarch64", "qemu"},
				"aarch64-linux-gnu-gcc": {"gcc-aarch64-linux-gnu", "gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc", "pkgsCross.aarch64-multiplatform.buildPackages.gcc"},
				"aarch64-linux-gnu-ld":  {"binutils-aarch64-linux-gnu", "binutils-aarch64-linux-gnu", "aarch64-linux-gnu-binutils", "pkgsCross.aarch64-multiplatform.buildPackages.binutils"},
			},
		},
	},
	{
		Name: "riscv64", Kernel: "riscv", Borrows: []string{"arm64"}, Go: "riscv64", Debian: "riscv64", Nix: "riscv64", GDB: "riscv:rv64",
		Machine: elf.EM_RISCV, Class: elf.ELFCLASS64,
		Images: []Image{{Target: "Image", Path: "arch/riscv/boot/Image"}},
		Guest: &Guest{
			Machine: "virt",
			CPU:     "rv64", // max is of qemu 8.2
			Console: []string{"earlycon", "console=ttyS0"},
			// Documentation/arch/riscv/boot-image-header.rst.
			Header:   Header{Offset: 0x38, Magic: "RSC\x05", Size: headerOnly},
			Bootable: "arch/riscv/boot/Image",
			Firmware: Firmware{File: "opensbi-riscv64-generic-fw_dynamic.bin", Tool: "opensbi"},
			Tools: map[string][4]string{
				"qemu-system-riscv64":   {"qemu-system-misc", "qemu-system-riscv-core", "qemu-system-riscv", "qemu"},
				"opensbi":               {"opensbi", "qemu-system-riscv-core", "qemu-system-riscv-firmware", "qemu"},
				"riscv64-linux-gnu-gcc": {"gcc-riscv64-linux-gnu", "gcc-riscv64-linux-gnu", "riscv64-linux-gnu-gcc", "pkgsCross.riscv64.buildPackages.gcc"},
				"riscv64-linux-gnu-ld":  {"binutils-riscv64-linux-gnu", "binutils-riscv64-linux-gnu", "riscv64-linux-gnu-binutils", "pkgsCross.riscv64.buildPackages.binutils"},
			},
		},
	},
	{Name: "i386", Kernel: "x86", Go: "386", Debian: "i386", Nix: "i686", Machine: elf.EM_386},
	{Name: "arm", Kernel: "arm", Go: "arm", Debian: "armhf", Nix: "armv7l", Machine: elf.EM_ARM},
	{Name: "loongarch64", Kernel: "loongarch", Go: "loong64", Debian: "loong64", Nix: "loongarch64", Machine: elf.EM_LOONGARCH},
	{Name: "mips", Kernel: "mips", Go: "mips", Nix: "mips"},
	{Name: "mipsel", Kernel: "mips", Go: "mipsle", Debian: "mipsel", Nix: "mipsel"},
	{Name: "mips64", Kernel: "mips", Go: "mips64", Nix: "mips64"},
	{Name: "mips64el", Kernel: "mips", Go: "mips64le", Debian: "mips64el", Nix: "mips64el"},
	{Name: "ppc64", Kernel: "powerpc", Go: "ppc64le", Debian: "ppc64el", Nix: "powerpc64le", Machine: elf.EM_PPC64},
	{Name: "ppc64", Kernel: "powerpc", Go: "ppc64", Debian: "ppc64", Nix: "powerpc64"},
	{
		Name: "s390x", Kernel: "s390", Go: "s390x", Debian: "s390x", Nix: "s390x", Machine: elf.EM_S390,
		Images: []Image{{Target: "bzImage", Path: "arch/s390/boot/bzImage"}},
	},
	{Name: "hppa", Kernel: "parisc", Aliases: []string{"parisc64"}, Machine: elf.EM_PARISC},
	{Name: "riscv32", Kernel: "riscv", Nix: "riscv32", Machine: elf.EM_RISCV, Class: elf.ELFCLASS32},
	{Name: "sh4", Kernel: "sh", Aliases: []string{"sh64"}, Machine: elf.EM_SH},
	{Name: "sparc64", Kernel: "sparc", Aliases: []string{"sparc32", "sparc64"}, Machine: elf.EM_SPARCV9},
}

// bzImageSize is that of the sectors with the real-mode code, and of the rest in
// units of 16 bytes.
func bzImageSize(head []byte) int64 {
	const setupSectors, sysSize = 0x1f1, 0x1f4
	sectors := int64(head[setupSectors])
	if sectors == 0 {
		sectors = 4
	}
	return (sectors+1)*512 + int64(binary.LittleEndian.Uint32(head[sysSize:]))*16
}

// headerOnly is for an image whose header doesn't tell its size in the file.
func headerOnly([]byte) int64 { return 64 }
