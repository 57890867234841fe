// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot/boottest"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/internal/trust"
)

// fakeAgent is a connection to an agent whose only command writes a text and succeeds.
func fakeAgent(t *testing.T, text string) *ssh.Client {
	t.Helper()
	client := boottest.DialAgent(t, nil, func(c ssh.NewChannel) {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			_ = r.Reply(true, nil)
			if r.Type == "exec" {
				_, _ = io.WriteString(channel, text)
				_, _ = channel.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
				_ = channel.Close()
			}
		}
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Whoever follows also waits for the end of a guest whose agent has gone first.
func TestFollowWhileAGuestEnds(t *testing.T) {
	t.Parallel()
	tree := fakeKernelTree(t)
	s, err := control.Listen(&trust.Policy{}, control.Address{Build: tree}, "watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first := fakeAgent(t, "first\n")
	_ = first.Close()
	s.SetGuest(&control.Guest{Client: first, Image: "/first"})

	path := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	printed := func() string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	ended := make(chan int, 1)
	go func() {
		ended <- Execute(t.Context(), Env{Args: []string{"exec", "--follow", "--", "uname"}, Stdin: null, Stdout: out, Stderr: out, Environ: os.Environ(), Dir: tree})
	}()
	const notice = "the guest has gone; waiting for the next one"
	for began := time.Now(); !strings.Contains(printed(), notice); time.Sleep(10 * time.Millisecond) {
		select {
		case status := <-ended:
			t.Fatalf("it ended, status %d: %s", status, printed())
		default:
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("it doesn't wait: %s", printed())
		}
	}
	s.SetGuest(nil)
	s.SetGuest(&control.Guest{Client: fakeAgent(t, "second\n"), Image: "/second"})
	if status := <-ended; status != 0 || !strings.HasSuffix(printed(), "second\n") || strings.Count(printed(), notice) != 1 {
		t.Errorf("status %d: %s", status, printed())
	}
}
