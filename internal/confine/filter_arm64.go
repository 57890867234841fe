// SPDX-License-Identifier: GPL-3.0-only

package confine

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	lowWord   = 0 // little endian
)

var oldCalls []call

var oldChanges []int
