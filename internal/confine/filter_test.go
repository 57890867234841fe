// SPDX-License-Identifier: GPL-3.0-only

package confine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dirVariable names where the test's executable tries what is denied.
const dirVariable = "RUN_KERNEL_TEST_DIR"

// readOnlyVariable makes it try what ReadOnly denies.
const readOnlyVariable = "RUN_KERNEL_TEST_READ_ONLY"

// exceptVariable lists the files that can be changed nevertheless.
const exceptVariable = "RUN_KERNEL_TEST_EXCEPT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		confine, attempt := Files, try
		if os.Getenv(readOnlyVariable) != "" {
			confine, attempt = func() error { return ReadOnly(filepath.SplitList(os.Getenv(exceptVariable))...) }, tryChanges
		}
		runtime.LockOSThread()
		if err := confine(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		attempt(dir)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// try prints the names of what works.
func try(dir string) {
	in := func(name string) string { return filepath.Join(dir, name) }
	create := func(mode uint32) error {
		fd, err := unix.Openat(unix.AT_FDCWD, in("created"), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode)
		if err == nil {
			err = errors.Join(unix.Close(fd), os.Remove(in("created")))
		}
		return err
	}
	for _, attempt := range []struct {
		name string
		err  error
	}{
		{"chmod 755", unix.Chmod(in("file"), 0o755)},
		{"create 644", create(0o644)},
		{"create 755 with a type", create(unix.S_IFREG | 0o755)},
		{"mkfifo", unix.Mkfifo(in("fifo"), 0o644)},
		{"mknod of a file", unix.Mknod(in("node"), unix.S_IFREG|0o644, 0)},
		{"mknod of a socket", unix.Mknod(in("socket"), unix.S_IFSOCK|0o644, 0)},
		{"mkdir", unix.Mkdir(in("dir"), 0o755)},
		{"chmod 4755", unix.Chmod(in("file"), 0o4755)},
		{"chmod 2755", unix.Fchmodat(unix.AT_FDCWD, in("file"), 0o2755, 0)},
		{"create 4755", create(0o4755)},
		{"mknod 4755", unix.Mknod(in("node2"), unix.S_IFREG|0o4755, 0)},
		{"mknod of a character device", unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))},
		{"mknod of a block device", unix.Mknod(in("disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(8, 0)))},
		{"openat2", func() error {
			fd, err := unix.Openat2(unix.AT_FDCWD, in("created2"), &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o4755})
			if err == nil {
				_ = unix.Close(fd)
			}
			return err
		}()},
	} {
		if attempt.err == nil {
			fmt.Println(attempt.name)
		}
	}
}

// A guest makes files on the host, but none that gives its user another's rights.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), dirVariable+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "chmod 755\ncreate 644\ncreate 755 with a type\nmkfifo\nmknod of a file\nmknod of a socket\nmkdir\n"
	if string(out) != want {
		t.Errorf("these work: %s\nwant %s", strings.ReplaceAll(string(out), "\n", ", "), want)
	}
}
