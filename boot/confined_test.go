// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/confine"
)

// A qemu with a sandbox changes the disks that the guest may write, and no other file.
func TestQEMUWritesDisksOnly(t *testing.T) {
	if !confine.CanReadOnly() {
		t.Skip("this kernel has no Landlock")
	}
	for _, test := range []struct {
		name    string
		machine qemu.Machine
		plan    plan
		want    string
	}{
		{"confined", qemu.Machine{Sandbox: true}, plan{}, "writable "},
		{"with files by 9p", qemu.Machine{Sandbox: true}, plan{mounter: &Mounter{Type: NineP}, shares: []Share{{ReadOnly: true}}}, "writable "},
		{"which writes files by 9p", qemu.Machine{Sandbox: true}, plan{mounter: &Mounter{Type: NineP}, shares: []Share{{}}}, "writable other new "},
		{"without a sandbox", qemu.Machine{}, plan{}, "writable other new "},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := func(name string) string { return filepath.Join(dir, name) }
			for _, name := range []string{"writable", "other"} {
				if err := os.WriteFile(path(name), make([]byte, 512), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			p := test.plan
			p.qemu, p.disks = "/bin/sh", []qemu.Disk{{Path: path("writable")}, {Path: path("other"), ReadOnly: true}}
			if p.mounter == nil {
				p.mounter = &Mounter{Type: Virtiofs}
			}
			cmd := p.command(&test.machine, []string{"-c", "for f in writable other new; do { echo >>$f; } 2>/dev/null && printf '%s ' $f; done; exit 0"})
			cmd.Dir = dir
			out, err := cmd.Output()
			if string(out) != test.want || err != nil {
				t.Errorf("%q can be written, want %q: %v", out, test.want, err)
			}
		})
	}
}
