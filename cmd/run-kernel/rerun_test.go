// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A change of what only the command reads runs it again, in the guest that runs, which
// sees the change.
func TestWatchRerun(t *testing.T) {
	k := testKernel(t)
	inTree, err := os.MkdirTemp(filepath.Join(k.source, "tools/testing"), "run-kernel-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(inTree)
	outside := t.TempDir()
	script := func(dir, text string) {
		t.Helper()
		path := filepath.Join(dir, "check.sh")
		// As editors do it.
		if err := os.WriteFile(path+"~", []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+"~", path); err != nil {
			t.Fatal(err)
		}
	}
	script(inTree, "#!/bin/sh\necho first of the tree\n")
	script(outside, "#!/bin/sh\necho first outside\n")
	s := k.lab.start(k.flags("watch", "--rerun", inTree, "--rerun", outside, "--exec", inTree+"/check.sh; "+outside+"/check.sh; cat /proc/sys/kernel/random/boot_id")...)
	s.wait("first of the tree\nfirst outside\n")
	s.wait("waiting for changes")
	before := strings.Count(s.output.String(), "build  ")
	for _, word := range []string{"second", "third"} {
		script(inTree, "#!/bin/sh\necho "+word+" of the tree\n")
		s.wait(word + " of the tree\n")
		s.wait("waiting for changes")
		script(outside, "#!/bin/sh\necho "+word+" outside\n")
		s.wait(word + " outside\n")
		s.wait("waiting for changes")
	}
	// It doesn't wait for a command that goes on.
	script(outside, "#!/bin/sh\necho sleeps\nexec sleep infinity\n")
	s.wait("sleeps\n")
	script(outside, "#!/bin/sh\necho woke\n")
	s.wait("woke\n")
	s.wait("waiting for changes")
	if n := strings.Count(s.output.String(), "build  "); n != before {
		t.Errorf("%d builds, and %d before", n, before)
	}
	if n := strings.Count(s.output.String(), "the guest answers"); n != 1 {
		t.Errorf("%d guests were booted", n)
	}
	if status, _ := s.end(syscall.SIGINT); status != 130 {
		t.Errorf("status %d", status)
	}
	file := filepath.Join(outside, "check.sh")
	r := k.lab.expect(k.lab.run(k.flags("watch", "--rerun", file, "--exec", "true")...), statusFailed)
	if !strings.Contains(r.stderr, "hint: a directory is shared with the guest: --rerun "+outside) {
		t.Error(r.stderr)
	}
	r = k.lab.expect(k.lab.run(k.flags("watch", "--rerun", file+".none", "--exec", "true")...), statusFailed)
	if !strings.Contains(r.stderr, "no such file") {
		t.Error(r.stderr)
	}
}
