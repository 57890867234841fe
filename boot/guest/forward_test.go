// SPDX-License-Identifier: GPL-3.0-only

package guest_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot/guest"
)

func listenTCP(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// A connection ends side by side: what asks for an answer by ending its own half
// gets one.
func TestForwardedConnection(t *testing.T) {
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		t.Run(network, func(t *testing.T) {
			a := startAgent(t, &guest.Config{Dir: "/"})
			before := a.settle()
			l := listenTCP(t, network, address)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					asked, _ := io.ReadAll(conn)
					_, _ = conn.Write(append(asked, asked...))
					_ = conn.Close()
				}
			}()
			conn, err := a.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20/16)
			if _, err := conn.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(conn); !bytes.Equal(got, append(data, data...)) || err != nil {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
			_ = conn.Close()
			a.awaitUse(before)
		})
	}
}

// The other end sees a caller that goes away.
func TestForwardedCallerGoesAway(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/"})
	before := a.settle()
	l := listenTCP(t, "tcp4", "127.0.0.1:0")
	conn, err := a.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if n, err := io.Copy(io.Discard, accepted); n != 0 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	_ = accepted.Close()
	a.awaitUse(before)
}

func TestForwardRefused(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/"})
	before := a.settle()
	l := listenTCP(t, "tcp4", "127.0.0.1:0")
	address := l.Addr().String()
	_ = l.Close()
	open := (*ssh.OpenChannelError)(nil)
	if _, err := a.Dial("tcp", address); !errors.As(err, &open) || open.Reason != ssh.ConnectionFailed {
		t.Errorf("nobody listens: %v", err)
	}
	if _, _, err := a.OpenChannel("direct-tcpip", []byte("x")); !errors.As(err, &open) || open.Reason != ssh.ConnectionFailed {
		t.Errorf("nonsense: %v", err)
	}
	a.awaitUse(before)
}
