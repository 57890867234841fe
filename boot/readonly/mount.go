// SPDX-License-Identifier: GPL-3.0-only

package readonly

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Place is where Mount mounts: a directory that every host has, and that those
// who serve files have no use for.
const Place = "/sys"

// Privileged says whether this process may mount without a namespace of users.
// Root often may not in a container.
func Privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return os.Geteuid() == 0 && unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// mayMount are the attributes with which a new process may call Mount, unless the
// host forbids it. An ordinary user's gets a namespace of users, in which the user
// is root, and the files of all others look like nobody's.
func mayMount() *syscall.SysProcAttr {
	if Privileged() {
		return nil
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
}

// Mount mounts dir, with what is mounted below it, read-only on Place, in a mount
// namespace of its own. What is at the paths of hide is covered: a directory is empty
// there, and a file, too. That belongs to the calling thread, which is locked to its
// goroutine, and to what it executes.
func Mount(dir string, hide ...string) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// Else the mount would be propagated to the host.
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if errors.Is(err, unix.EINVAL) {
		// The root of a chroot is no mount point; what we cover will do as well.
		err = unix.Mount("", Place, "", unix.MS_PRIVATE, "")
	}
	if err != nil {
		return fmt.Errorf("make %s private (is it mounted, in a chroot?): %w", Place, err)
	}
	tree, err := clone(dir)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE,
	})
	if err != nil {
		return os.NewSyscallError("mount_setattr (since Linux 5.12)", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, Place, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	for _, path := range hide {
		if err := cover(dir, path); err != nil {
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	// The host's processes and devices are none of the guest's business.
	for _, name := range []string{"/proc", "/sys", "/dev"} {
		// debootstrap --foreign leaves a link to /proc, which is ours.
		_ = unix.Unmount(Place+name, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	return nil
}

// cover covers what is at a path of the host, where that is in dir and exists.
func cover(dir, path string) error {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, fs.ErrPermission) {
		return nil // nothing is there, or nothing that who serves may read
	} else if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, real)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return nil
	}
	target := filepath.Join(Place, rel)
	st, err := os.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // in a mount of the host's that isn't shared
	case err != nil:
		return err
	case st.IsDir():
		return os.NewSyscallError("mount", unix.Mount("tmpfs", target, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4k,mode=755"))
	}
	return os.NewSyscallError("mount", unix.Mount(os.DevNull, target, "", unix.MS_BIND, ""))
}

// clone returns a descriptor of dir and what is mounted below it, as mounts of
// their own.
func clone(dir string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	return fd, os.NewSyscallError("open_tree", err)
}
