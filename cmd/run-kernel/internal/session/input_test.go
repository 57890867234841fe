// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"io"
	"testing"
)

// What is typed after a command has ended is the next one's, also if the first one still
// reads.
func TestSharedInput(t *testing.T) {
	r, w := io.Pipe()
	s := shareInput(r)
	first := make(chan struct{})
	a := s.reader(first)
	read := func(r io.Reader, want string) {
		t.Helper()
		buf := make([]byte, 3)
		n, err := r.Read(buf)
		if string(buf[:n]) != want || (err == io.EOF) != (want == "") {
			t.Errorf("read %q, %v, want %q", buf[:n], err, want)
		}
	}
	go func() { _, _ = w.Write([]byte("abcd")) }()
	read(a, "abc")
	read(a, "d")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		read(a, "")
	}()
	close(first)
	<-ended
	go func() {
		_, _ = w.Write([]byte("ef"))
		_ = w.Close()
	}()
	b := s.reader(make(chan struct{}))
	read(a, "")
	read(b, "ef")
	read(b, "")
}
