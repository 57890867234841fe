// SPDX-License-Identifier: GPL-3.0-only

// Attack does what root in the guest can think of to write to a share. It is
// static, and needs nothing but itself.
//
//	attack prepare DIR                makes what the attacks want to change, and prints their names
//	attack share TYPE TAG MOUNT DIR   attacks DIR, in the share that is or is to be mounted on MOUNT
//
// Each attack that worked is a line "did NAME in DIR".
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// attacks each have a directory of their own with a file, another file and an empty
// directory.
var attacks = []struct {
	name string
	do   func(dir string) error
}{
	{"write", func(dir string) error { return open(dir+"/file", unix.O_WRONLY, overwrite) }},
	{"append", func(dir string) error { return open(dir+"/file", unix.O_WRONLY|unix.O_APPEND, overwrite) }},
	{"open-truncate", func(dir string) error { return open(dir+"/file", unix.O_WRONLY|unix.O_TRUNC, nothing) }},
	{"create", func(dir string) error { return open(dir+"/new", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, overwrite) }},
	{"tmpfile", func(dir string) error {
		return open(dir, unix.O_WRONLY|unix.O_TMPFILE, func(fd int) error {
			return unix.Linkat(unix.AT_FDCWD, procFD(fd), unix.AT_FDCWD, dir+"/new", unix.AT_SYMLINK_FOLLOW)
		})
	}},
	{"reopen", func(dir string) error {
		return open(dir+"/file", unix.O_RDONLY, func(fd int) error { return open(procFD(fd), unix.O_RDWR, overwrite) })
	}},
	{"reopen-path", func(dir string) error {
		return open(dir+"/file", unix.O_PATH, func(fd int) error { return open(procFD(fd), unix.O_RDWR, overwrite) })
	}},
	{"reopen-truncate", func(dir string) error {
		return open(dir+"/file", unix.O_RDONLY, func(fd int) error { return unix.Truncate(procFD(fd), 1) })
	}},
	{"create-below", func(dir string) error {
		return open(dir, unix.O_RDONLY|unix.O_DIRECTORY, func(fd int) error {
			return open(procFD(fd)+"/new", unix.O_WRONLY|unix.O_CREAT, overwrite)
		})
	}},
	{"create-in-cwd", func(dir string) error {
		if err := unix.Chdir(dir); err != nil {
			return err
		}
		defer unix.Chdir("/")
		return open("/proc/self/cwd/new", unix.O_WRONLY|unix.O_CREAT, overwrite)
	}},
	{"handle", func(dir string) error {
		handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir+"/file", 0)
		if err != nil {
			return err
		}
		return open(dir, unix.O_RDONLY, func(at int) error {
			fd, err := unix.OpenByHandleAt(at, handle, unix.O_RDWR)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return overwrite(fd)
		})
	}},
	{"truncate", func(dir string) error { return unix.Truncate(dir+"/file", 1) }},
	{"fallocate", func(dir string) error {
		return open(dir+"/file", unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, 0, 0, 1<<16) })
	}},
	{"chmod", func(dir string) error { return unix.Chmod(dir+"/file", 0o777) }},
	{"fchmod", func(dir string) error {
		return open(dir+"/file", unix.O_RDONLY, func(fd int) error { return unix.Fchmod(fd, 0o777) })
	}},
	{"chown", func(dir string) error { return unix.Chown(dir+"/file", 1, 1) }},
	{"utimes", func(dir string) error {
		return unix.UtimesNano(dir+"/file", []unix.Timespec{{Sec: 1}, {Sec: 2}})
	}},
	{"setxattr", func(dir string) error { return unix.Setxattr(dir+"/file", "user.new", []byte("x"), 0) }},
	{"link", func(dir string) error { return unix.Link(dir+"/file", dir+"/new") }},
	{"link-fd", func(dir string) error {
		return open(dir+"/file", unix.O_RDONLY, func(fd int) error {
			return unix.Linkat(unix.AT_FDCWD, procFD(fd), unix.AT_FDCWD, dir+"/new", unix.AT_SYMLINK_FOLLOW)
		})
	}},
	{"symlink", func(dir string) error { return unix.Symlink("file", dir+"/new") }},
	{"rename", func(dir string) error { return unix.Rename(dir+"/file", dir+"/new") }},
	{"rename-over", func(dir string) error { return unix.Rename(dir+"/other", dir+"/file") }},
	{"exchange", func(dir string) error {
		return unix.Renameat2(unix.AT_FDCWD, dir+"/other", unix.AT_FDCWD, dir+"/file", unix.RENAME_EXCHANGE)
	}},
	{"unlink", func(dir string) error { return unix.Unlink(dir + "/file") }},
	{"mkdir", func(dir string) error { return unix.Mkdir(dir+"/new", 0o777) }},
	{"rmdir", func(dir string) error { return unix.Rmdir(dir + "/empty") }},
	{"fifo", func(dir string) error { return unix.Mknod(dir+"/new", unix.S_IFIFO|0o666, 0) }},
	{"block-device", func(dir string) error { return unix.Mknod(dir+"/new", unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))) }},
	{"char-device", func(dir string) error { return unix.Mknod(dir+"/new", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 11))) }},
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func open(path string, flags int, then func(fd int) error) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(then(fd), unix.Close(fd))
}

