// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
			lock(t, source)
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
					lacking := []string{"OVERLAY_FS"} // in all three
					if virtiofsRuns(t) {
						lacking = append(lacking, "VIRTIO_FS")
					}
					for _, symbol := range lacking {
						if !strings.Contains(r.stdout, symbol) {
							t.Errorf("check doesn't list %s: %s", symbol, r.stdout)
						}
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
	for _, proof := range []string{
		"drivers/tty/serial/Kconfig:50: SERIAL_AMBA_PL011=y: depends on ARM_AMBA=y",
		"NO_SUCH_OPTION=y: no Kconfig file that belongs to this architecture mentions it",
	} {
		if !strings.Contains(r.stderr, proof) {
			t.Errorf("no %q in: %s", proof, r.stderr)
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

// What a requirement depends on is found, and no more than that is set.
func TestFixFindsDependencies(t *testing.T) {
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	k := &kernel{source: source, build: t.TempDir(), lab: newLab(t, source)}
	tinyconfig(t, k.lab, source, k.build)
	k.lab.expect(k.lab.run(k.flags("kconfig", "fix")...), 0)
	for _, c := range []struct {
		require []string
		extra   int    // at most so many options that nobody asked for
		proof   string // why it can't be
	}{
		{require: []string{"DEBUG_INFO_BTF=y"}, extra: 4},
		{require: []string{"HZ_1000=y", "HZ_250=y"}, proof: "it is in one choice with HZ_250"},
	} {
		words := []string{"kconfig", "fix", "--dry-run", "--json"}
		for _, r := range c.require {
			words = append(words, "--require", r)
		}
		r := k.lab.run(k.flags(words...)...)
		if c.proof != "" {
			if k.lab.expect(r, statusFailed); !strings.Contains(r.stdout+r.stderr, c.proof) {
				t.Errorf("%s: no %q in %s%s", c.require, c.proof, r.stdout, r.stderr)
			}
			continue
		}
		k.lab.expect(r, 0)
		if n := strings.Count(r.stdout, " needs it ("); n > c.extra {
			t.Errorf("%s: %d more options were set: %s", c.require, n, r.stdout)
		}
	}
}

// Where only make knows the environment of conf, it is asked.
func TestConfOfUserModeLinux(t *testing.T) {
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	k := &kernel{source: source, build: t.TempDir(), lab: newLab(t, source)}
	k.lab.env = append(k.lab.env, "ARCH=um")
	makeConfig(t, k.lab, source, k.build, "alldefconfig", "")
	want, err := os.ReadFile(filepath.Join(k.build, ".config"))
	if err != nil {
		t.Fatal(err)
	}
	r := k.lab.expect(k.lab.run(k.flags("kconfig", "conf", "--alldefconfig", "--write", "-")...), 0)
	if !strings.Contains(r.stdout, "CONFIG_UML=y") || r.stdout != string(want) {
		t.Errorf("it wrote %d bytes, conf %d", len(r.stdout), len(want))
	}
}

func TestExplain(t *testing.T) {
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	k := &kernel{source: source, build: t.TempDir(), lab: newLab(t, source)}
	tinyconfig(t, k.lab, source, k.build)
	virtioFS := func(line string) string { return at(t, source, "fs/fuse/Kconfig", "config VIRTIO_FS", line) }
	futex := func(line string) string { return at(t, source, "init/Kconfig", "config FUTEX", line) }
	for symbol, texts := range map[string][]string{
		"VIRTIO_FS": {
			"VIRTIO_FS is absent: it depends on FUSE_FS [=n] (" + virtioFS("depends on FUSE_FS") + ")",
			virtioFS("config VIRTIO_FS") + `: tristate "Virtio Filesystem"`,
			"To make it y, set\n", "  FUSE_FS=y ", "VIRTIO_FS=y\n", "as `run-kernel kconfig fix --require VIRTIO_FS=y` does beside what a guest needs.\n",
		},
		"CONFIG_FUTEX=y":    {"FUTEX is y: its default is y (" + futex("default y") + ")", "  prompt if   n  " + futex("if EXPERT") + "  EXPERT [=n]"},
		"SERIAL_AMBA_PL011": {"It can't be y:", "ARM_AMBA=y"},
		"VIRTIO":            {"  selected by  n  "},
	} {
		r := k.lab.expect(k.lab.run(k.flags("kconfig", "explain", symbol)...), 0)
		for _, text := range texts {
			if !strings.Contains(r.stdout, text) {
				t.Errorf("%s: no %q in:\n%s", symbol, text, r.stdout)
			}
		}
	}
	r := k.lab.expect(k.lab.run(k.flags("kconfig", "explain", "VIRTOI_FS")...), statusUsage)
	if !strings.Contains(r.stderr, "did you mean VIRTIO_FS?") {
		t.Error(r.stderr)
	}
	var list []struct {
		Symbol string `json:"symbol"`
		Path   struct {
			Settings []struct{ Symbol, Value, For, At string } `json:"settings"`
		} `json:"path"`
	}
	r = k.lab.expect(k.lab.run(k.flags("kconfig", "explain", "--json", "VIRTIO_FS")...), 0)
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list) != 1 || len(list[0].Path.Settings) < 2 {
		t.Errorf("%v: %s", err, r.stdout)
	}
}

// at is the place, from an entry of a Kconfig file on, of the first line with text.
func at(t *testing.T, source, file, entry, text string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(source, file))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	begin := slices.Index(lines, entry)
	if begin < 0 {
		t.Fatalf("%s has no %s", file, entry)
	}
	for i, line := range lines[begin:] {
		if strings.Contains(line, text) {
			return fmt.Sprintf("%s:%d", file, begin+i+1)
		}
	}
	t.Fatalf("%s: nothing like %q follows %s", file, text, entry)
	return ""
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A small .config is one word, and the profiles are in it.
func TestKconfigNew(t *testing.T) {
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	k := &kernel{source: source, build: filepath.Join(t.TempDir(), "build"), lab: newLab(t, source)}
	config := filepath.Join(k.build, ".config")
	k.lab.expect(k.lab.run(k.flags("kconfig", "new")...), 0)
	k.lab.expect(k.lab.run(k.flags("kconfig", "check")...), 0)
	before, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CONFIG_64BIT=y\n", "CONFIG_OVERLAY_FS=y\n", "# CONFIG_EXT4_FS is not set\n"} {
		if !strings.Contains(string(before), want) {
			t.Errorf("no %q", want)
		}
	}
	r := k.lab.expect(k.lab.run(k.flags("kconfig", "new")...), statusFailed)
	if !strings.Contains(r.stderr, "there is "+config+" already\nhint: --force replaces it") {
		t.Error(r.stderr)
	}
	// What can't be had leaves it as it is.
	k.lab.expect(k.lab.run(k.flags("kconfig", "new", "--force", "--require=NUMA=y", "--require=SMP=n")...), statusFailed)
	if now, err := os.ReadFile(config); err != nil || !bytes.Equal(now, before) {
		t.Errorf(".config has changed: %v", err)
	}
	for profiles, want := range map[string]string{
		"debug,kasan,lockdep,bpf,kunit,tracing": "GDB_SCRIPTS KASAN_VMALLOC PROVE_LOCKING BPF_JIT KUNIT_DEBUGFS FUNCTION_GRAPH_TRACER",
		"kcsan":                                 "KCSAN SMP",
	} {
		k.lab.expect(k.lab.run(k.flags("kconfig", "new", "--force", "--profile", profiles)...), 0)
		now, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		for _, symbol := range strings.Fields(want) {
			if !strings.Contains(string(now), "CONFIG_"+symbol+"=y\n") {
				t.Errorf("%s: no %s", profiles, symbol)
			}
		}
	}
	old, err := os.ReadFile(config + ".old")
	if err != nil || !strings.HasPrefix(string(old), "#") {
		t.Errorf("the previous one isn't kept: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(k.build, ".run-kernel/new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
