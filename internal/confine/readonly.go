// SPDX-License-Identifier: GPL-3.0-only

package confine

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changes are the calls that change a file without opening it to be written, which
// Landlock leaves alone; see "Current limitations" in
// Documentation/userspace-api/landlock.rst.
var changes = append([]int{
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2,
	unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
	unix.SYS_UTIMENSAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT,
	unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTRAT,
	unix.SYS_FILE_SETATTR,
	unix.SYS_TRUNCATE,       // which it knows since Linux 6.2
	unix.SYS_IO_URING_SETUP, // whose requests no filter sees
}, oldChanges...)

const (
	// fsSetXAttr is FS_IOC_FSSETXATTR of include/uapi/linux/fs.h.
	fsSetXAttr = 0x401c5820
	// btrfsIoctls is BTRFS_IOCTL_MAGIC of include/uapi/linux/btrfs.h: some of its requests
	// make and delete subvolumes below a directory that is only read.
	btrfsIoctls = 0x94
)

// landlockRights are the rights to write, by the version of Landlock that brought them.
var landlockRights = []struct {
	version int
	rights  uint64
}{
	{1, unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM},
	{2, unix.LANDLOCK_ACCESS_FS_REFER},
	{3, unix.LANDLOCK_ACCESS_FS_TRUNCATE},
	{5, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
}

// fileRights are those of them that a file can have.
const fileRights = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

// CanReadOnly says whether ReadOnly can work: the host's kernel has Landlock, since
// Linux 5.13, and lets this process use it.
func CanReadOnly() bool { return landlockVersion() > 0 }

func landlockVersion() int {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(version)
}

// ReadOnly makes the calling thread, and what it executes, unable to change any file,
// whoever's it is, but the contents of those at and below the paths of except that exist.
// It takes no privileges, and no namespace of users, in which the files of all others
// would look like nobody's. What is open stays as it is. The thread must be locked.
//
// Of root's privileges those remain by which it opens others' files and low ports.
func ReadOnly(except ...string) error {
	if err := keepCapabilities(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_NET_BIND_SERVICE); err != nil {
		return err
	}
	p := newFilter()
	for _, number := range changes {
		p.deny(number, unix.EPERM)
	}
	p.denyValue(unix.SYS_IOCTL, 1, unix.FS_IOC_SETFLAGS&0xffff_ffff)
	p.denyValue(unix.SYS_IOCTL, 1, fsSetXAttr)
	p.denyValue(unix.SYS_IOCTL, 1, unix.FS_IOC_ENABLE_VERITY)
	p.denyIoctls(btrfsIoctls)
	if err := p.install(); err != nil {
		return err
	}
	return landlock(except)
}

// landlock takes the rights to write, but at and below some paths.
func landlock(except []string) error {
	var attr unix.LandlockRulesetAttr
	version := landlockVersion()
	for _, r := range landlockRights {
		if r.version <= version {
			attr.Handled_access_fs |= r.rights
		}
	}
	if version >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_create_ruleset (since Linux 5.13)", errno)
	}
	defer unix.Close(int(rules))
	for _, path := range except {
		if err := allow(int(rules), path, attr.Handled_access_fs); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	return nil
}

// allow adds a rule for a path.
func allow(rules int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights // it refuses others
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return &os.PathError{Op: "landlock_add_rule", Path: path, Err: errno}
	}
	return nil
}
