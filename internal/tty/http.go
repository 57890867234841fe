// SPDX-License-Identifier: GPL-3.0-only

package tty

import (
	"bytes"
	"errors"
	"io"
)

// ErrHTTP says that a program that speaks HTTP is at the other end.
var ErrHTTP = errors.New("the other end speaks HTTP")

// httpStarts are what a browser may begin with that a web page sends to a port: the
// methods of RFC 9110, and TLS's handshake.
var httpStarts = [][]byte{
	[]byte("GET "), []byte("HEAD "), []byte("POST "), []byte("PUT "), []byte("DELETE "), []byte("CONNECT "),
	[]byte("OPTIONS "), []byte("TRACE "), []byte("PATCH "), []byte("PRI * HTTP"),
	{0x16, 0x03},
}

// NoHTTP reads from r, but for what begins as HTTP does, which is ErrHTTP: any web
// page can have its reader's browser send that to a port of the reader's machine.
// What may still become one waits for more.
func NoHTTP(r io.Reader) io.Reader { return &noHTTP{r: r} }

type noHTTP struct {
	r    io.Reader
	held []byte // read, not returned
	sure bool   // it isn't HTTP
}

func (n *noHTTP) Read(p []byte) (int, error) {
	for !n.sure {
		buf := make([]byte, 512)
		m, err := n.r.Read(buf)
		n.held = append(n.held, buf[:m]...)
		n.sure = true
		for _, start := range httpStarts {
			if bytes.HasPrefix(n.held, start) {
				return 0, ErrHTTP
			}
			if bytes.HasPrefix(start, n.held) {
				n.sure = false
			}
		}
		if err != nil {
			n.sure = true
			if len(n.held) == 0 {
				return 0, err
			}
		}
	}
	if len(n.held) > 0 {
		m := copy(p, n.held)
		n.held = n.held[m:]
		return m, nil
	}
	return n.r.Read(p)
}
