// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// An Accel is how qemu runs the guest's instructions.
type Accel string

const (
	KVM Accel = "kvm" // on the processor
	TCG Accel = "tcg" // translated
)

// A Host is what the choice of the accelerator looks at.
type Host struct {
	Arch    string       // as in qemu-system-<arch>
	OpenKVM func() error // opens /dev/kvm for reading and writing
	CPUInfo func() ([]byte, error)
}

// ThisHost is the machine we run on.
func ThisHost() Host {
	return Host{
		Arch: Arch(runtime.GOARCH),
		OpenKVM: func() error {
			f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
			if err == nil {
				err = f.Close()
			}
			return err
		},
		CPUInfo: func() ([]byte, error) { return os.ReadFile("/proc/cpuinfo") },
	}
}

// ChooseAccel returns KVM where it works for a guest of architecture arch, and
// else TCG with the reason.
//
// That /dev/kvm opens isn't enough: on some nested hosts it does, and guests
// hang or die early; those hosts' processors show neither vmx nor svm.
func (h Host) ChooseAccel(arch string) (Accel, string) {
	if arch != h.Arch {
		return TCG, fmt.Sprintf("the guest is %s and the host %s", arch, h.Arch)
	}
	if err := h.OpenKVM(); err != nil {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return TCG, "there is no /dev/kvm"
		case errors.Is(err, os.ErrPermission):
			return TCG, "/dev/kvm may not be opened; being in the group that owns it (often kvm) would allow it"
		}
		return TCG, fmt.Sprintf("/dev/kvm doesn't work: %v", err)
	}
	if arch != "x86_64" {
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
			if string(f) == "vmx" || string(f) == "svm" {
				return KVM, ""
			}
		}
		break
	}
	return TCG, "/dev/kvm opens, but the processor shows neither vmx nor svm"
}

// Arch translates Go's name of an architecture to qemu's.
func Arch(goarch string) string {
	switch goarch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "386":
		return "i386"
	case "ppc64le":
		return "ppc64"
	}
	return goarch
}

// GOARCH translates qemu's name of an architecture to Go's.
func GOARCH(arch string) string {
	switch arch {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return arch
}
