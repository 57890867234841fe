// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestReplaceOfAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Open for both, so that nobody waits for the other end.
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	done := make(chan error, 1)
	go func() {
		_, err := Replace(path, []byte("CONFIG_A=y\n"))
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it reads the pipe")
	}
	got := make([]byte, 64)
	n, err := pipe.Read(got)
	if err != nil || string(got[:n]) != "CONFIG_A=y\n" {
		t.Errorf("the pipe got %q, %v", got[:n], err)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("it isn't a pipe any more: %v", err)
	}
}
