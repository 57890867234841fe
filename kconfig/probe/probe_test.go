// SPDX-License-Identifier: GPL-3.0-only

package probe

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// once runs a command with a new runner, and tells whether it was known.
func once(t *testing.T, dir string, env []string, command string) (out syntax.Output, known bool) {
	t.Helper()
	r, err := New(t.Context(), Options{Dir: dir, Env: env, Tools: []string{"tool"}, Scripts: filepath.Join(dir, "scripts")})
	if err != nil {
		t.Fatal(err)
	}
	first, err := r.Shell(command)
	if err != nil {
		t.Fatal(err)
	}
	if out, err = r.Output(command); err != nil {
		t.Fatal(err)
	}
	r.Close()
	return out, first.Stdout != syntax.Pending
}

func TestOutputsAreKept(t *testing.T) {
	dir := t.TempDir()
	bin := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tool, script := filepath.Join(bin, "tool"), filepath.Join(dir, "scripts", "a.sh")
	write(tool, "#!/bin/sh\necho one\n")
	write(script, "")
	env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "A=1"}
	command := "tool; echo oops >&2; touch made; pwd | grep -c probe"
	out, known := once(t, dir, env, command)
	if want := (syntax.Output{Stdout: "one\n1\n", Stderr: "oops\n"}); out != want || known {
		t.Errorf("got %+v, known: %v", out, known)
	}
	if again, known := once(t, dir, env, command); again != out || !known {
		t.Errorf("again: got %+v, known: %v", again, known)
	}
	// Another build directory is none of a command's business, unless it says so.
	moved := append(env, "objtree=/elsewhere")
	if _, known := once(t, dir, moved, command); !known {
		t.Error("in another build directory, the output wasn't known")
	}
	speaking := filepath.Join(dir, "scripts", "speaking.sh")
	write(speaking, "#!/bin/sh\necho $objtree\n")
	for _, c := range []string{"echo $objtree", speaking} {
		once(t, dir, env, c)
		if out, known := once(t, dir, moved, c); known || out.Stdout != "/elsewhere\n" {
			t.Errorf("%s in another build directory: %q, known: %v", c, out.Stdout, known)
		}
	}
	for _, change := range []struct {
		what string
		do   func()
	}{
		{"the environment", func() { env = append(env, "A=2") }},
		{"a tool", func() { write(tool, "#!/bin/sh\necho two\n") }},
		{"a script", func() { write(script, "#") }},
		{"PATH", func() { env[0] += ":/nowhere" }},
	} {
		change.do()
		if _, known := once(t, dir, env, command); known {
			t.Errorf("%s changed, and the output was still known", change.what)
		}
	}
	// What a command names by its path counts, too.
	other := filepath.Join(t.TempDir(), "other")
	write(other, "#!/bin/sh\necho a\n")
	once(t, dir, env, other)
	write(other, "#!/bin/sh\necho bb\n")
	if out, known := once(t, dir, env, other); known || out.Stdout != "bb\n" {
		t.Errorf("a program changed: got %q, known: %v", out.Stdout, known)
	}
	// A damaged file is as good as none.
	files, _ := filepath.Glob(filepath.Join(dir, "probes-*.json"))
	for _, path := range files {
		write(path, "{")
	}
	if _, known := once(t, dir, env, command); known {
		t.Error("known from a damaged file")
	}
}

// TestOutputsCannotBeKept has a home that can't be written, or is full.
func TestOutputsCannotBeKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out, known := once(t, filepath.Join(file, "dir"), os.Environ(), "echo one"); out.Stdout != "one\n" || known {
			t.Errorf("got %+v, known: %v", out, known)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	r, err := New(ctx, Options{Env: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Shell("sleep 1000"); err != nil {
		t.Fatal(err)
	}
	cancel(stopped)
	if err := r.Wait(); !errors.Is(err, stopped) || !strings.Contains(err.Error(), "sleep 1000") {
		t.Errorf("got %v", err)
	}
}
