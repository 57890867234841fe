// SPDX-License-Identifier: GPL-3.0-only

package tty

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestNoHTTP(t *testing.T) {
	for text, bad := range map[string]bool{
		"POST / HTTP/1.1\r\nHost: localhost:4000\r\n\r\nreboot\n": true,
		"GET / HTTP/1.1\r\n":             true,
		"OPTIONS * HTTP/1.1\r\n":         true,
		"PRI * HTTP/2.0\r\n":             true,
		"\x16\x03\x01\x02\x00":           true,
		"ls\n":                           false,
		"":                               false,
		"P":                              false,
		"PO":                             false,
		"POSTGRES=1 make\n":              false,
		"get \n":                         false,
		"echo POST / HTTP/1.1\n":         false,
		strings.Repeat("x", 3000) + "\n": false,
	} {
		for name, r := range map[string]io.Reader{
			"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)),
		} {
			got, err := io.ReadAll(NoHTTP(r))
			if bad && (!errors.Is(err, ErrHTTP) || len(got) > 0) || !bad && (err != nil || string(got) != text) {
				t.Errorf("%q, %s: got %q, %v", text, name, got, err)
			}
		}
	}
}
