// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
)

// A guest's modules are stale once their files are others than when it was booted.
func TestStale(t *testing.T) {
	tree := &kbuild.Tree{BuildDir: t.TempDir()}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(tree.BuildDir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("modules.order", "a-b.ko\nc.ko\n")
	write("a-b.ko", "1")
	write("c.ko", "1")
	g := &Guest{modules: tree.ModuleFiles()}
	if names := g.stale(tree.ModuleFiles()); len(names) > 0 {
		t.Errorf("before any build: %v", names)
	}
	write("a-b.ko", "22")
	write("modules.order", "a-b.ko\nc.ko\nd.ko\n")
	write("d.ko", "1")
	if names := g.stale(tree.ModuleFiles()); !slices.Equal(names, []string{"a_b", "d"}) {
		t.Errorf("after a build: %v", names)
	}
}

func TestSwapEvent(t *testing.T) {
	done := &boot.Swapped{Modules: []boot.SwappedModule{{Name: "a", Parameters: "x=1", Lost: []string{"y", "z"}}, {Name: "b"}}, Idle: []string{"c"}, Same: []string{"d"}}
	got := SwapEvent(done, errors.New("b is in use"), time.Second)
	want := event.ModulesSwapped{Modules: []string{"a x=1", "b"}, Lost: []string{"a.y", "a.z"}, Idle: []string{"c"}, Refused: "b is in use", Elapsed: time.Second}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := SwapEvent(nil, errors.New("no"), 0); got.Refused != "no" {
		t.Errorf("%+v", got)
	}
}
