// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// The qemu of this machine takes the sandbox where it is said to, and one that isn't
// known gets none.
func TestHasSandbox(t *testing.T) {
	script := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{script, "/nonexistent"} {
		if HasSandbox(path) {
			t.Errorf("%s has one", path)
		}
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("no qemu")
	}
	m := Machine{Arch: "x86_64", Accel: TCG, CPUs: 1, Memory: 1 << 10, Kernel: "/nonexistent/kernel", Sandbox: HasSandbox(qemu)}
	args, err := m.Args()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(args, "-sandbox") {
		t.Skip("this qemu has none")
	}
	// It gets as far as to miss the kernel.
	out, err := exec.Command(qemu, append(args, "-S")...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || !slices.Contains([]string{"qemu: could not open kernel file '/nonexistent/kernel': No such file or directory\n"}, string(out)) {
		t.Errorf("got %v: %s", err, out)
	}
}
