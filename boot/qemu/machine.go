// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Machine is a guest: its processor, its memory, its kernel and its devices.
type Machine struct {
	Arch   string // as in qemu-system-<arch>: x86_64, aarch64, riscv64
	Accel  Accel
	CPUs   int
	Memory int // GiB

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

	Stopped bool // it waits for a debugger before the first instruction

	Extra []string // the user's own arguments, last
}

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
	machine, err := m.machine()
	if err != nil {
		return nil, err
	}
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"}
	if m.Name != "" {
		args = append(args, "-name", escape(m.Name))
	}
	memory := strconv.Itoa(m.Memory) + "G"
	if m.SharedMemory {
		backend := "memory-backend-memfd,id=mem"
		if m.MemoryFD != 0 {
			// Without the alignment the mapping could not use the huge pages.
			backend = fmt.Sprintf("memory-backend-file,id=mem,mem-path=/proc/self/fd/%d,align=2M", m.MemoryFD)
		}
		// An anonymous file rather than /dev/shm, which containers limit to 64 MB.
		machine += ",memory-backend=mem"
		args = append(args, "-object", backend+",share=on,size="+memory)
	}
	args = append(args, "-machine", machine, "-accel", string(m.Accel), "-cpu", m.cpu(), "-smp", strconv.Itoa(m.CPUs), "-m", memory)
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
	if m.Arch == "x86_64" && m.Accel == TCG {
		// Whether the timer interrupt works is judged by its ticks in 40 ms; a busy
		// host has none to give, and the kernel panics.
		args = append(args, "no_timer_check")
	}
	return append(args, m.Cmdline...)
}

func (m *Machine) machine() (string, error) {
	switch m.Arch {
	case "x86_64":
		// Not microvm: without KVM it has no timer that the kernel could calibrate
		// the TSC against, and a busy host makes that hang.
		return "q35", nil
	case "aarch64":
		// The default is GICv2, which ends at eight processors and which the
		// processors of many hosts don't have.
		return "virt,gic-version=max", nil
	case "riscv64":
		return "virt", nil
	}
	return "", fmt.Errorf("qemu: don't know the machine for architecture %q", m.Arch)
}

func (m *Machine) cpu() string {
	switch {
	case m.Accel == KVM:
		return "host"
	case m.Arch == "x86_64":
		// A processor with fast string instructions is given them by the kernel and by
		// the C library for all that is large, and TCG runs them byte by byte.
		return "max,-erms,-fsrm"
	case m.Arch == "aarch64":
		// The architecture's own algorithm for signed pointers takes half of the time,
		// translated.
		return "max,pauth-impdef=on"
	case m.Arch == "riscv64":
		return "rv64" // max is of qemu 8.2
	}
	return "max"
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
