// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/internal/trust"
)

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
