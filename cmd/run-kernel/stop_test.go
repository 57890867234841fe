// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A guest is asked to end, so that what runs in it can finish; one that doesn't
// is ended all the same.
func TestStop(t *testing.T) {
	k := bootKernel(t)
	for _, test := range []struct {
		name, command, said string
		before              func(qemu int)
	}{
		{"by itself", `mkfifo /tmp/fifo; trap 'echo ending >/mnt/out/end; exit' TERM; echo up; read x <>/tmp/fifo`, "the guest has powered itself off", nil},
		{"a shell", `mkfifo /tmp/fifo; echo up; exec bash -i <>/tmp/fifo`, "the guest has powered itself off", nil},
		{"hanging", `echo up; sleep 1000`, "the guest didn't power itself off, and was ended", func(qemu int) {
			answers := func(want string) {
				for deadline := time.Now().Add(patience); ; {
					r := k.lab.expect(k.lab.run(k.flags("status")...), 0)
					if strings.Contains(r.stdout, "guest: "+want) {
						return
					}
					// On a busy machine, a guest that runs doesn't answer at once.
					if time.Now().After(deadline) {
						t.Fatalf("the status is %s", r.stdout)
					}
				}
			}
			answers("answers, on ")
			if err := syscall.Kill(qemu, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			answers("hasn't answered for ")
			if err := syscall.Kill(qemu, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			answers("answers, on ")
			if err := syscall.Kill(qemu, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			k.lab.t = t
			out := t.TempDir()
			s := k.lab.start(k.flags("boot", "--no-build", "--boot-timeout=0", "--share", "out:"+out, "--", test.command)...)
			s.wait("up\n")
			if test.before != nil {
				test.before(k.lab.awaitProcess(`^\S*qemu-system-x86_64 `))
			}
			r := k.lab.expect(k.lab.run(k.flags("stop")...), 0)
			if !strings.Contains(r.stderr, test.said) {
				t.Errorf("stop says %q", r.stderr)
			}
			if status := s.awaitEnd(); status != statusFailed {
				t.Errorf("status %d", status)
			}
			s.wait("ended by run-kernel stop")
			if _, err := os.Stat(filepath.Join(out, "end")); (err == nil) != strings.Contains(test.command, "/end") {
				t.Errorf("what its command does in the end: %v", err)
			}
			if left := k.lab.processes(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
