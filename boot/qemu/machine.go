// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/internal/arch"
)

// A Machine is a guest: its processor, its memory, its kernel and its devices.
type Machine struct {
	Arch   string // as in qemu-system-<arch>: x86_64, aarch64, riscv64
	Accel  Accel
	CPUs   int
	Memory int // MiB

	Kernel  string // path of the image
	Initrd  string // path; empty for none
	Cmdline []string
	Devices []Device
	Name    string // shown in the process list

	// SharedMemory makes the guest's memory visible to other processes, which
	// vhost-user devices such as virtiofs need.
	SharedMemory bool
	// MemoryFD is an inherited descriptor of a file for it, on huge pages; 0: qemu
	// makes a file itself.
	MemoryFD int

	// Sandbox has qemu refuse system calls that it doesn't need: it starts no programs
	// and takes no other user's rights.
	Sandbox bool

	Stopped bool // it waits for a debugger before the first instruction

	Extra []string // the user's own arguments, last
}

// MemoryPath is where qemu opens MemoryFD.
func (m *Machine) MemoryPath() string { return fmt.Sprintf("/proc/self/fd/%d", m.MemoryFD) }

// A Device is a part of a machine.
type Device interface {
	// Args are qemu's arguments. The id is unique in the machine.
	Args(id string) []string
	// KernelArgs is what the kernel must be told of the device.
	KernelArgs(arch string) []string
}

// Args returns qemu's arguments, without the program's name. It fails only on a
// machine that can't be described.
func (m *Machine) Args() ([]string, error) {
	if m.CPUs < 1 || m.Memory < 1 {
		return nil, errors.New("qemu: a machine needs at least one CPU and 1 GiB of memory")
	}
	guest := arch.Of(m.Arch).Guest
	if guest == nil {
		return nil, fmt.Errorf("qemu: don't know the machine for architecture %q", m.Arch)
	}
	machine, cpu := guest.Machine, guest.CPU
	if m.Accel == KVM {
		cpu = "host"
	}
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"}
	if m.Sandbox {
		args = append(args, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	}
	if m.Name != "" {
		args = append(args, "-name", escape(m.Name))
	}
	memory := strconv.Itoa(m.Memory) + "M"
	if m.Memory%(1<<10) == 0 {
		memory = strconv.Itoa(m.Memory>>10) + "G"
	}
	if m.SharedMemory {
		backend := "memory-backend-memfd,id=mem"
		if m.MemoryFD != 0 {
			// Without the alignment the mapping could not use the huge pages.
			backend = fmt.Sprintf("memory-backend-file,id=mem,mem-path=%s,align=2M", m.MemoryPath())
		}
		// An anonymous file rather than /dev/shm, which containers limit to 64 MB.
		machine += ",memory-backend=mem"
		args = append(args, "-object", backend+",share=on,size="+memory)
	}
	args = append(args, "-machine", machine, "-accel", string(m.Accel), "-cpu", cpu, "-smp", strconv.Itoa(m.CPUs), "-m", memory)
	if m.Stopped {
		args = append(args, "-S")
	}
	for i, d := range m.Devices {
		args = append(args, d.Args("d"+strconv.Itoa(i))...)
	}
	args = append(args, "-kernel", m.Kernel)
	if m.Initrd != "" {
		args = append(args, "-initrd", m.Initrd)
	}
	args = append(args, "-append", strings.Join(m.KernelArgs(), " "))
	return append(args, m.Extra...), nil
}

// KernelArgs returns the kernel's command line: what the devices ask for, then
// what the machine's owner does, so that the latter wins.
func (m *Machine) KernelArgs() []string {
	var args []string
	for _, d := range m.Devices {
		args = append(args, d.KernelArgs(m.Arch)...)
	}
	if len(m.Extra) == 0 {
		// Nothing but virtio, which reaches all of the memory. Else a guest with
		// memory above 4 GiB clears 64 MiB for bounce buffers early in its boot: seconds,
		// with qemu 7.2 without KVM and a kernel that is optimised for size.
		args = append(args, "swiotlb=noforce")
	}
	if g := arch.Of(m.Arch).Guest; g != nil && m.Accel == TCG {
		args = append(args, g.TCG...)
	}
	return append(args, m.Cmdline...)
}

// escape doubles the commas of a value in one of qemu's option lists.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// Quote joins a command to a line that a POSIX shell reads as that command.
func Quote(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		// At the beginning, A=b would be an assignment.
		if a != "" && strings.IndexFunc(a, unsafe) < 0 && (i > 0 || !strings.Contains(a, "=")) {
			b.WriteString(a)
			continue
		}
		b.WriteString("'" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	return b.String()
}

func unsafe(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("-_=,./:+@%^", r)
}
