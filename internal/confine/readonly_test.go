// SPDX-License-Identifier: GPL-3.0-only

package confine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tryChanges prints what works of what changes files, and the text of a file.
func tryChanges(dir string) {
	in := func(name string) string { return filepath.Join(dir, name) }
	fd, err := unix.Open(in("file"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fmt.Println("open to be read:", err)
		os.Exit(1)
	}
	open := func(name string, flags int) error {
		fd, err := unix.Open(in(name), flags, 0o644)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
	again := fmt.Sprintf("/proc/self/fd/%d", fd)
	for _, attempt := range []struct {
		name string
		err  error
	}{
		{"read", open("file", unix.O_RDONLY)},
		{"write", open("file", unix.O_WRONLY)},
		{"read and write", open("file", unix.O_RDWR)},
		{"append", open("file", unix.O_WRONLY|unix.O_APPEND)},
		{"truncate as it is opened", open("file", unix.O_RDONLY|unix.O_TRUNC)},
		{"create", open("new", unix.O_CREAT|unix.O_WRONLY)},
		{"create to read", open("new", unix.O_CREAT|unix.O_RDONLY)},
		{"a file without a name", open(".", unix.O_TMPFILE|unix.O_RDWR)},
		{"what is open, to write", func() error {
			fd, err := unix.Open(again, unix.O_WRONLY, 0)
			if err == nil {
				err = unix.Close(fd)
			}
			return err
		}()},
		{"openat2", func() error {
			fd, err := unix.Openat2(unix.AT_FDCWD, in("new"), &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o644})
			if err == nil {
				err = unix.Close(fd)
			}
			return err
		}()},
		{"truncate", unix.Truncate(in("file"), 1)},
		{"ftruncate", unix.Ftruncate(fd, 1)},
		{"unlink", unix.Unlink(in("file"))},
		{"rmdir", unix.Rmdir(in("dir"))},
		{"mkdir", unix.Mkdir(in("other"), 0o755)},
		{"mkfifo", unix.Mkfifo(in("fifo"), 0o644)},
		{"mknod", unix.Mknod(in("socket"), unix.S_IFSOCK|0o644, 0)},
		{"symlink", unix.Symlink("file", in("symlink"))},
		{"link", unix.Link(in("file"), in("link"))},
		{"link into a directory", unix.Link(in("file"), in("dir/link"))},
		{"rename", unix.Rename(in("file"), in("renamed"))},
		{"rename into a directory", unix.Rename(in("file"), in("dir/renamed"))},
		{"chmod", unix.Chmod(in("file"), 0o600)},
		{"fchmod", unix.Fchmod(fd, 0o600)},
		{"fchmodat", unix.Fchmodat(unix.AT_FDCWD, in("file"), 0o600, 0)},
		{"chown", unix.Chown(in("file"), os.Getuid(), os.Getgid())},
		{"lchown", unix.Lchown(in("file"), os.Getuid(), os.Getgid())},
		{"fchown", unix.Fchown(fd, os.Getuid(), os.Getgid())},
		{"utimes", unix.Utimes(in("file"), nil)},
		{"utimensat", unix.UtimesNano(in("file"), make([]unix.Timespec, 2))},
		{"utimensat of what is open", unix.UtimesNano(again, make([]unix.Timespec, 2))},
		{"setxattr", unix.Setxattr(in("file"), "user.x", []byte("x"), 0)},
		{"lsetxattr", unix.Lsetxattr(in("file"), "user.x", []byte("x"), 0)},
		{"fsetxattr", unix.Fsetxattr(fd, "user.x", []byte("x"), 0)},
		{"removexattr", unix.Removexattr(in("file"), "user.old")},
		{"flags", unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, 0x80 /* FS_NOATIME_FL */)},
		{"a Btrfs subvolume", denied(unix.IoctlSetPointerInt(fd, 0x5000940e /* BTRFS_IOC_SUBVOL_CREATE */, 0))},
		{"verity", denied(unix.IoctlSetPointerInt(fd, unix.FS_IOC_ENABLE_VERITY, 0))},
		{"capabilities", capabilities()},
		{"truncate in the allocation", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1)},
	} {
		if attempt.err == nil {
			fmt.Println(attempt.name)
		}
	}
	if unix.Kill(os.Getppid(), 0) == nil && landlockVersion() >= 6 {
		fmt.Println("a signal to who started it")
	}
}

// denied is nil unless an error says that something isn't permitted: other file systems
// know not of it.
func denied(err error) error {
	if errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}

// capabilities is nil if there are some beside the three that stay.
func capabilities() error {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return nil
	}
	for _, set := range regexp.MustCompile(`(?m)^Cap(?:Prm|Eff|Bnd):\s*(\S+)$`).FindAllSubmatch(status, -1) {
		bits, err := strconv.ParseUint(string(set[1]), 16, 64)
		if err != nil || bits&^(1<<unix.CAP_DAC_OVERRIDE|1<<unix.CAP_DAC_READ_SEARCH|1<<unix.CAP_NET_BIND_SERVICE) != 0 && os.Geteuid() == 0 {
			return nil
		}
	}
	return unix.EPERM
}

// victim returns a directory with a file and a directory in it, and the file's path. It skips
// the test where nothing can be kept from changing them.
func victim(t *testing.T) (dir, path string) {
	t.Helper()
	if !CanReadOnly() {
		t.Skip("this kernel has no Landlock")
	}
	dir = t.TempDir()
	path = filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

// A file of one's own is as it was, whatever is tried.
func TestReadOnly(t *testing.T) {
	dir, path := victim(t)
	// Not every file system has them.
	_ = unix.Setxattr(path, "user.old", []byte("old"), 0)
	state := func() string {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(st.Mode, st.Uid, st.Nlink, st.Mtim, st.Ctim, string(text), entries)
	}
	before := state()
	users := []*syscall.Credential{nil}
	if os.Geteuid() == 0 {
		// Another one has no privileges to lose.
		users = append(users, &syscall.Credential{Uid: 65534, Gid: 65534})
		for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, user := range users {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "/proc/self/exe")
		cmd.Env = append(os.Environ(), dirVariable+"="+dir, readOnlyVariable+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if string(out) != "read\n" {
			t.Errorf("these work: %s", strings.ReplaceAll(string(out), "\n", ", "))
		}
		if after := state(); after != before {
			t.Errorf("it was %s, and is %s", before, after)
		}
	}
}

// Of the files that may be written the contents can be changed, and nothing else; others
// aren't, and one that isn't there is no mistake.
func TestReadOnlyExcept(t *testing.T) {
	dir, path := victim(t)
	for except, want := range map[string]string{
		path:                         "read, write, read and write, append, truncate as it is opened, what is open, to write, ",
		path + ".none":               "read, ",
		filepath.Join(dir, "dir"):    "read, ",
		path + ".none:" + path + ":": "read, write, read and write, append, truncate as it is opened, what is open, to write, ",
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), dirVariable+"="+dir, readOnlyVariable+"=1", exceptVariable+"="+except)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := strings.ReplaceAll(string(out), "\n", ", "); got != want {
			t.Errorf("except %s these work: %s", except, got)
		}
	}
}
