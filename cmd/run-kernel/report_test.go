// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/internal/proc"
)

// A signal ends a report of what another program is still to write.
func TestReportEndsWithASignal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	path := filepath.Join(t.TempDir(), "stdout")
	stdout, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- Execute(ctx, Env{Args: []string{"report"}, Stdin: r, Stdout: stdout, Stderr: stdout, Environ: os.Environ(), Dir: t.TempDir()})
	}()
	const oops = "[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
	if _, err := io.WriteString(w, oops+"[    0.000000] Linux version 6.1.0\n"); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if text, _ := os.ReadFile(path); strings.Contains(string(text), "NULL pointer dereference") {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("the report isn't printed")
		}
	}
	cancel(proc.SignalError(syscall.SIGTERM))
	select {
	case status := <-ended:
		if want := 128 + int(syscall.SIGTERM); status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
}

// In a log that isn't text no report is found, which must not be taken for a good log.
func TestReportOfWhatIsNoText(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]struct{ head, hint string }{
		"console.gz": {"\x1f\x8b\x08\x00", "hint: gzip -dc console.gz | run-kernel report\n"}, "x.xz": {"\xfd7zXZ\x00\x00\x04", "hint: xz -dc x.xz |"},
		"x.zst": {"\x28\xb5\x2f\xfd", "hint: zstd -dc x.zst |"}, "my log.bz2": {"BZh91AY", "hint: bzip2 -dc 'my log.bz2' |"}, "utf16": {"\xff\xfe[\x00", "hint: iconv -f UTF-16 -t UTF-8 utf16 |"},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(want.head), 0o644); err != nil {
			t.Fatal(err)
		}
		stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		defer stderr.Close()
		status := Execute(t.Context(), Env{Args: []string{"report", name}, Stdin: stderr, Stdout: stderr, Stderr: stderr, Environ: os.Environ(), Dir: dir})
		text, err := os.ReadFile(stderr.Name())
		if err != nil {
			t.Fatal(err)
		}
		if status != statusFailed || !strings.Contains(string(text), want.hint) {
			t.Errorf("%s: status %d, %q", name, status, text)
		}
	}
}
