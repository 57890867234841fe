// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRuntimeDir(t *testing.T) {
	private, wide := t.TempDir(), t.TempDir()
	must(t, os.Chmod(private, 0o700), os.Chmod(wide, 0o755))
	link := filepath.Join(private, "link")
	must(t, os.Symlink(private, link))
	for _, tt := range []struct{ dir, want string }{
		{private, filepath.Join(private, "run-kernel")},
		{wide, "/tmp/run-kernel-"},
		{link, "/tmp/run-kernel-"},
		{"relative", "/tmp/run-kernel-"},
		{"", "/tmp/run-kernel-"},
	} {
		t.Setenv("XDG_RUNTIME_DIR", tt.dir)
		got, err := RuntimeDir()
		if err != nil || !strings.HasPrefix(got, tt.want) || mode(t, got) != os.ModeDir|0o700 {
			t.Errorf("with %q: got %q, %v; want %q", tt.dir, got, err, tt.want)
		}
	}
}

// runtimeVariable makes the test's executable say twice where its sockets are.
const runtimeVariable = "RUN_KERNEL_TEST_RUNTIME"

// Where somebody has taken the name in /tmp, each process has one directory, and leaves
// none.
func TestRuntimeDirTaken(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	uid := 1_000_000 + os.Getpid() // nobody's
	name := fmt.Sprintf("/tmp/run-kernel-%d", uid)
	must(t, os.WriteFile(name, nil, 0o600))
	t.Cleanup(func() { _ = os.Remove(name) })
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), runtimeVariable+"=1", "XDG_RUNTIME_DIR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Skipf("can't become another user: %v: %s", err, out)
	}
	first, second, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "\n")
	if dir, ok := strings.CutSuffix(first, " <nil>"); first != second || !ok || !strings.HasPrefix(dir, name+"-") {
		t.Errorf("got %q", out)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		left, _ := filepath.Glob(name + "-*")
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			for _, dir := range left {
				_ = os.RemoveAll(dir)
			}
			t.Fatalf("it leaves %q", left)
		}
	}
}

// A socket's path may be longer than its address can be, and what a process that
// was killed has left is replaced.
func TestSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 200))
	must(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "socket")
	for range 2 {
		l, err := Listen(path)
		must(t, err)
		conn, err := Dial(path)
		must(t, err)
		if cred, err := Peer(conn); err != nil || int(cred.Uid) != os.Geteuid() || int(cred.Pid) != os.Getpid() {
			t.Errorf("the peer is %+v, %v", cred, err)
		}
		must(t, conn.Close(), l.Close())
	}
	if _, err := Dial(path); err == nil {
		t.Error("nobody listens, and answers")
	}
}
