// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// An agent serves SSH on the port. Who holds the other end is qemu's owner and
// nobody else, so neither side proves who it is.
type agent struct {
	config *Config
	reaper *reaper

	mu       sync.Mutex
	sessions map[*session]struct{} // until the host knows of their ends
}

// Serve is the agent: it answers one connection, and returns at its end. The
// host keeps it for as long as the VM lives.
//
// Serve waits for every child of this process, so that nothing else in it may:
// it is for the first process, or for one of its own.
//
// It answers requests once up has told that the userland is there; an error from
// up is the end.
func Serve(c *Config, port *os.File, up <-chan error) error {
	return (&agent{config: c, reaper: newReaper(), sessions: make(map[*session]struct{})}).serve(port, up)
}

func (a *agent) serve(port *os.File, up <-chan error) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("agent: make a host key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)

	_, channels, requests, err := ssh.NewServerConn(portConn{port}, config)
	if err != nil {
		return errors.Join(fmt.Errorf("agent: handshake: %w", err), failed(up))
	}
	if err := <-up; err != nil {
		return err
	}
	if a.config.Console != nil {
		go a.serveConsole(a.config.Console)
	}
	go func() {
		for r := range requests {
			switch r.Type {
			case SyncRequest:
				unix.Sync()
				_ = r.Reply(true, ssh.Marshal(taint()))
			case ClockRequest:
				_ = r.Reply(setClock(r.Payload) == nil, nil)
			case PowerOffRequest:
				_ = r.Reply(true, nil)
				go a.powerOff()
			default:
				_ = r.Reply(false, nil)
			}
		}
	}()
	for c := range channels {
		switch c.ChannelType() {
		case "session":
			channel, requests, err := c.Accept()
			if err != nil {
				log.Printf("agent: %v", err)
				continue
			}
			go a.serveSession(newSession(a, channel), requests)
		case ModulesChannel:
			go serveModules(c)
		case "direct-tcpip":
			go dial(c)
		default:
			_ = c.Reject(ssh.UnknownChannelType, "only sessions, and connections from the host")
		}
	}
	return nil
}

// setClock sets the wall clock forward.
func setClock(payload []byte) error {
	var c Clock
	if err := ssh.Unmarshal(payload, &c); err != nil {
		return err
	}
	now := unix.NsecToTimespec(time.Now().UnixNano() + int64(c.Nanoseconds))
	return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
}

// serveSession keeps a session among those that there are while it lasts.
func (a *agent) serveSession(s *session, requests <-chan *ssh.Request) {
	a.mu.Lock()
	a.sessions[s] = struct{}{}
	a.mu.Unlock()
	s.serve(requests)
	a.mu.Lock()
	delete(a.sessions, s)
	a.mu.Unlock()
}

// failed returns the error of up, if that has come.
func failed(up <-chan error) error {
	select {
	case err := <-up:
		return err
	default:
		return nil
	}
}

// portConn makes the port the net.Conn that package ssh asks for.
type portConn struct{ *os.File }

type portAddr struct{}

func (portAddr) Network() string { return "virtio-serial" }
func (portAddr) String() string  { return AgentPort }

func (portConn) LocalAddr() net.Addr              { return portAddr{} }
func (portConn) RemoteAddr() net.Addr             { return portAddr{} }
func (portConn) SetDeadline(time.Time) error      { return nil }
func (portConn) SetReadDeadline(time.Time) error  { return nil }
func (portConn) SetWriteDeadline(time.Time) error { return nil }
