// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Wherever one starts, fix gets what a guest needs past the kernel's own
// olddefconfig, and has nothing to do the second time.
func TestFixRealConfigurations(t *testing.T) {
	for name, tree := range map[string]func(*testing.T) (source, build string){
		"first tree": func(t *testing.T) (string, string) {
			return need(t, "RUN_KERNEL_TEST_TREE", "kernel tree"), t.TempDir()
		},
		"second tree, in place": func(t *testing.T) (string, string) {
			source := need(t, "RUN_KERNEL_TEST_TREE2", "second kernel tree")
			lock(t, source+".lock")
			if _, err := os.Stat(filepath.Join(source, ".config")); err == nil {
				newEdit(t, filepath.Join(source, ".config")) // to restore it
			} else {
				t.Cleanup(func() { _ = os.Remove(filepath.Join(source, ".config")) })
			}
			return source, source
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, build := tree(t)
			k := &kernel{source: source, build: build, lab: newLab(t, source)}
			if build == source && os.Getenv("RUN_KERNEL_TEST_TRIXIE") != "" {
				// Programs that the other tools left in the tree don't run with ours.
				k.lab.enterTrixie()
			}
			for target, all := range map[string]string{
				"tinyconfig": "CONFIG_64BIT=y\n", "allnoconfig": "CONFIG_64BIT=y\n", "defconfig": "",
			} {
				t.Run(target, func(t *testing.T) {
					k.lab.t = t
					makeConfig(t, k.lab, source, build, target, all)
					r := k.lab.expect(k.lab.run(k.flags("kconfig", "check")...), statusUnmet)
					if !strings.Contains(r.stdout, "VIRTIO_FS") {
						t.Errorf("check doesn't list VIRTIO_FS: %s", r.stdout)
					}
					k.lab.expect(k.lab.run(k.flags("kconfig", "fix")...), 0)
					k.lab.expect(k.lab.run(k.flags("kconfig", "check")...), 0)
					before := stat(t, filepath.Join(build, ".config"))
					r = k.lab.expect(k.lab.run(k.flags("kconfig", "fix")...), 0)
					if after := stat(t, filepath.Join(build, ".config")); !strings.Contains(r.stderr, "nothing was changed") || !after.ModTime().Equal(before.ModTime()) || !os.SameFile(after, before) {
						t.Errorf("the second fix changed something: %s", r.stderr)
					}
				})
			}
		})
	}
}

// What can't be met is named, and .config stays as it is.
func TestFixNamesWhatCannotBe(t *testing.T) {
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	k := &kernel{source: source, build: t.TempDir(), lab: newLab(t, source)}
	tinyconfig(t, k.lab, source, k.build)
	config := filepath.Join(k.build, ".config")
	before, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	r := k.lab.expect(k.lab.run(k.flags("kconfig", "fix", "--require", "SERIAL_AMBA_PL011=y", "--require", "NO_SUCH_OPTION=y")...), statusFailed)
	for _, name := range []string{"SERIAL_AMBA_PL011", "NO_SUCH_OPTION"} {
		if !strings.Contains(r.stderr, name) {
			t.Errorf("%s isn't named: %s", name, r.stderr)
		}
	}
	if after, err := os.ReadFile(config); err != nil || string(after) != string(before) {
		t.Errorf(".config was changed, %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(k.build, ".config.run-kernel*"))
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st
}
