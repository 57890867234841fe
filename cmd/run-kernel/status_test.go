// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/internal/trust"
)

// fakeKernelTree makes a tree of empty files.
func fakeKernelTree(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	for name, text := range fakeTree {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// One that is stopped hides no other, and is named.
func TestStatusBesideAStoppedOne(t *testing.T) {
	t.Parallel()
	tree := fakeKernelTree(t)
	for _, name := range []string{"", "second"} {
		s, err := control.Listen(&trust.Policy{}, control.Address{Build: tree, Name: name}, "boot", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	// It has its address, its socket takes connections, and nobody reads them.
	private := t.TempDir()
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(private, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	lock := filepath.Join(tree, ".run-kernel/vm/first/lock")
	if err := os.MkdirAll(filepath.Dir(lock), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lock, []byte(socket+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}

	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	status := Execute(t.Context(), Env{Args: []string{"status"}, Stdin: null, Stdout: out, Stderr: out, Environ: os.Environ(), Dir: tree})
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if status != statusFailed || strings.Count(string(text), "run-kernel boot, process ") != 2 || !strings.Contains(string(text), "name: second\n") {
		t.Errorf("status %d: %s", status, text)
	}
	for _, want := range []string{fmt.Sprintf("from process %d", os.Getpid()), fmt.Sprintf("\nhint: if it is stopped, `kill -CONT %d`", os.Getpid())} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in: %s", want, text)
		}
	}
}
