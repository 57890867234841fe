// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A MemoryError says that this host can't give a guest its memory.
type MemoryError struct{ Want, Have int } // MiB

func (e *MemoryError) Error() string {
	return fmt.Sprintf("the guest shall have %s of memory, and this machine has %s, swap included", mebibytes(e.Want), mebibytes(e.Have))
}

// Hint names the setting.
func (e *MemoryError) Hint() string { return "give it less: --memory, or memory in [run]" }

// checkMemory refuses what would end in the middle of a boot, or take this host's
// other programs with it.
func checkMemory(mib int) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return os.NewSyscallError("sysinfo", err)
	}
	// Rounded up: the kernel doesn't count what it keeps for itself.
	const unit = 1 << 30
	have := ((uint64(info.Totalram)+uint64(info.Totalswap))*uint64(info.Unit) + unit - 1) / unit << 10
	if uint64(mib) > have {
		return &MemoryError{mib, int(have)}
	}
	return nil
}

// mebibytes words a size in MiB.
func mebibytes(mib int) string {
	if mib%(1<<10) == 0 {
		return fmt.Sprintf("%d GiB", mib>>10)
	}
	return fmt.Sprintf("%d MiB", mib)
}

// hugeFile returns a file of huge pages for the guest's memory, on a tmpfs that
// is mounted nowhere and has no name, so that nothing is left of it.
//
// Memory that virtiofsd can see must be a file. One from memfd_create(2) comes in
// small pages on most hosts, and a fault for each makes the guest's boot slower by
// a quarter. Mounting takes CAP_SYS_ADMIN, so this is for root only.
func hugeFile(mib int) (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	err = errors.Join(
		unix.FsconfigSetString(fs, "huge", "always"),
		unix.FsconfigSetString(fs, "size", strconv.Itoa(mib)+"M"),
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

// killedForMemory says whether a program ended by a signal with which the kernel ends
// those that it has no memory for. Pages of a file, which the memory of a guest is
// where virtiofsd sees it, give SIGBUS; see mmap(2).
func killedForMemory(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGKILL || status.Signal() == syscall.SIGBUS)
}
