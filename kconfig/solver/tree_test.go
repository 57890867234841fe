// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/tree"
)

// kernels are the trees that ./test prepares.
func kernels(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, variable := range []string{"RUN_KERNEL_TEST_TREE", "RUN_KERNEL_TEST_TREE2"} {
		if dir := os.Getenv(variable); dir != "" {
			// Its like is there, which no other test edits meanwhile.
			like := filepath.Join(os.Getenv("RUN_KERNEL_TEST_KCONFIG_TREES"), filepath.Base(dir))
			if _, err := os.Stat(like); err == nil && filepath.IsAbs(like) {
				dir = like
			}
			list = append(list, dir)
		} else if os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "" {
			t.Fatalf("%s isn't set: ./test should have prepared a kernel tree", variable)
		}
	}
	if len(list) == 0 {
		t.Skip("no kernel tree; ./test prepares two")
	}
	return list
}

func load(t *testing.T, dir, arch string) *model.Model {
	t.Helper()
	cache := os.Getenv("RUN_KERNEL_TEST_CACHE")
	if cache != "" {
		cache = filepath.Join(cache, "probes")
	}
	m, err := tree.Load(t.Context(), tree.Options{
		Srctree: dir, Vars: map[string]string{"ARCH": arch}, Cache: cache,
		Environ: func(ctx context.Context) ([]string, error) {
			// Its name ends in config, so that the Makefile exports what it does for conf.
			build := t.TempDir()
			cmd := exec.CommandContext(ctx, "make", "-s", "-C", dir, "O="+build, "ARCH="+arch, "--eval=$(if $(sub_make_done),$(eval environconfig: ; @env -0 >"+build+"/environ))", "environconfig")
			if out, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%w: %s", err, out)
			}
			data, err := os.ReadFile(filepath.Join(build, "environ"))
			return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// start is a configuration of a mode of conf; what preset says holds in it.
func start(t *testing.T, m *model.Model, mode tree.Mode, preset string) *kconfig.File {
	t.Helper()
	all := filepath.Join(t.TempDir(), "all.config")
	if err := os.WriteFile(all, []byte(preset), 0o644); err != nil {
		t.Fatal(err)
	}
	data, _, err := tree.Conf(m, tree.Request{
		Mode: mode, Dirs: []string{"/"},
		Getenv: func(name string) (string, bool) { return all, name == "KCONFIG_ALLCONFIG" },
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := kconfig.Parse(".config", data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// extra are the settings that nobody asked for.
func extra(s *kconfig.Solution) []string {
	var list []string
	for _, set := range s.Settings {
		if set.For != "" {
			list = append(list, set.Symbol+"="+set.Value+" for "+set.For)
		}
	}
	return list
}

func refused(s *kconfig.Solution) string {
	var b strings.Builder
	for _, r := range s.Refused {
		if !r.Optional {
			b.WriteString(r.Proof.String() + "\n")
		}
	}
	return b.String()
}

// All that guests need can be had in real trees, from little, and takes few
// options more.
func TestProfiles(t *testing.T) {
	for _, dir := range kernels(t) {
		for _, arch := range []string{"x86", "arm64", "riscv"} {
			m := load(t, dir, arch)
			// A kernel has one of these sanitizers, and riscv none for races.
			without := "kcsan"
			if arch == "arm64" {
				without = "kasan"
			}
			names := slices.DeleteFunc(kconfig.GroupNames(), func(name string) bool { return name == without })
			groups, err := kconfig.Groups(arch, map[string]string{"smp": "2"}, names...)
			if err != nil {
				t.Fatal(err)
			}
			var lists [][]kconfig.Requirement
			for _, g := range groups {
				lists = append(lists, g.Requirements)
			}
			all, err := kconfig.Merge(lists...)
			if err != nil {
				t.Fatal(err)
			}
			for _, mode := range []tree.Mode{tree.Allnoconfig, tree.Alldefconfig} {
				preset := ""
				if arch == "x86" {
					preset = "CONFIG_64BIT=y\n"
				}
				s, err := Solve(m, start(t, m, mode, preset), all)
				if err != nil {
					t.Fatal(err)
				}
				more := extra(s)
				t.Logf("%s, %s, %s: %d set, %d of them extra: %v", dir, arch, mode, len(s.Settings), len(more), more)
				if proof := refused(s); proof != "" || len(more) > 6 {
					t.Errorf("refused: %s", proof)
				}
			}
		}
	}
}

// What real trees make hard. The bounds are the settings beside what is asked for.
func TestHard(t *testing.T) {
	for _, dir := range kernels(t) {
		m := load(t, dir, "x86")
		f := start(t, m, tree.Allnoconfig, "CONFIG_64BIT=y\n")
		for _, c := range []struct {
			require string
			extra   int
			proof   []string
		}{
			{require: "VIRTIO_BLK=y", extra: 4},
			{require: "FSNOTIFY=y", extra: 1},
			{require: "KASAN=y", extra: 1},
			{require: "BTRFS_FS=m", extra: 2},
			{require: "NR_CPUS>=8000", extra: 4},
			{require: "NR_CPUS>=99999", proof: []string{"and nowhere that much"}},
			{require: "HZ=300", extra: 1},
			{require: "HZ=300 HZ_250=y", proof: []string{"HZ=300: has its default from HZ_300=y", "HZ_300=y: it is in one choice with HZ_250"}},
			{require: "FLATMEM_MANUAL=y NUMA=y 64BIT=y", proof: []string{"FLATMEM_MANUAL=y: depends on ", "ARCH_FLATMEM_ENABLE=y: has its default from NUMA=n", "NUMA=n: it must be y, needed by require"}},
			{require: "SERIAL_AMBA_PL011=y", proof: []string{"drivers/tty/serial/Kconfig:50: SERIAL_AMBA_PL011=y: depends on ARM_AMBA=y", "no Kconfig file that belongs to this architecture defines it"}},
			{require: "HZ_1000=y HZ_250=y", proof: []string{"HZ_1000=y: it is in one choice with HZ_250"}},
			{require: "VIRTIO_BLK=y BLOCK=n", proof: []string{"VIRTIO_BLK=y: depends on ", "BLOCK=y: it must be n, needed by require (asked for)"}},
			{require: "CC_IS_CLANG=y", proof: []string{"init/Kconfig:", "something else than the n that the command ", "= Clang\" came to"}},
		} {
			s, err := Solve(m, f, requirements(t, c.require))
			if err != nil {
				t.Fatal(err)
			}
			more, proof := extra(s), refused(s)
			if len(more) > c.extra && c.proof == nil {
				t.Errorf("%s, %s: %v", dir, c.require, more)
			}
			if (proof == "") != (c.proof == nil) || slices.ContainsFunc(c.proof, func(text string) bool { return !strings.Contains(proof, text) }) {
				t.Errorf("%s, %s: refused:\n%swant %q", dir, c.require, proof, c.proof)
			}
		}
	}
}

// What one configuration has can't be proved to be impossible in another, in which
// the user hasn't settled anything.
func TestNoFalseProofs(t *testing.T) {
	const cases = 40
	random := rand.New(rand.NewPCG(1, 2))
	for _, dir := range kernels(t) {
		m := load(t, dir, "x86")
		base := start(t, m, tree.Alldefconfig, "CONFIG_64BIT=y\n")
		have := Evaluate(m, base)
		want := Evaluate(m, start(t, m, tree.Allmodconfig, "CONFIG_64BIT=y\n"))
		for n := 0; n < cases; {
			sym := m.Symbols[random.IntN(len(m.Symbols))]
			value, ok := want.Value(sym)
			old, _ := have.Value(sym)
			if !ok || value == old || value == "n" && old == "" || sym.Name == "" {
				continue
			}
			n++
			require := sym.Name + "=" + value
			s, err := Solve(m, base, requirements(t, require))
			if err != nil {
				t.Fatal(err)
			}
			if proof := refused(s); proof != "" {
				t.Errorf("%s, %s: refused:\n%s", dir, require, proof)
			}
		}
	}
}
