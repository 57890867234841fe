// SPDX-License-Identifier: GPL-3.0-only

package proc

import "golang.org/x/sys/unix"

// From linux/ioprio.h, which package unix doesn't have.
const (
	ioprioWhoProcess = 1
	ioprioClassIdle  = 3 << 13
)

// idle gives a process, and what it starts from then on, the lowest priority. A process
// that has begun to start others has children that keep theirs: make reads its files
// first.
func idle(pid int) {
	_ = unix.Setpriority(unix.PRIO_PROCESS, pid, 19)
	_ = unix.SchedSetAttr(pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE, Nice: 19}, 0)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(pid), ioprioClassIdle)
}
