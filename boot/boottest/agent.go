// SPDX-License-Identifier: GPL-3.0-only

package boottest

import (
	"crypto/ed25519"
	"net"
	"os"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// DialAgent connects to a guest's agent that does with each channel what serve does, beside
// the others. wrap stands between the agent and its connection; nil: nothing does.
func DialAgent(t *testing.T, wrap func(net.Conn) net.Conn, serve func(ssh.NewChannel)) *ssh.Client {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	ours, theirs := connPair(t)
	if wrap != nil {
		theirs = wrap(theirs)
	}
	go func() {
		_, channels, requests, err := ssh.NewServerConn(theirs, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for c := range channels {
			go serve(c)
		}
	}()
	c, channels, requests, err := ssh.NewClientConn(ours, "", &ssh.ClientConfig{User: "root", HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		t.Fatal(err)
	}
	return ssh.NewClient(c, channels, requests)
}

// connPair makes two connections to each other, which the end of the test closes. Unlike
// those of net.Pipe, they take what is written before it is read.
func connPair(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		ends[i], err = net.FileConn(f)
		_ = f.Close() // FileConn has a copy
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	return ends[0], ends[1]
}
