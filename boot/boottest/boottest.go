// SPDX-License-Identifier: GPL-3.0-only

// Package boottest is for tests of what boots guests: it has a qemu and a virtiofsd that
// are the test's own executable, and an agent.
package boottest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/boot/launch"
	"github.com/metaspace/run-kernel/boot/readonly"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
)

// The test's executable is qemu and virtiofsd, too: scripts in a test's own directory
// start it with the role in the environment.
const (
	roleVariable  = "RUN_KERNEL_TEST_ROLE"
	guestVariable = "RUN_KERNEL_TEST_GUEST" // what the guest in the fake qemu does
)

// Main is to be called first by TestMain: it returns only where the process is the
// test itself.
func Main() {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	proc.Main()
	private.Main()
	readonly.Main()
	launch.Main()
	switch os.Getenv(roleVariable) {
	case "qemu":
		os.Exit(fakeQEMU(os.Args[1:], os.Getenv(guestVariable)))
	case "virtiofsd":
		os.Exit(fakeVirtiofsd())
	}
}

// A Lab has the tools that a VM needs, and a kernel's image: paths of files in Dir.
type Lab struct{ Dir, QEMU, Virtiofsd, Kernel string }

// New makes a lab whose guest behaves as one of the cases of fakeQEMU: "answers" is a
// healthy one.
func New(t *testing.T, guest string) *Lab {
	t.Helper()
	dir := t.TempDir()
	l := &Lab{
		Dir: dir, QEMU: filepath.Join(dir, "qemu"), Virtiofsd: filepath.Join(dir, "virtiofsd"), Kernel: filepath.Join(dir, "bzImage"),
	}
	l.Become(t, guest)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l.Script(t, l.Virtiofsd, fmt.Sprintf(
		"case $1 in --help) echo --shared-dir --readonly --no-announce-submounts; exit;; esac\n%s=virtiofsd exec %s \"$@\"\n", roleVariable, self))
	image := strings.Repeat("\x00", 0x202) + "HdrS" + strings.Repeat("\x00", 4096)
	if err := os.WriteFile(l.Kernel, []byte(image), 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

// Become has the guest do something else from its next boot on.
func (l *Lab) Become(t *testing.T, guest string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l.Script(t, l.QEMU, fmt.Sprintf("%s=qemu %s='%s' exec %s \"$@\"\n", roleVariable, guestVariable, guest, self))
}

// Script writes a shell script.
func (l *Lab) Script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
}
