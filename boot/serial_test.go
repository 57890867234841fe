// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// qemu writes each character by itself. None waits for us, however late we read.
func TestSerialLineHoldsCharacters(t *testing.T) {
	l, err := newSerialLine()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	const ahead = 32 << 10 // less than any pipe holds
	raw, err := l.stdout.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		for i := range ahead {
			if _, err := unix.Write(int(fd), []byte{'a'}); err != nil {
				t.Fatalf("after %d: %v", i, err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	l.closeTheirs()
	if got, err := io.ReadAll(l); err != nil || string(got) != strings.Repeat("a", ahead) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// What is typed comes to qemu, and a guest that reads nothing keeps nobody for good.
func TestSerialLineInput(t *testing.T) {
	l, err := newSerialLine()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if _, err := l.Write([]byte("ls\r")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if n, err := l.stdin.Read(got); err != nil || string(got[:n]) != "ls\r" {
		t.Errorf("got %q, %v", got[:n], err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := l.Write(make([]byte, 4<<20))
		written <- err
	}()
	if err := l.in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err == nil {
		t.Error("nothing ended the write")
	}
	_, err = l.Write([]byte("x"))
	if err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a write after the end: %v", err)
	}
}