func nothing(int) error { return nil }

func overwrite(fd int) error {
	_, err := unix.Write(fd, []byte("by the guest\n"))
	return errors.Join(err, unix.Fsync(fd))
}

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "prepare":
		err = prepare(os.Args[2])
	case len(os.Args) == 6 && os.Args[1] == "share":
		err = attackShare(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	default:
		err = errors.New("usage: attack prepare DIR | attack share TYPE TAG MOUNT DIR")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

func prepare(dir string) error {
	for _, a := range attacks {
		if err := os.MkdirAll(filepath.Join(dir, a.name, "empty"), 0o755); err != nil {
			return err
		}
		for _, f := range []string{"file", "other"} {
			if err := os.WriteFile(filepath.Join(dir, a.name, f), []byte("by the host: "+f+"\n"), 0o644); err != nil {
				return err
			}
		}
		fmt.Println(a.name)
	}
	return nil
}

func attackShare(fsType, tag, mount, dir string) error {
	options := ""
	if fsType == "9p" {
		options = "trans=virtio,version=9p2000.L"
	}
	again := func(target string) error {
		return errors.Join(os.MkdirAll(target, 0o755), unix.Mount(tag, target, fsType, 0, options))
	}
	if _, err := os.Stat(filepath.Join(mount, dir)); err != nil {
		if err := again(mount); err != nil {
			return fmt.Errorf("mount %s: %w", tag, err)
		}
	}
	// The mount, then the file system itself.
	for _, flags := range []uintptr{unix.MS_REMOUNT | unix.MS_BIND, unix.MS_REMOUNT} {
		if err := unix.Mount("none", mount, "", flags, ""); err != nil {
			fmt.Printf("remount %#x: %v\n", flags, err)
		}
	}
	attack(filepath.Join(mount, dir))
	attack(filepath.Join("/proc/1/root", mount, dir))
	bound := "/run/attack-bound-" + tag
	err := errors.Join(os.MkdirAll(bound, 0o755), unix.Mount(mount, bound, "", unix.MS_BIND, ""),
		unix.Mount("none", bound, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	if err != nil {
		return err
	}
	attack(filepath.Join(bound, dir))
	if err := unix.Unmount(bound, 0); err != nil {
		return err
	}
	// By 9p, only one mount at a time.
	second := "/run/attack-again-" + tag
	if err := again(second); err != nil {
		if err := unix.Unmount(mount, 0); err != nil {
			fmt.Printf("no second mount: %v\n", err)
			return nil
		}
		// What is open keeps the file system for a moment.
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if err = again(second); err == nil || time.Now().After(deadline) {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("mount %s again: %w", tag, err)
		}
	}
	attack(filepath.Join(second, dir))
	return nil
}

func attack(dir string) {
	for _, a := range attacks {
		err := a.do(filepath.Join(dir, a.name))
		if err == nil {
			fmt.Printf("did %s in %s\n", a.name, dir)
		} else if !errors.Is(err, unix.EROFS) {
			fmt.Printf("%s: %v\n", a.name, err)
		}
	}
}
