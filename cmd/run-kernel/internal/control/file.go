// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A fileConn is a connection that can pass a file, with the first bytes that are
// written; see SCM_RIGHTS in unix(7).
type fileConn struct {
	*net.UnixConn
	pass *os.File // to be passed; nil once it was

	mu   sync.Mutex
	file *os.File // that was passed to us
}

func (c *fileConn) Write(p []byte) (int, error) {
	if c.pass == nil {
		return c.UnixConn.Write(p)
	}
	n, _, err := c.WriteMsgUnix(p, unix.UnixRights(int(c.pass.Fd())), nil)
	c.pass = nil
	return n, err
}

func (c *fileConn) Read(p []byte) (int, error) {
	// Room for one: the kernel closes what doesn't fit.
	oob := make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := c.ReadMsgUnix(p, oob)
	if m > 0 {
		c.receive(oob[:m])
	}
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err // -1 with an error
}

// receive keeps the last file that came.
func (c *fileConn) receive(oob []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m) // nothing, of another kind
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			c.keep(os.NewFile(uintptr(fd), "file of the client"))
		}
	}
}

// keep keeps a file in place of another, which it closes.
func (c *fileConn) keep(f *os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		_ = c.file.Close()
	}
	c.file = f
}

// take returns the file that came, once; nil when there is none.
func (c *fileConn) take() *os.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.file
	c.file = nil
	return f
}
