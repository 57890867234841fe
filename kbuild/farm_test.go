// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/internal/event"
)

func TestJobs(t *testing.T) {
	dir := physical(t)
	write(t, dir, map[string]string{"distcc": `#!/bin/sh
[ "$1" = -j ] && [ "$DISTCC_HOSTS" != none ] && echo "$DISTCC_HOSTS"`})
	t.Setenv("PATH", dir)
	n := runtime.NumCPU()
	for _, c := range []struct {
		cc, hosts string
		jobs      int
		want      int
	}{
		{"", "400", 0, n},
		{"gcc", "400", 0, n},
		{"distcc gcc", "400", 0, 400},
		{"ccache distcc gcc", "400", 7, 7},
		{"distcc gcc", "1", 0, max(n, 1)},
		{"distcc gcc", "none", 0, n},
		{"icecc gcc", "400", 0, n},
		{dir + "/distcc gcc", "400", 0, 400},
		{"/none/distcc gcc", "400", 0, n},
	} {
		t.Setenv("DISTCC_HOSTS", c.hosts)
		if got := (&Tree{options: Options{CC: c.cc, Jobs: c.jobs}}).Jobs(); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// A farm that doesn't answer makes builds slower, which is said once.
func TestNotDistributed(t *testing.T) {
	output := strings.Repeat("  CC      init/main.o\ndistcc[12] (dcc_build_somewhere) Warning: failed to distribute, running locally instead\n", 3) + "  CC      init/version.o\n"
	r, _, err := play(t, Options{}, output, "echo > vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	if notices := of[event.Notice](r); len(notices) != 1 || !strings.Contains(notices[0].Text, "3 of 4 objects were compiled here") {
		t.Errorf("told: %+v", notices)
	}
	_, _, err = play(t, Options{}, "distcc[12] (dcc_build_somewhere) ERROR: failed to distribute and fallbacks are disabled\n", "exit 2")
	if e := (*BuildError)(nil); !errors.As(err, &e) || !strings.Contains(e.Hint(), "distcc's hosts") {
		t.Errorf("it failed with %v", err)
	}
}

// Questions of what the compiler can do aren't sent away.
func TestConfigureCompilesHere(t *testing.T) {
	src := source(t, physical(t))
	tree, err := Find(Options{Dir: src})
	if err != nil {
		t.Fatal(err)
	}
	tools(t, `cd "$2"; echo "$DISTCC_HOSTS $ICECC" >asked`)
	t.Setenv("DISTCC_HOSTS", "far")
	if err := tree.Configure(t.Context(), "olddefconfig", filepath.Join(src, ".config")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(src, "asked")); err != nil || string(data) != "localhost no\n" {
		t.Errorf("%q %v", data, err)
	}
}
