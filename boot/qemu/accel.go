// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/metaspace/run-kernel/internal/arch"
)

// An Accel is how qemu runs the guest's instructions.
type Accel string

const (
	KVM Accel = "kvm" // on the processor
	TCG Accel = "tcg" // translated
)

// KVMDevice is what qemu opens for KVM, to read and to write.
const KVMDevice = "/dev/kvm"

// A Host is what the choice of the accelerator looks at.
type Host struct {
	Arch    string       // as in qemu-system-<arch>
	OpenKVM func() error // opens KVMDevice
	StatKVM func() (os.FileInfo, error)
	CPUInfo func() ([]byte, error)
}

// ThisHost is the machine we run on.
func ThisHost() Host {
	return Host{
		Arch: arch.Host().Name,
		OpenKVM: func() error {
			f, err := os.OpenFile(KVMDevice, os.O_RDWR, 0)
			if err == nil {
				err = f.Close()
			}
			return err
		},
		StatKVM: func() (os.FileInfo, error) { return os.Stat(KVMDevice) },
		CPUInfo: func() ([]byte, error) { return os.ReadFile("/proc/cpuinfo") },
	}
}

// whoMayOpen says which group of users may open a device, and how to join it.
func whoMayOpen(stat func() (os.FileInfo, error)) string {
	const join = "; to join: usermod -aG %[1]s USER as root, then log in again"
	st, err := stat()
	if err != nil {
		return "its group (often kvm) may" + fmt.Sprintf(join, "kvm")
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if mode := st.Mode().Perm(); !ok || mode&0o060 != 0o060 || owner.Gid == 0 {
		return fmt.Sprintf("it has mode %#o and no group that users join; udev's rules usually give it to the group kvm", mode)
	}
	group := strconv.FormatUint(uint64(owner.Gid), 10)
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("the group %[1]s may"+join, group)
}

// ChooseAccel returns KVM where it works for a guest of an architecture, and
// else TCG with the reason.
//
// That /dev/kvm opens isn't enough: on some nested hosts it does, and guests
// hang or die early; those hosts' processors show neither vmx nor svm.
func (h Host) ChooseAccel(guest string) (Accel, string) {
	if guest != h.Arch {
		return TCG, fmt.Sprintf("the guest is %s and the host %s", guest, h.Arch)
	}
	if err := h.OpenKVM(); err != nil {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return TCG, "there is no /dev/kvm"
		case errors.Is(err, os.ErrPermission):
			return TCG, "/dev/kvm may not be opened: " + whoMayOpen(h.StatKVM)
		}
		return TCG, fmt.Sprintf("/dev/kvm doesn't work: %v", err)
	}
	var needs []string
	if g := arch.Of(guest).Guest; g != nil {
		needs = g.KVM
	}
	if len(needs) == 0 {
		return KVM, ""
	}
	info, err := h.CPUInfo()
	if err != nil {
		return TCG, fmt.Sprintf("/dev/kvm opens, but the processor's flags can't be read: %v", err)
	}
	for line := range bytes.Lines(info) {
		name, flags, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(bytes.TrimSpace(name)) != "flags" {
			continue
		}
		for _, f := range bytes.Fields(flags) {
			if slices.Contains(needs, string(f)) {
				return KVM, ""
			}
		}
		break
	}
	return TCG, "/dev/kvm opens, but the processor shows neither " + strings.Join(needs, " nor ")
}
