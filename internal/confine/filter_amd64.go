// SPDX-License-Identifier: GPL-3.0-only

package confine

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_X86_64
	lowWord   = 0 // little endian
)

// oldCalls are those that later architectures have no more.
var oldCalls = []call{
	{unix.SYS_CHMOD, 1, setIDs},
	{unix.SYS_OPEN, 2, setIDs},
	{unix.SYS_CREAT, 1, setIDs},
	{unix.SYS_MKNOD, 1, setIDs | devices},
}

// oldChanges are those that later architectures have no more.
var oldChanges = []int{
	unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN,
	unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT,
}
