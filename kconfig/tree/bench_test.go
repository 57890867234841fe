// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"os"
	"testing"

	"github.com/metaspace/run-kernel/kconfig/model"
)

// BenchmarkLoad is parsing a tree with known probes, and evaluating it.
func BenchmarkLoad(b *testing.B) {
	dir := os.Getenv("RUN_KERNEL_TEST_TREE2")
	if dir == "" {
		b.Skip("no kernel tree")
	}
	options := Options{Srctree: dir, Objtree: b.TempDir(), Vars: map[string]string{"ARCH": "x86"}, Cache: b.TempDir()}
	if _, err := Load(b.Context(), options); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		m, err := Load(b.Context(), options)
		if err != nil {
			b.Fatal(err)
		}
		s := m.NewState()
		s.SetAll(model.AllDefault)
		s.Config()
	}
}
