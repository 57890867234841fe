// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"path/filepath"
	"testing"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kbuild/kbuildtest"
)

// The kernel's own files are never the command's alone.
func TestRerunOfTheTree(t *testing.T) {
	k := kbuildtest.New(t)
	tree, err := kbuild.Find(kbuild.Options{Dir: k.Dir, Arch: "x86"})
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Watch.Exec = "true"
	s := &Session{Options: Options{Config: &c}, Kernel: &prepare.Kernel{Tree: tree, Config: &c}}
	for path, ok := range map[string]bool{k.Dir: false, filepath.Dir(k.Dir): false, filepath.Join(k.Dir, "scripts"): true, t.TempDir(): true} {
		c.Watch.Rerun = []string{path}
		if _, err := s.commandFiles(); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
}
