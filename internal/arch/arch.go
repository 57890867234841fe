// SPDX-License-Identifier: GPL-3.0-only

package arch

import (
	"debug/elf"
	"runtime"
	"slices"
	"strings"
)

// An Arch is one architecture.
type Arch struct {
	Name    string   // qemu's, as in qemu-system-x86_64
	Kernel  string   // the kernel's: a directory of arch/, and make's default for ARCH on such a machine
	Aliases []string // the other values of ARCH for that directory
	Borrows []string // other directories of arch/ whose files it builds or includes
	Go      string   // GOARCH
	Debian  string   // as in dpkg --print-architecture
	Nix     string   // the processor of a system in nix, as in x86_64-linux
	GDB     string   // gdb's set architecture

	Machine elf.Machine // of its programs and of vmlinux
	Class   elf.Class   // ELFCLASSNONE: both

	// Images are what make builds for booting: the first whose option is enabled. Empty:
	// vmlinux.
	Images []Image

	Guest *Guest // nil: run-kernel boots no guest of it
}

// An Image is a form of the kernel that can be booted.
type Image struct {
	Target string // of make
	Path   string // in the build directory
	Option string // symbol without CONFIG_ that it needs; empty: none
}

// A Guest is how qemu runs a guest of an architecture.
type Guest struct {
	Machine string // value of -machine
	CPU     string // value of -cpu with TCG

	Console     []string // kernel arguments for the first serial port
	TCG         []string // kernel arguments with TCG
	EarlyPrintk string   // kernel argument that may show more of a guest that dies without output; empty: none

	// KVM lists flags of /proc/cpuinfo. On a host that has none of them, KVM doesn't
	// work even where /dev/kvm opens. Empty: that it opens is enough.
	KVM []string

	Header   Header // of its images other than vmlinux
	PVH      bool   // whether qemu enters its vmlinux by the PVH entry point
	Gzip     bool   // whether qemu unpacks an image that gzip has compressed
	Bootable string // the images that can be booted, for people

	Firmware Firmware // that qemu may lack

	// Tools are the programs and files that only this architecture's guests need, with
	// the packages that provide them on Debian, Fedora, Arch and NixOS.
	Tools map[string][4]string
}

// Firmware is what runs in a guest before the kernel.
type Firmware struct {
	File string // in one of qemu's directories of data; empty: it comes with qemu
	Tool string // that provides it; a key of Guest.Tools
}

// A Header is how an image begins.
type Header struct {
	Offset int // of Magic
	Magic  string
	Size   func(head []byte) int64 // the image's size at least, by its first HeaderSize bytes
}

// HeaderSize is how many bytes of an image are needed to tell what it is.
const HeaderSize = 0x206

// Of returns the row with qemu's name for an architecture. For an unknown name,
// which may be empty, all names are that name.
func Of(name string) *Arch {
	return find(func(a *Arch) bool { return a.Name == name }, name)
}

// OfGo returns the row of a GOARCH.
func OfGo(goarch string) *Arch {
	return find(func(a *Arch) bool { return a.Go == goarch }, goarch)
}

// OfELF returns the row of a program's or vmlinux's machine and class.
func OfELF(machine elf.Machine, class elf.Class) *Arch {
	return find(func(a *Arch) bool {
		return machine != elf.EM_NONE && a.Machine == machine && (a.Class == elf.ELFCLASSNONE || a.Class == class)
	}, strings.ToLower(strings.TrimPrefix(machine.String(), "EM_")))
}

// OfKernel returns the row of a value of make's ARCH. Where several share a
// directory of arch/, it is the one that run-kernel boots guests of.
func OfKernel(name string) *Arch {
	return find(func(a *Arch) bool { return a.Kernel == name || slices.Contains(a.Aliases, name) }, name)
}

// Host returns the row of the machine we run on.
func Host() *Arch { return OfGo(runtime.GOARCH) }

// Guests returns the rows that run-kernel boots guests of.
func Guests() []*Arch {
	var list []*Arch
	for i := range table {
		if table[i].Guest != nil {
			list = append(list, &table[i])
		}
	}
	return list
}

// Kernels lists the directories of arch/ that the table has rows for.
func Kernels() []string {
	var list []string
	for i := range table {
		list = append(list, table[i].Kernel)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func find(match func(*Arch) bool, name string) *Arch {
	for i := range table {
		if name != "" && match(&table[i]) {
			return &table[i]
		}
	}
	return &Arch{Name: name, Kernel: name, Go: name, Debian: name, Nix: name, GDB: name}
}

// Image returns the image that make builds for a configuration that enabled
// tells of.
func (a *Arch) Image(enabled func(symbol string) bool) Image {
	for _, i := range a.Images {
		if i.Option == "" || enabled(i.Option) {
			return i
		}
	}
	return Image{Target: "vmlinux", Path: "vmlinux"}
}

// Packages returns what provides a tool of some architecture on Debian, Fedora,
// Arch and NixOS; see Guest.Tools.
func Packages(tool string) (packages [4]string, ok bool) {
	for i := range table {
		if g := table[i].Guest; g != nil {
			if packages, ok = g.Tools[tool]; ok {
				break
			}
		}
	}
	return packages, ok
}
