// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// program writes the beginning of a program for an ELF machine.
func program(t *testing.T, path string, machine byte) {
	t.Helper()
	head := make([]byte, 64)
	copy(head, "\x7fELF\x02\x01\x01")
	head[16], head[18], head[20], head[0x34] = 2, machine, 1, 64
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, head, 0o755)); err != nil {
		t.Fatal(err)
	}
}

const amd64, arm64 = 62, 183

func TestFindInit(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("of an x86-64 host")
	}
	if got, err := FindInit("", "x86_64"); got != "/proc/self/exe" || err != nil {
		t.Errorf("for this host: %s, %v", got, err)
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	foreign := (*ForeignError)(nil)
	if _, err := FindInit("", "aarch64"); !errors.As(err, &foreign) || !strings.Contains(foreign.Hint(), "GOARCH=arm64 go build -o ") {
		t.Errorf("without one: %v", err)
	}
	path := filepath.Join(dir, "run-kernel-linux-arm64")
	program(t, path, arm64)
	if got, err := FindInit("", "aarch64"); got != path || err != nil {
		t.Errorf("in $PATH: %s, %v", got, err)
	}
	if got, err := FindInit(path, "aarch64"); got != path || err != nil {
		t.Errorf("named: %s, %v", got, err)
	}
	for want, named := range map[string]string{
		"no such file": filepath.Join(dir, "none"),
		"is for x86_64, and the guest of aarch64":   "/proc/self/exe",
		"bad magic number":                          "/proc/self/cmdline",
		"is for aarch64, and the guest of riscv64!": path,
	} {
		arch := "aarch64"
		if strings.HasSuffix(want, "!") {
			arch, want = "riscv64", strings.TrimSuffix(want, "!")
		}
		if _, err := FindInit(named, arch); !errors.As(err, &foreign) || !strings.Contains(err.Error(), want) || foreign.Hint() == "" {
			t.Errorf("%s: %v", named, err)
		}
	}
}

func TestCheckUserland(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("of an x86-64 host")
	}
	dir := t.TempDir()
	root := func(name string, machine byte) string {
		program(t, filepath.Join(dir, name, "usr/bin/busybox"), machine)
		if err := errors.Join(
			os.Symlink("usr/bin", filepath.Join(dir, name, "bin")), os.Symlink("busybox", filepath.Join(dir, name, "bin/sh")),
		); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := errors.Join(os.MkdirAll(filepath.Join(pipe, "bin"), 0o755), unix.Mkfifo(filepath.Join(pipe, "bin/sh"), 0o755)); err != nil {
		t.Fatal(err)
	}
	ours, theirs, old := root("ours", amd64), root("theirs", arm64), root("old", 3)
	for _, test := range []struct{ dir, arch, want string }{
		{"/", "x86_64", ""},
		{"/", "aarch64", "the host's programs are for x86_64"},
		{ours, "x86_64", ""},
		{theirs, "aarch64", ""},
		{ours, "aarch64", "are for x86_64, and the guest is of aarch64"},
		{theirs, "x86_64", "are for aarch64, and the guest is of x86_64"},
		{old, "x86_64", ""}, // 32-bit programs run there
		{pipe, "x86_64", ""},
		{dir, "aarch64", ""},
		{"/nonexistent", "aarch64", ""},
		{"", "aarch64", ""},
	} {
		err := checkUserland(test.dir, test.arch)
		if foreign := (*ForeignError)(nil); (err == nil) != (test.want == "") || err != nil && (!errors.As(err, &foreign) || !strings.Contains(err.Error(), test.want) || foreign.Hint() == "") {
			t.Errorf("%s, %s: got %v", test.dir, test.arch, err)
		}
	}
}
