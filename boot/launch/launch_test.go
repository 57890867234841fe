// SPDX-License-Identifier: GPL-3.0-only

package launch

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/proc"
)

// apartVariable marks the process of a test that is in a mount namespace of its own.
const apartVariable = "RUN_KERNEL_TEST_APART"

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	proc.Main()
	Main()
	os.Exit(m.Run())
}

func TestDescriptorLimit(t *testing.T) {
	const limits = "ulimit -Sn; ulimit -Hn"
	cmd := Command(Files(), "/bin/sh", "-c", limits)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if f := strings.Fields(string(out)); len(f) != 2 || f[0] != f[1] {
		t.Errorf("soft and hard limit: %q", f)
	}
}

// TestMounted makes mounts, in a namespace of its own.
func TestMounted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	if os.Getenv(apartVariable) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestMounted$", "-test.v")
		cmd.Env = append(os.Environ(), apartVariable+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
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
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{
		"echo x 2>&- >/sys/file && echo written; ls /sys | tr '\\n' ' '": "proc sub ",
		"echo x 2>&- >/sys/sub/file && echo written; cat /sys/sub/file":  dir + "/sub",
		"ls /sys/proc": "", // processes, where the share is the host's root
	} {
		out, err := Command(Mounted(dir), "/bin/sh", "-c", program).Output()
		if string(out) != want {
			t.Errorf("%s: got %q, %v", program, out, err)
		}
	}
	after, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Errorf("the mounts outside have changed:\n%s\n%s", before, after)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub/file"), nil, 0o644); err != nil {
		t.Errorf("outside: %v", err)
	}
	// What can't be mounted isn't served.
	out, err := Command(Mounted(dir+"/none"), "/bin/echo", "served").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 125 || !strings.Contains(string(out), "mount read-only") {
		t.Errorf("got %q, %v", out, err)
	}
}
