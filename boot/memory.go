// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// hugeFile returns a file of huge pages for the guest's memory, on a tmpfs that
// is mounted nowhere and has no name, so that nothing is left of it.
//
// Memory that virtiofsd can see must be a file. One from memfd_create(2) comes in
// small pages on most hosts, and a fault for each makes the guest's boot slower by
// a quarter. Mounting takes CAP_SYS_ADMIN, so this is for root only.
func hugeFile(gib int) (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	err = errors.Join(
		unix.FsconfigSetString(fs, "huge", "always"),
		unix.FsconfigSetString(fs, "size", strconv.Itoa(gib)+"G"),
		unix.FsconfigCreate(fs),
	)
	if err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	defer unix.Close(mount) // the file keeps it
	fd, err := unix.Openat(mount, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	return os.NewFile(uintptr(fd), "guest-memory"), nil
}
