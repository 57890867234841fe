// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
