// SPDX-License-Identifier: GPL-3.0-only

package readonly

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// roleVariable makes the test binary one part of a test.
const roleVariable = "RUN_KERNEL_TEST_ROLE"

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	Main()
	switch os.Getenv(roleVariable) {
	case "user":
		os.Exit(asUser(os.Args[1]))
	}
	os.Exit(m.Run())
}

// again runs a role, or a test, as another process.
func again(role string, attr *syscall.SysProcAttr, args ...string) ([]byte, error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.SysProcAttr = attr
	return cmd.CombinedOutput()
}

// path is how others reach what a descriptor stands for.
func path(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

func TestOpen(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	if os.Getenv(roleVariable) == "" {
		out, err := again("mounts", &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}, "-test.run=^TestOpen$", "-test.v")
		if errors.Is(err, unix.EPERM) {
			t.Skip("root may not make a mount namespace here")
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	dir := t.TempDir()
	for _, d := range []string{"sub", "proc"} {
		d = filepath.Join(dir, d)
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", d, "tmpfs", 0, ""); err != nil {
			t.Skipf("root may not mount here: %v", err)
		}
		defer func() { _ = unix.Unmount(d, unix.MNT_DETACH) }()
		if err := os.WriteFile(filepath.Join(d, "file"), []byte(d), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Not everything of that name is a mount.
	if err := os.Symlink("sub", filepath.Join(dir, "dev")); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range []string{"/new", "/sub/new", "/sub/file"} {
		if err := os.WriteFile(path(f)+name, nil, 0o644); !errors.Is(err, unix.EROFS) {
			t.Errorf("writing %s: %v", name, err)
		}
	}
	if data, err := os.ReadFile(path(f) + "/sub/file"); string(data) != dir+"/sub" || err != nil {
		t.Errorf("got %q, %v", data, err)
	}
	// Processes, where it is the host's root.
	if entries, err := os.ReadDir(path(f) + "/proc"); len(entries) > 0 || err != nil {
		t.Errorf("proc has %v, %v", entries, err)
	}
	after, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || string(before) != string(after) {
		t.Errorf("the mounts outside have changed:\n%s\n%s", before, after)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub/file"), nil, 0o644); err != nil {
		t.Errorf("outside: %v", err)
	}
}

func TestOpenWhatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "mount "+dir+" read-only: ") {
		t.Errorf("got %v", err)
	}
}

// A user can't write through it what is his own.
func TestOpenAsUser(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		const user = 4711
		if err := os.Chown(dir, user, user); err != nil {
			t.Fatal(err)
		}
		attr.Credential = &syscall.Credential{Uid: user, Gid: user}
	}
	out, err := again("user", attr, dir)
	switch exit := (*exec.ExitError)(nil); {
	case errors.As(err, &exit) && exit.ExitCode() == noNamespaces:
		t.Skipf("users may not make namespaces here: %s", out)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	}
}

const noNamespaces = 3

func asUser(dir string) int {
	f, err := Open(dir)
	if err != nil {
		fmt.Println(err)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
			return noNamespaces
		}
		return 1
	}
	if err := os.WriteFile(path(f)+"/new", nil, 0o644); !errors.Is(err, unix.EROFS) {
		fmt.Println("writing a new file:", err)
		return 1
	}
	if err := os.WriteFile(dir+"/new", []byte("new"), 0o644); err != nil {
		fmt.Println(err)
		return 1
	}
	if data, err := os.ReadFile(path(f) + "/new"); string(data) != "new" || err != nil {
		fmt.Printf("got %q, %v\n", data, err)
		return 1
	}
	st, err := os.Stat(path(f) + "/new")
	if err != nil || int(st.Sys().(*syscall.Stat_t).Uid) != os.Getuid() {
		fmt.Printf("it belongs to %+v, %v\n", st, err)
		return 1
	}
	return 0
}

// What is hidden isn't seen through the descriptor, by whatever name, and nothing of
// the host's is covered.
func TestHide(t *testing.T) {
	if !Privileged() {
		t.Skip("needs the right to mount")
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.MkdirAll(in("home/.ssh"), 0o700), os.WriteFile(in("home/.ssh/key"), []byte("secret"), 0o600),
		os.WriteFile(in("shadow"), []byte("secret"), 0o600), os.WriteFile(in("seen"), []byte("seen"), 0o600),
		os.MkdirAll(in("real"), 0o700), os.WriteFile(in("real/key"), []byte("secret"), 0o600), os.Symlink("../real", in("home/link")))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, in("home/.ssh"), in("shadow"), in("home/link"), in("none"), in("seen/.ssh"), "/etc/shadow", "/")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	through := fmt.Sprintf("/proc/self/fd/%d/", f.Fd())
	for _, name := range []string{"home/.ssh/key", "shadow", "home/link/key", "real/key"} {
		if data, err := os.ReadFile(through + name); len(data) > 0 {
			t.Errorf("%s has %q, %v", name, data, err)
		}
		if data, err := os.ReadFile(in(name)); string(data) != "secret" {
			t.Errorf("the host's %s has %q, %v", name, data, err)
		}
	}
	if data, err := os.ReadFile(through + "seen"); string(data) != "seen" {
		t.Errorf("what isn't hidden has %q, %v", data, err)
	}
}
