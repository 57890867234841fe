// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
)

// The serial port is a shell of the guest's root: another user gets nothing of it,
// and nothing of what a web page sends gets to it.
func TestTelnet(t *testing.T) {
	l := newLab(t, "answers")
	l.config.Run.Serial = "telnet"
	ctx, s := l.open()
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = s.Once(ctx, Once{Argv: []string{"sleep 1000"}})
	}()
	defer func() { <-ended }()
	defer stop()
	const text = "the serial port is at: telnet localhost "
	notice := await(l, func(n event.Notice) bool { return strings.HasPrefix(n.Text, text) })
	address := "127.0.0.1:" + strings.TrimPrefix(notice.Text, text)
	await(l, func(event.BootReady) bool { return true })

	connect := func() net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(limit))
		return conn
	}
	greeting := make([]byte, len("\xff\xfb\x01\xff\xfb\x03[    0.000000] Linux version"))
	if _, err := io.ReadFull(connect(), greeting); err != nil || !strings.HasSuffix(string(greeting), "Linux version") {
		t.Errorf("we get %q, %v", greeting, err)
	}
	page := connect()
	fmt.Fprint(page, "POST / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\nreboot\r\n")
	if _, err := io.Copy(io.Discard, page); err != nil && !strings.Contains(err.Error(), "reset by peer") {
		t.Errorf("what a page sends: %v", err)
	}
	await(l, func(w event.Warning) bool { return strings.Contains(w.Text, "speaks HTTP") })
	if os.Geteuid() != 0 {
		return // we can't be another user
	}
	_, port, _ := net.SplitHostPort(address)
	for range 3 {
		other := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/`+port+` && cat <&3`)
		if out, err := other.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("another user gets %q, %v", out, err)
		}
	}
	tries := func(w event.Warning) bool { return strings.Contains(w.Text, "(uid 65534) has tried to connect") }
	await(l, tries)
	// The user is told of it once. The next connection comes after all of these.
	if _, err := io.ReadFull(connect(), greeting); err != nil {
		t.Error(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	told := 0
	for _, e := range l.seen {
		if w, ok := e.(event.Warning); ok && tries(w) {
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}
