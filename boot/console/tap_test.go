// SPDX-License-Identifier: GPL-3.0-only

package console

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestTaps(t *testing.T) {
	r, w := io.Pipe()
	c := Read(r, io.Discard, Handlers{})
	write := func(text string) {
		t.Helper()
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(tap *Tap, want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(tap, got); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	write("one\r\n")
	first := c.Tap()
	expect(first, "one\r\n")
	write("\x1b[1mtwo") // no end of a line, and as it is
	expect(first, "\x1b[1mtwo")
	second := c.Tap()
	expect(second, "one\r\n\x1b[1mtwo")
	third := c.Tap()
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(third); err != nil || string(rest) != "one\r\n\x1b[1mtwo" {
		t.Errorf("of a closed one: %q, %v", rest, err)
	}
	write("three")
	w.Close()
	await(t, "the end", c.Done())
	for _, tap := range []*Tap{first, second} {
		if rest, err := io.ReadAll(tap); err != nil || string(rest) != "three" {
			t.Errorf("the rest: %q, %v", rest, err)
		}
	}
	if rest, err := io.ReadAll(c.Tap()); err != nil || string(rest) != "one\r\n\x1b[1mtwothree" {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

// A tap that nobody reads neither stops the guest nor grows without end.
func TestSlowTap(t *testing.T) {
	r, w := io.Pipe()
	c := Read(r, io.Discard, Handlers{})
	tap := c.Tap()
	chunk := bytes.Repeat([]byte("x"), 8<<10)
	for range 3 * tapSize / len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.WriteString(w, "end")
	w.Close()
	await(t, "the end", c.Done())
	rest, err := io.ReadAll(tap)
	if err != nil || len(rest) > tapSize || !strings.HasPrefix(string(rest), lostText) || !strings.HasSuffix(string(rest), "end") {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
	if late, _ := io.ReadAll(c.Tap()); len(late) != backlog {
		t.Errorf("a late one gets %d bytes", len(late))
	}
}
