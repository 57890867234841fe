// SPDX-License-Identifier: GPL-3.0-only

package confine

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bits of a mode that a guest may not set on the host.
const (
	setIDs  = unix.S_ISUID | unix.S_ISGID
	devices = unix.S_IFCHR // and of S_IFBLK, but not of what else mknod makes
)

// A call is a system call that sets the mode of a file.
type call struct {
	number int
	mode   int // which argument is the mode
	deny   uint32
}

// calls are those of all architectures.
var calls = append([]call{
	{unix.SYS_FCHMOD, 1, setIDs},
	{unix.SYS_FCHMODAT, 2, setIDs},
	{unix.SYS_FCHMODAT2, 2, setIDs},
	{unix.SYS_OPENAT, 3, setIDs},
	{unix.SYS_MKNODAT, 2, setIDs | devices},
}, oldCalls...)

// Offsets in struct seccomp_data of include/uapi/linux/seccomp.h.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// Files makes the calling thread, and what it executes, unable to make files that give
// whoever runs them their owner's rights, and devices: chmod, open and mknod with such
// a mode fail with EPERM. It is for who writes files for a guest, whose root would
// make a program of its own one that any user of the host can run as root. The thread
// must be locked.
func Files() error {
	p := newFilter()
	// Its mode is in memory. Who can't have it does with openat.
	p.deny(unix.SYS_OPENAT2, unix.ENOSYS)
	for _, c := range calls {
		p.denyBits(c.number, c.mode, c.deny)
	}
	return p.install()
}

// A filter is a program of seccomp's, which lets pass what no rule denies.
type filter []unix.SockFilter

func newFilter() filter {
	return filter{
		load(offsetArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0),
		fail(unix.EPERM), // calls of another architecture, as of 32-bit programs
		load(offsetNumber),
		// The x32 calls of x86-64 have this bit; elsewhere no call is so high.
		jump(unix.BPF_JGE, 0x4000_0000, 0, 1),
		fail(unix.EPERM),
	}
}

// deny makes a call fail.
func (p *filter) deny(number int, e unix.Errno) {
	*p = append(*p, jump(unix.BPF_JEQ, uint32(number), 0, 1), fail(e))
}

// denyBits makes a call fail with EPERM when an argument has one of the bits.
func (p *filter) denyBits(number, arg int, bits uint32) {
	p.denyIf(number, arg, unix.BPF_JSET, bits)
}

// denyValue makes a call fail with EPERM when the lower half of an argument has the
// value.
func (p *filter) denyValue(number, arg int, value uint32) {
	p.denyIf(number, arg, unix.BPF_JEQ, value)
}

func (p *filter) denyIf(number, arg int, op uint16, k uint32) {
	*p = append(*p,
		jump(unix.BPF_JEQ, uint32(number), 0, 4),
		load(offsetArgs+8*uint32(arg)+lowWord),
		jump(op, k, 0, 1),
		fail(unix.EPERM),
		load(offsetNumber),
	)
}

// denyIoctls makes the requests of a type fail with EPERM: see _IOC_TYPE of
// include/uapi/asm-generic/ioctl.h.
func (p *filter) denyIoctls(kind byte) {
	*p = append(*p,
		jump(unix.BPF_JEQ, unix.SYS_IOCTL, 0, 5),
		load(offsetArgs+8+lowWord),
		unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xff00},
		jump(unix.BPF_JEQ, uint32(kind)<<8, 0, 1),
		fail(unix.EPERM),
		load(offsetNumber),
	)
}

// install makes it hold for the calling thread and what it executes.
func (p filter) install() error {
	p = append(p, ret(unix.SECCOMP_RET_ALLOW))
	fprog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("no_new_privs", err)
	}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&fprog)), 0, 0)
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(op uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

func ret(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

func fail(e unix.Errno) unix.SockFilter { return ret(unix.SECCOMP_RET_ERRNO | uint32(e)) }
