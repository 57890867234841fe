// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"os"
	"testing"

	"github.com/metaspace/run-kernel/boot/boottest"
)

func TestMain(m *testing.M) {
	boottest.Main()
	os.Exit(m.Run())
}

// A lab has the tools that a VM needs, and a kernel.
type lab struct{ *boottest.Lab }

func newLab(t *testing.T, guest string) *lab {
	t.Helper()
	return &lab{boottest.New(t, guest)}
}

func (l *lab) options() Options {
	return Options{
		Kernel: l.Kernel, QEMU: l.QEMU, Virtiofsd: l.Virtiofsd, Accel: "tcg", CPUs: 1, MemoryMiB: 1 << 10, Userland: l.Dir, Dir: "/", Hostname: "test",
	}
}
