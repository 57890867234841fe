// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"path/filepath"
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
