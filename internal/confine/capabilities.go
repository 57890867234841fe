// SPDX-License-Identifier: GPL-3.0-only

package confine

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// keepCapabilities takes from the calling thread all capabilities but some, also for what
// it executes. Who has none loses none.
func keepCapabilities(keep ...uintptr) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // of 32 capabilities each
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	var mask [2]uint32
	for _, c := range keep {
		mask[c/32] |= 1 << (c % 32)
	}
	for c := uintptr(0); c < 64; c++ {
		if slices.Contains(keep, c) {
			continue
		}
		// Root would have them again when it executes a program.
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
			break // not root, or the kernel has no more
		}
		if err != nil {
			return os.NewSyscallError("drop a capability", err)
		}
	}
	for i := range sets {
		sets[i].Effective &= mask[i]
		sets[i].Permitted &= mask[i]
		sets[i].Inheritable &= mask[i]
	}
	return os.NewSyscallError("capset", unix.Capset(&header, &sets[0]))
}
