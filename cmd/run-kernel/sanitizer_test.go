// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A kernel with KASAN boots by bzImage: vmlinux would reset itself before its first
// message. It is another kernel to build, so that it is for those who ask for it.
func TestSanitizerKernel(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("only x86 has two images to choose from")
	}
	if os.Getenv("RUN_KERNEL_TEST_KASAN") == "" {
		t.Skip("RUN_KERNEL_TEST_KASAN isn't set: building the kernel takes minutes")
	}
	k := sanitizerKernel(t)
	image := filepath.Join(k.build, "arch/x86/boot/bzImage")
	r := k.lab.expect(k.boot("-v", "--", "dmesg | grep -i kasan && cat /proc/mounts"), 0)
	if !strings.Contains(r.stdout, "KernelAddressSanitizer initialized") || !strings.Contains(r.stderr, " -kernel "+image+" ") {
		t.Errorf("got %s\n%s", r.stdout, r.stderr)
	}
	t.Logf("it took %s", r.elapsed)

	// The file is all that is known of a kernel that isn't the tree's.
	elsewhere := newLab(t, t.TempDir())
	r = elsewhere.expect(elsewhere.run("--kernel", filepath.Join(k.build, "vmlinux"), "--", "true"), statusFailed)
	if !strings.Contains(r.stderr, "CONFIG_KASAN=y") || !strings.Contains(r.stderr, image) {
		t.Errorf("the message is %q", r.stderr)
	}
}
