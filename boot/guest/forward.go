// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// dialTime is how long a connection in the guest may take to come about.
const dialTime = 30 * time.Second

// dial connects a "direct-tcpip" channel, which is what ssh's -L, -D and -W open,
// with the address that it names, as the guest sees it.
func dial(c ssh.NewChannel) {
	var address DirectTCPIP
	if err := ssh.Unmarshal(c.ExtraData(), &address); err != nil {
		_ = c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	target := net.JoinHostPort(address.Host, strconv.FormatUint(uint64(address.Port), 10))
	conn, err := net.DialTimeout("tcp", target, dialTime)
	if err != nil {
		_ = c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer conn.Close()
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	gone := make(chan struct{})
	go func() {
		ssh.DiscardRequests(requests)
		close(gone)
	}()
	// Either side may have said all and still listen.
	var copies sync.WaitGroup
	copies.Go(func() {
		_, _ = io.Copy(conn, channel)
		_ = conn.(*net.TCPConn).CloseWrite()
	})
	copies.Go(func() {
		_, _ = io.Copy(channel, conn)
		_ = channel.CloseWrite()
	})
	both := make(chan struct{})
	go func() {
		copies.Wait()
		close(both)
	}()
	select {
	case <-both:
	case <-gone:
	}
}
