// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// modprobe finds the build's modules on either userland, and the kernel refuses
// another's.
func TestModules(t *testing.T) {
	k, _ := systemdKernel(t)
	for _, userland := range []string{"nix", "host"} {
		r := k.lab.expect(k.boot("--userland", userland, "--", `
set -e
PATH=$PATH:/usr/sbin:/sbin
modprobe dummy numdummies=3
test -d /sys/class/net/dummy2
modinfo --field=filename dummy
modprobe -r dummy
test ! -e /sys/class/net/dummy2
release=$(uname -r)
sed "s/$release SMP/9${release#?} SMP/" "$(modinfo --field=filename dummy)" >/run/other.ko
! insmod /run/other.ko
dmesg | grep -o "version magic '9.* should be '[0-9.]*"
`), 0)
		lines := strings.Split(r.stdout, "\n")
		if len(lines) < 2 || !strings.HasPrefix(lines[0], "/lib/modules/6.") || !strings.HasSuffix(lines[0], "/kernel/drivers/net/dummy.ko") {
			t.Errorf("%s: the module is %q", userland, r.stdout)
		}
		if !strings.Contains(r.stdout, "should be '6.") {
			t.Errorf("%s: the two versions aren't told: %q", userland, r.stdout)
		}
	}
	staged := filepath.Join(k.build, ".run-kernel/modules/lib/modules")
	if dirs, err := filepath.Glob(filepath.Join(staged, "*")); len(dirs) != 1 || err != nil {
		t.Errorf("staged: %v, %v", dirs, err)
	}
}

// A distribution's kernel has as modules what a guest needs before it has files.
func TestStockKernel(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("./test unpacks a kernel for amd64 only")
	}
	image := need(t, "RUN_KERNEL_TEST_STOCK_KERNEL", "kernel of Debian's")
	l := newLab(t, t.TempDir())
	script := "uname -r; { grep -qw ^virtiofs /proc/modules || grep -q /virtiofs.ko /lib/modules/$(uname -r)/modules.builtin; } && grep -qw ^virtio_net /proc/modules && modprobe dummy && grep -q ^dummy /proc/modules && ip addr show eth0 | grep -q 10.0.2.15"
	r := l.expect(l.run("--kernel", image, "--", script), 0)
	if release := strings.TrimPrefix(filepath.Base(image), "vmlinuz-"); r.stdout != release+"\n" {
		t.Errorf("got %q, want %q", r.stdout, release)
	}
}
