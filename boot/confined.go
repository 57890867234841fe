// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"os"
	"os/exec"
	"slices"

	"github.com/metaspace/run-kernel/boot/launch"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/confine"
)

// command runs qemu with no more rights on the host than that takes, against a guest that
// breaks into it: it changes no file but writable disks. A qemu that gets no sandbox of
// its own is spared, since it, or the user's arguments, may write other files.
func (p *plan) command(m *qemu.Machine, args []string) *exec.Cmd {
	switch {
	case p.mounter.Type == NineP && slices.ContainsFunc(p.shares, func(s Share) bool { return !s.ReadOnly }):
		// Qemu itself writes the guest's files. Landlock lets it rename none from
		// directory to directory before Linux 5.19.
		return launch.Command(launch.Files(), p.qemu, args...)
	case !m.Sandbox || !confine.CanReadOnly():
		return exec.Command(p.qemu, args...)
	}
	except := []string{os.DevNull}
	if p.accel == qemu.KVM {
		except = append(except, qemu.KVMDevice)
	}
	if m.MemoryFD != 0 {
		except = append(except, m.MemoryPath())
	}
	for _, d := range p.disks {
		if !d.ReadOnly {
			except = append(except, d.Path)
		}
	}
	return launch.Command(launch.ReadOnly(except...), p.qemu, args...)
}
