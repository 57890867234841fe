// SPDX-License-Identifier: GPL-3.0-only

package watch

import "golang.org/x/sys/unix"

// leaves knows directories that have no directories in them without reading them, which
// three of four in a kernel tree are: such a directory has two links, one for its
// name and one for its ".", and each directory in it would add one by its "..".
type leaves struct {
	dev uint64 // of the file system on which links are counted like that
	ok  bool
}

// leavesOf looks at the file system of a directory. Not all count: btrfs says 1 for
// each directory, and overlayfs what it happens to know.
func leavesOf(dir string) leaves {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Statfs(dir, &fs) != nil || unix.Stat(dir, &st) != nil {
		return leaves{}
	}
	switch uint32(fs.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC: // ext2 and ext3 have ext4's
		return leaves{dev: uint64(st.Dev), ok: true}
	}
	return leaves{}
}

// has says that a directory is known to have no directories in it.
func (l leaves) has(dir string) bool {
	var st unix.Stat_t
	return l.ok && unix.Lstat(dir, &st) == nil && uint64(st.Dev) == l.dev && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Nlink == 2
}
