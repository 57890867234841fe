// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// streamSize is more than any buffer on the way has.
const streamSize = 64 << 20

// Data goes to a command in the guest and comes back unharmed, both ways at once.
func TestExecStreams(t *testing.T) {
	k := bootKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "--", "echo up; exec sleep infinity")...)
	s.wait("up\n")
	cmd := k.lab.command(k.flags("exec", "--", "cat")...)
	var stderr bytes.Buffer
	sent, got := sha256.New(), sha256.New()
	var count counter
	cmd.Stdin = io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), streamSize), sent)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(got, &count), &stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	t.Logf("%d MiB there and back in %s", streamSize>>20, time.Since(began).Round(time.Millisecond))
	if count != streamSize || !same(sent, got) {
		t.Errorf("of %d bytes %d came back, or others", streamSize, count)
	}
	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	s.awaitEnd()
}

func same(a, b hash.Hash) bool { return bytes.Equal(a.Sum(nil), b.Sum(nil)) }

// A counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// A crash is one to who runs a command from another terminal, too.
func TestExecCrash(t *testing.T) {
	k := bootKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "--", "echo up; exec sleep infinity")...)
	s.wait("up\n")
	r := k.lab.expect(k.lab.run(k.flags("exec", "--", "echo c >/proc/sysrq-trigger")...), statusCrash)
	if !strings.Contains(r.stderr, "the guest's kernel crashed: Kernel panic - not syncing: sysrq triggered crash") {
		t.Errorf("exec says %s", r.stderr)
	}
	if status := s.awaitEnd(); status != statusCrash {
		t.Errorf("status %d", status)
	}
}

// Commands and shells can be another user's, those of other terminals as well.
func TestAsUser(t *testing.T) {
	k := bootKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "--user=daemon", "--", "id -un; id -un >/dev/stderr; exec sleep infinity")...)
	s.wait("daemon\ndaemon\n")
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{nil, "root\n"},
		{[]string{"--user=daemon"}, "daemon\n"},
		{[]string{"--user=1"}, "daemon\n"},
	} {
		r := k.lab.expect(k.lab.run(slices.Concat(k.flags("exec"), c.flags, []string{"--", "id", "-un"})...), 0)
		if r.stdout != c.want {
			t.Errorf("%s: %q", c.flags, r.stdout)
		}
	}
	r := k.lab.expect(k.lab.run(k.flags("exec", "--user=nosuchone", "--", "true")...), statusFailed)
	if !strings.Contains(r.stderr, `the guest has no user "nosuchone"`) || !strings.Contains(r.stderr, "hint: ") {
		t.Error(r.stderr)
	}
	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	s.awaitEnd()
}
