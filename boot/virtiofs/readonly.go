// SPDX-License-Identifier: GPL-3.0-only

package virtiofs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	wrapperName = "run-kernel-virtiofsd"

	// readOnlyDir is where the share is mounted in the daemon's own mount
	// namespace: a directory that every host has and virtiofsd has no use for.
	readOnlyDir = "/sys"
)

// readOnlyCommand runs program in a mount namespace of its own, in which
// readOnlyDir is dir, mounted read-only. The C virtiofsd has no such option, and
// this holds even against a guest that breaks into the daemon.
func readOnlyCommand(dir, program string, args []string) *exec.Cmd {
	return wrap(dir, program, args)
}

// wrap runs program with as many descriptors as it may have and, unless dir is
// empty, with the mount of readOnlyCommand.
func wrap(dir, program string, args []string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe",
		Args: append([]string{wrapperName, dir, program}, args...),
	}
}

// Main runs the command and never returns when this package made this process
// for that. Otherwise it does nothing.
func Main() {
	if len(os.Args) < 3 || os.Args[0] != wrapperName {
		return
	}
	dir, program, args := os.Args[1], os.Args[2], os.Args[3:]
	raiseLimit()
	if dir != "" {
		if err := mountReadOnly(dir); err != nil {
			fmt.Fprintf(os.Stderr, "mount read-only: %v\n", err)
			os.Exit(125)
		}
	}
	// An exec outside of the main thread loses what the guard has set.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		fmt.Fprintf(os.Stderr, "set the parent-death signal: %v\n", err)
		os.Exit(125)
	}
	err := unix.Exec(program, append([]string{program}, args...), os.Environ())
	fmt.Fprintf(os.Stderr, "exec %s: %v\n", program, err)
	os.Exit(125)
}

// raiseLimit allows as many descriptors as the hard limit does: a daemon holds
// one for each file that the guest knows. The Rust virtiofsd does it by itself;
// the C one wants a million, and where it may not raise the hard limit, as in
// containers, it stays with the soft one of often 1024.
func raiseLimit() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		// Setting it keeps Go's runtime from giving the program the one from before.
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
}

func mountReadOnly(dir string) error {
	// The namespace belongs to the thread until the exec.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// Else the mount would be propagated to the host.
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if errors.Is(err, unix.EINVAL) {
		// The root of a chroot is no mount point; what we cover will do as well.
		err = unix.Mount("", readOnlyDir, "", unix.MS_PRIVATE, "")
	}
	if err != nil {
		return fmt.Errorf("make %s private (is it mounted, in a chroot?): %w", readOnlyDir, err)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE,
	})
	if err != nil {
		return os.NewSyscallError("mount_setattr (since Linux 5.12)", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, readOnlyDir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	// The host's processes and devices are none of the guest's business.
	for _, name := range []string{"/proc", "/sys", "/dev"} {
		_ = unix.Unmount(readOnlyDir+name, unix.MNT_DETACH)
	}
	return nil
}
