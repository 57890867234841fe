// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The newest kernel isn't that of ./test, since another build takes minutes. Its make may
// print steps that short builds don't know, and its drivers may treat a guest's devices in
// another way: all that is seen with it only.
func TestNewestKernel(t *testing.T) {
	source := os.Getenv("RUN_KERNEL_TEST_NEWEST")
	if source == "" {
		t.Skip("RUN_KERNEL_TEST_NEWEST isn't set: the source tree of the newest kernel")
	}
	k := &kernel{
		source: source, build: filepath.Join(need(t, "RUN_KERNEL_TEST_CACHE", "cache"), "build-newest-"+filepath.Base(source)),
		require: "MODULES=y MODULE_UNLOAD=y BLK_DEV_RAM=m PRINTK_TIME=y KALLSYMS=y BUG=y NET=y NETDEVICES=y VIRTIO_BLK=y " + ninePOptions,
	}
	k.give(t)
	checkConsole(t, k)

	r := k.lab.expect(k.boot("--", "echo c >/proc/sysrq-trigger"), statusCrash)
	line := fmt.Sprintf("> %d | ", k.lineOf("drivers/tty/sysrq.c", `panic("sysrq triggered crash`))
	if !strings.Contains(r.stderr, line) {
		t.Errorf("%q isn't in %s", line, r.stderr)
	}

	main := newEdit(t, filepath.Join(k.source, "init/main.c"))
	brd := newEdit(t, filepath.Join(k.source, "drivers/block/brd.c"))
	s := k.lab.start(k.flags("watch", "-v", "--exec", "PATH=$PATH:/sbin:/usr/sbin; modprobe brd; dmesg | grep MARK; echo done")...)
	s.wait("done")
	s.wait("waiting for changes")
	main.mark("one")
	s.wait("MARK one")
	s.wait("waiting for changes")
	s.wait("the full make had nothing to do")
	brd.prints(brdAnchor, "two")
	s.wait("swap   brd")
	s.wait("MARK two")
	s.wait("waiting for changes")
	if strings.Contains(s.output.String(), walks) {
		t.Errorf("a build wasn't short: %s", s.output)
	}
	if status, _ := s.end(syscall.SIGINT); status != 130 {
		t.Errorf("status %d", status)
	}
}

// walks is what a build that isn't short is told with.
const walks = "make walks the whole tree"

// stamped is a line with the kernel's time.
var stamped = regexp.MustCompile(`^\[ *\d+\.\d+\] `)

// checkConsole finds each line of the console in the kernel's own log: a guest that prints
// faster than its console is read may lose characters.
func checkConsole(t *testing.T, k *kernel) {
	t.Helper()
	r := k.lab.expect(k.boot("--", "PATH=$PATH:/sbin:/usr/sbin dmesg"), 0)
	known := make(map[string]bool)
	for line := range strings.Lines(r.stdout) {
		known[strings.TrimSpace(line)] = true
	}
	console, err := os.ReadFile(filepath.Join(k.build, ".run-kernel/console.log"))
	if err != nil {
		t.Fatal(err)
	}
	whole, damaged := 0, []string(nil) // since the last whole one
	for line := range strings.Lines(string(console)) {
		line = strings.TrimSpace(line)
		switch {
		case known[line]:
			whole++
			for _, d := range damaged {
				t.Errorf("the console has the damaged line %q", d)
			}
			damaged = nil
		case stamped.MatchString(line):
			damaged = append(damaged, line) // or it was printed after dmesg
		}
	}
	const atLeast = 100 // it is quiet otherwise, and nothing is compared
	if whole < atLeast {
		t.Errorf("the console has only %d lines of the kernel's log", whole)
	}
}
