// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/internal/event"
)

// selftestTree is a kernel tree with a build directory of the test's own.
func selftestTree(t *testing.T) *Tree {
	t.Helper()
	source := os.Getenv("RUN_KERNEL_TEST_TREE")
	if source == "" {
		t.Skip("RUN_KERNEL_TEST_TREE names no kernel tree")
	}
	tree, err := Find(Options{Dir: source, Output: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestSelftests(t *testing.T) {
	tree := selftestTree(t)
	o := SelftestOptions{Targets: []string{"size", "timers"}, Dir: t.TempDir()}
	list, err := tree.Selftests(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"size:get_size", "timers:posix_timers"} {
		if !slices.Contains(list, want) {
			t.Errorf("%s isn't in %q", want, list)
		}
		path := filepath.Join(o.Installed(), strings.ReplaceAll(want, ":", "/"))
		if st, err := os.Stat(path); err != nil || st.Mode()&0o111 == 0 {
			t.Errorf("%s: %v, %v", path, st, err)
		}
	}
	if _, err := os.Stat(filepath.Join(o.Installed(), "run_kselftest.sh")); err != nil {
		t.Error(err)
	}
	// The tests got the kernel's headers, and the source tree stayed as it was.
	if _, err := os.Stat(filepath.Join(o.Dir, "usr/include/linux/version.h")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(tree.Source, selftests, "size/get_size")); err == nil {
		t.Error("a test was built in the source tree")
	}

	// What doesn't compile is shown as a compiler's errors are.
	var errs []event.Diagnostic
	o.Targets, o.flags = []string{"size"}, []string{"CPPFLAGS=-Dstatic=?"}
	if err := os.RemoveAll(filepath.Join(o.Dir, "kselftest")); err != nil {
		t.Fatal(err)
	}
	o.Events = func(e event.Event) {
		if d, ok := e.(event.Diagnostic); ok && d.Severity == event.Error {
			errs = append(errs, d)
		}
	}
	_, err = tree.Selftests(t.Context(), o)
	if !errors.As(err, new(*BuildError)) || len(errs) == 0 || errs[0].File != "get_size.c" || errs[0].Line == 0 {
		t.Errorf("%v; %v", err, errs)
	}
}

func TestSelftestConfig(t *testing.T) {
	tree := selftestTree(t)
	if path, err := tree.SelftestConfig("net"); err != nil || path != filepath.Join(tree.Source, selftests, "net/config") {
		t.Error(path, err)
	}
	if path, err := tree.SelftestConfig("size"); err != nil || path != "" {
		t.Error(path, err)
	}
	for _, name := range []string{"", ".", "nothing", "../selftests/net", "/etc", "kselftest"} {
		if _, err := tree.SelftestConfig(name); !errors.As(err, new(*NoSelftestError)) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
