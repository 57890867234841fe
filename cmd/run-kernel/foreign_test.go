// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Guests of other architectures take a kernel and a userland that ./test doesn't
// make, since both take long. A variable names the directory where scripts/foreign
// has made them:
//
//	build      the build directory, of an Image for run-kernel's guest
//	userland   a root directory, such as the first stage of debootstrap
func testForeign(t *testing.T, variable, arch, goarch, machine string) {
	dir := os.Getenv(variable)
	if dir == "" {
		t.Skipf("%s isn't set: no kernel for %s", variable, arch)
	}
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	init := filepath.Join(t.TempDir(), "run-kernel")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", init, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+goarch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	l := newLab(t, source)
	r := l.expect(l.run("boot", "--no-build", "-O", filepath.Join(dir, "build"), "--arch", arch,
		"--userland", filepath.Join(dir, "userland"), "--guest-init", init, "--", "uname", "-m"), 0)
	if r.stdout != machine+"\n" {
		t.Errorf("uname -m printed %q", r.stdout)
	}
}

func TestARM64(t *testing.T) { testForeign(t, "RUN_KERNEL_TEST_ARM64", "arm64", "arm64", "aarch64") }

func TestRISCV64(t *testing.T) {
	testForeign(t, "RUN_KERNEL_TEST_RISCV64", "riscv", "riscv64", "riscv64")
}
