// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/kconfig/model"
)

// TestTraps compares on Kconfig files that are made to be got wrong, each in a
// directory of testdata/traps with one or several .config, and on those of the
// kernel's own tests of conf.
func TestTraps(t *testing.T) {
	ours, err := filepath.Glob("testdata/traps/*")
	if err != nil || len(ours) == 0 {
		t.Fatalf("no traps: %v", err)
	}
	accepted := map[string]bool{}
	dialects := map[model.Dialect]bool{}
	for _, srctree := range trees(t) {
		t.Run(filepath.Base(srctree), func(t *testing.T) {
			program := build(t, srctree).conf
			d, err := model.DetectDialect(srctree)
			if err != nil {
				t.Fatal(err)
			}
			dialects[d] = true
			for _, directory := range append(ours, kernelTests(t, srctree)...) {
				t.Run(filepath.Base(directory), func(t *testing.T) {
					directory, err := filepath.Abs(directory)
					if err != nil {
						t.Fatal(err)
					}
					differ, refused := compareAll(t, program, d, directory, configs(t, directory)...)
					if differ != "" {
						t.Error(differ)
					}
					name := filepath.Base(directory)
					accepted[name] = accepted[name] || !refused
				})
			}
		})
	}
	for name, taken := range accepted {
		// Some are for the confs of one time only.
		if !taken && len(dialects) > 1 && slices.Contains(ours, filepath.Join("testdata/traps", name)) {
			t.Errorf("%s: no conf takes it, so that nothing was compared", name)
		}
	}
}

// configs are the .config files in a directory, and an empty one.
func configs(t *testing.T, directory string) [][]byte {
	t.Helper()
	list, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	found := [][]byte{nil}
	for _, f := range list {
		if !f.Type().IsRegular() || !strings.Contains(f.Name(), "config") || strings.HasPrefix(f.Name(), "Kconfig") {
			continue
		}
		config, err := os.ReadFile(filepath.Join(directory, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, config)
	}
	return found
}

// TestHugeConfig compares on a .config with lines of 10 MB.
func TestHugeConfig(t *testing.T) {
	srctree := trees(t)[0]
	program := build(t, srctree).conf
	d, err := model.DetectDialect(srctree)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 10<<20)
	config := "CONFIG_S=\"" + long + "\"\nCONFIG_" + long + "=y\n# CONFIG_" + long + " is not set\n" + long + "\nCONFIG_I=" + strings.Repeat("1", 10<<20) + "\nCONFIG_A=y\n"
	directory, err := filepath.Abs("testdata/traps/dotconfig")
	if err != nil {
		t.Fatal(err)
	}
	if differ, refused := compareAll(t, program, d, directory, []byte(config)); differ != "" || refused {
		t.Errorf("refused: %v; %.1000s", refused, differ)
	}
}
