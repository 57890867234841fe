// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Args[0] == loadName {
		burn()
	}
	os.Exit(m.Run())
}

// fake is a run-kernel that boots nothing: after more it runs its last argument, the
// command. While a command sleeps it has a child that looks like qemu.
func fake(t *testing.T, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run-kernel")
	script := `#!/bin/bash
for command; do :; done
trap 'kill $qemu; exit 143' TERM
` + more + `
if [[ $command == *sleep* ]]; then
	trap '$before_end; exit ${status:-103}' CHLD
	(exec -a qemu-system-none sleep 1000 >/dev/null 2>&1) &
	qemu=$!
	wait
	exit 103
fi
exec sh -c "$command"
`
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func newSoak(t *testing.T, more string) (s *soak, out *bytes.Buffer) {
	t.Helper()
	out = new(bytes.Buffer)
	end := time.Minute
	if more != "" {
		end = time.Second // what isn't over then never is
	}
	return &soak{runKernel: fake(t, more), tree: t.TempDir(), limit: time.Minute, end: end, out: out, random: rand.New(rand.NewPCG(1, 0))}, out
}

func TestBoots(t *testing.T) {
	for _, test := range []struct{ name, more, want string }{
		{"all is well", "", `(?s)boot, start to end +1 +0 .*boot, start to end, busy +1 +0 `},
		{"wrong output", "echo more", `the command's output is "more\\nsoak-\d+-1", not "soak-\d+-1"`},
		{"wrong status", `sh -c "$command"; echo its last words >&2; exit 7`, `(?s)exit status 7, not 0.*its last words`},
		{"a file", `echo >"$TMPDIR/file"`, `left behind: file /.*/1/TMPDIR/file\n`},
		{"an orphan", `sleep 1000 >/dev/null 2>&1 &`, `left behind: process \d+: sleep 1000`},
		{"one with another environment", `env -i sleep 1001 >/dev/null 2>&1 &`, `left behind: process \d+: sleep 1001`},
		{"no end", `echo "$command"; exec sleep 1000`, `no end within 1s`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, out := newSoak(t, test.more)
			s.boots = 2
			if test.name == "no end" {
				s.limit = time.Second
			}
			if err := s.run(context.Background()); (err == nil) != (test.more == "") {
				t.Errorf("error %v", err)
			}
			if !regexp.MustCompile(test.want).MatchString(out.String()) {
				t.Errorf("no %q in\n%s", test.want, out)
			}
			if left := mine(s); len(left) > 0 {
				t.Errorf("it hasn't cleared up: %v", left)
			}
		})
	}
}

func TestKills(t *testing.T) {
	for _, test := range []struct{ name, victim, more, want string }{
		{"qemu", "qemu", "", `kill -9 of qemu, until nothing is left +1 +0 `},
		{"wrong status", "qemu", `status=7`, `exit status 7, not 103`},
		{"survives it", "qemu", `before_end='sleep 2'`, `all ended \d\.\d\d s after the kill, not within 1s`},
		{"an orphan", "qemu", `sleep 1002 >/dev/null 2>&1 &`, `left behind: process \d+: sleep 1002`},
		{"ends by itself", "virtiofsd", `exit 103`, `run-kernel ended before virtiofsd was killed`},
		{"no such process", "virtiofsd", "", `no virtiofsd came up within 1s`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, out := newSoak(t, test.more)
			s.kills, s.victims = 1, []string{test.victim}
			if test.name == "no such process" {
				s.limit = time.Second
			}
			if err := s.run(context.Background()); (err == nil) != (test.name == "qemu") {
				t.Errorf("error %v", err)
			}
			if !regexp.MustCompile(test.want).MatchString(out.String()) {
				t.Errorf("no %q in\n%s", test.want, out)
			}
			if left := mine(s); len(left) > 0 {
				t.Errorf("it hasn't cleared up: %v", left)
			}
		})
	}
}

// mine are the processes that still come from a soak.
func mine(s *soak) map[int]string {
	found := make(map[int]string)
	for _, r := range s.rounds {
		for pid, cmdline := range r.processes() {
			found[pid] = cmdline
		}
	}
	return found
}

// What is under way when it is interrupted is ended, and doesn't count.
func TestInterrupt(t *testing.T) {
	s, out := newSoak(t, "")
	s.kills, s.victims = 1, []string{"virtiofsd"}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	began := time.Now()
	if err := s.run(ctx); err != nil || len(s.rounds) > 0 {
		t.Errorf("%v, %s", err, out)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestVictims(t *testing.T) {
	s := &soak{victims: []string{"qemu", "init"}}
	if err := s.run(context.Background()); fmt.Sprint(err) != `-victims: "init" is none of run-kernel, qemu and virtiofsd` {
		t.Error(err)
	}
}
