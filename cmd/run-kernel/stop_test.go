// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/internal/trust"
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

// A guest may take a minute to power itself off. Who has asked for that need not wait.
func TestStopEndsWithASignal(t *testing.T) {
	t.Parallel()
	tree := fakeKernelTree(t)
	s, err := control.Listen(&trust.Policy{}, control.Address{Build: tree}, "boot", func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	asked, off := make(chan struct{}), make(chan struct{})
	defer close(off)
	s.SetGuest(&control.Guest{Client: fakeAgent(t, ""), Image: "/image", PowerOff: func(_, _ time.Duration) bool {
		close(asked)
		<-off
		return true
	}})
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- Execute(ctx, Env{Args: []string{"stop"}, Stdin: null, Stdout: null, Stderr: null, Environ: os.Environ(), Dir: tree})
	}()
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Fatal("the guest isn't asked")
	}
	cancel(proc.SignalError(syscall.SIGTERM))
	select {
	case status := <-ended:
		if want := 128 + int(syscall.SIGTERM); status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}
