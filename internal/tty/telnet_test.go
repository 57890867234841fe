// SPDX-License-Identifier: GPL-3.0-only

package tty_test

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/metaspace/run-kernel/internal/tty"
)

type stream struct {
	io.Reader
	io.Writer
}

func (stream) Close() error { return nil }

func TestTelnet(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "ls\x03", "ls\x03"},
		{"ends of lines", "a\r\nb\r\x00c\rd\n\n", "a\rb\rc\rd\n\n"},
		{"options", "\xff\xfd\x01a\xff\xfb\x1fb\xff\xfc\x03c\xff\xfe\x22", "abc"},
		{"window size", "a\xff\xfa\x1f\x00\x50\xff\xff\x18\xff\xf0b", "ab"},
		{"other commands", "a\xff\xf4b\xff\xf1", "ab"},
		{"the byte 255", "a\xff\xffb", "a\xffb"},
	} {
		for name, r := range map[string]io.Reader{
			"at once": bytes.NewReader([]byte(c.in)), "byte by byte": iotest.OneByteReader(bytes.NewReader([]byte(c.in))),
		} {
			telnet, err := tty.NewTelnet(stream{r, io.Discard})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(telnet); err != nil || string(got) != c.want {
				t.Errorf("%s, %s: got %q, %v, want %q", c.name, name, got, err, c.want)
			}
		}
	}
	var sent bytes.Buffer
	telnet, err := tty.NewTelnet(stream{nil, &sent})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a\r\n", "\xff\xffb"} {
		if n, err := io.WriteString(telnet, text); n != len(text) || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	if got, want := sent.String(), "\xff\xfb\x01\xff\xfb\x03a\r\n\xff\xff\xff\xffb"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}
