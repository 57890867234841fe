// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/trust"
)

// A LinkError says that something is a link, or another thing that isn't used.
type LinkError struct {
	Path string
	is   string
	rm   string
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("%s is %s, and run-kernel wants its own files there", e.Path, e.is)
}

// Hint is the way out.
func (e *LinkError) Hint() string { return "look at it, then remove it: " + e.rm + " " + e.Path }

// An OwnerError says that a directory isn't ours.
type OwnerError struct {
	Path string
	UID  int // whose it is
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s belongs to %s, and run-kernel wants its own files there", e.Path, trust.UserName(e.UID))
}

// Hint is the way out.
func (e *OwnerError) Hint() string {
	if os.Geteuid() == 0 {
		return "remove it: rm -r " + e.Path + "; or make it yours: chown -R 0 " + e.Path
	}
	return fmt.Sprintf("was it made by sudo? make it yours: sudo chown -R %d %s", os.Geteuid(), e.Path)
}

// MkdirAll makes the directories names, one in the other, in the directory base,
// where they don't exist, and makes them the user's alone where they do. It follows
// no link among them. Root may use those of a user whom the policy trusts.
//
// The error is a *LinkError or an *OwnerError for what can't be ours.
func MkdirAll(p *trust.Policy, base string, names ...string) error {
	dir, err := unix.Open(base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: base, Err: err}
	}
	defer func() { _ = unix.Close(dir) }()
	path := base
	for _, name := range names {
		path = filepath.Join(path, name)
		next, err := openDir(p, dir, name, path)
		if err != nil {
			return err
		}
		_ = unix.Close(dir)
		dir = next
	}
	return nil
}

// openDir opens the directory name in dir, which it makes if need be. Path is for
// messages, and for the policy.
func openDir(p *trust.Policy, dir int, name, path string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fail := func(op string, err error) (int, error) { return -1, &os.PathError{Op: op, Path: path, Err: err} }
	if err := unix.Mkdirat(dir, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return fail("mkdir", err)
	}
	fd, err := unix.Openat(dir, name, flags, 0)
	var st unix.Stat_t
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			return -1, notOurKind(path, st.Mode)
		}
	}
	if errors.Is(err, unix.EACCES) && unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && int(st.Uid) != os.Geteuid() {
		return -1, &OwnerError{path, int(st.Uid)}
	}
	if err != nil {
		return fail("open", err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return fail("stat", err)
	}
	if uid := int(st.Uid); uid != os.Geteuid() && !(os.Geteuid() == 0 && p.Owner(path, uid)) {
		_ = unix.Close(fd)
		return -1, &OwnerError{path, uid}
	}
	if st.Mode&0o777 != 0o700 {
		if err := unix.Fchmod(fd, 0o700); err != nil {
			_ = unix.Close(fd)
			return fail("chmod", err)
		}
	}
	return fd, nil
}

func notOurKind(path string, mode uint32) error {
	switch mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return &LinkError{path, "a symbolic link", "rm"}
	case unix.S_IFDIR:
		return &LinkError{path, "a directory", "rm -r"}
	case unix.S_IFREG:
		return &LinkError{path, "a file", "rm"}
	}
	return &LinkError{path, "a special file", "rm"}
}

// Create opens a file for writing, from its beginning: a new one, or the one that
// is there, emptied, so that who follows it goes on to. A link is never followed: a
// symbolic one is a *LinkError, and a file with another name, or of another user, is
// replaced.
func Create(path string) (*os.File, error) {
	f, err := open(path, false)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Open is Create, but leaves in the file what is there. Root has such a file in common
// with the user whose the directory is: root takes the user's, and makes a new one the
// user's. Otherwise a lock would keep neither from the other.
func Open(path string) (*os.File, error) { return open(path, true) }

func open(path string, shared bool) (*os.File, error) {
	dir, err := openParent(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	name := filepath.Base(path)
	fail := func(op string, err error) (*os.File, error) {
		return nil, &os.PathError{Op: op, Path: path, Err: err}
	}
	uid, give := os.Geteuid(), func(int) {}
	if shared && uid == 0 {
		var parent unix.Stat_t
		if err := unix.Fstat(dir, &parent); err != nil {
			return fail("stat", err)
		}
		uid = int(parent.Uid)
		// Root may not in some containers, and then it is root's.
		give = func(fd int) { _ = unix.Fchown(fd, uid, int(parent.Gid)) }
	}
	// Without O_NONBLOCK, a FIFO would wait for a reader.
	const flags = unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_CREAT
	fd, err := unix.Openat(dir, name, flags, 0o600)
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
		switch {
		case err != nil:
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			err = notOurKind(path, st.Mode)
		case st.Nlink > 1 || int(st.Uid) != uid && int(st.Uid) != os.Geteuid():
			err = unix.EACCES // another one is made
		case int(st.Uid) != uid && st.Size == 0:
			give(fd) // we have just made it
		case st.Mode&0o777 != 0o600:
			err = unix.Fchmod(fd, 0o600)
		}
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
		_ = unix.Close(fd)
	} else if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = notOurKind(path, st.Mode)
	}
	if !errors.Is(err, unix.EACCES) {
		if errors.As(err, new(*LinkError)) {
			return nil, err
		}
		return fail("open", err)
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fail("remove", err)
	}
	if fd, err = unix.Openat(dir, name, flags|unix.O_EXCL, 0o600); err != nil {
		return fail("create", err)
	}
	give(fd)
	return os.NewFile(uintptr(fd), path), nil
}

// openParent opens the directory of a file, which must not be a link.
func openParent(path string) (int, error) {
	parent := filepath.Dir(path)
	dir, err := unix.Open(parent, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		var st unix.Stat_t
		if unix.Lstat(parent, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return -1, notOurKind(parent, st.Mode)
		}
		return -1, &os.PathError{Op: "open", Path: parent, Err: err}
	}
	return dir, nil
}

// WriteFile writes a file as Create makes it.
func WriteFile(path string, data []byte) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// ReadFile reads a file that is no link.
func ReadFile(path string) ([]byte, error) {
	dir, err := openParent(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, filepath.Base(path), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	return io.ReadAll(f)
}
