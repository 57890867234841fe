// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot/boottest"
	"github.com/metaspace/run-kernel/boot/guest"
)

// dialAgent connects to an agent that does with each channel what serve does. The
// connection is the agent's, at whose end it reads.
func dialAgent(t *testing.T, serve func(c ssh.NewChannel)) (*ssh.Client, *stoppableConn) {
	t.Helper()
	var agent *stoppableConn
	client := boottest.DialAgent(t, func(c net.Conn) net.Conn {
		agent = &stoppableConn{Conn: c, stopped: make(chan struct{})}
		return agent
	}, serve)
	return client, agent
}

// A stoppableConn reads nothing any more once it is stopped.
type stoppableConn struct {
	net.Conn
	once    sync.Once
	stopped chan struct{}
}

func (c *stoppableConn) stop() { c.once.Do(func() { close(c.stopped) }) }

func (c *stoppableConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.stopped:
		select {} // what came is lost, and no more is read
	default:
	}
	return n, err
}

// endless is a terminal that somebody leans on.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// An agent that answers and then says nothing, at whatever point, keeps no command
// from ending when its time is over, or when the user wants it.
func TestSilentAgent(t *testing.T) {
	// answer accepts the channel, and answers requests but for the named one.
	answer := func(c ssh.NewChannel, silentAt string) ssh.Channel {
		channel, requests, err := c.Accept()
		if err != nil {
			return nil
		}
		started := make(chan struct{})
		go func() {
			for r := range requests {
				if r.Type == silentAt {
					continue
				}
				if r.WantReply {
					_ = r.Reply(true, nil)
				}
				if r.Type == "exec" {
					close(started)
				}
			}
		}()
		<-started
		return channel
	}
	terminal := &Terminal{Type: "vt100", Size: Size{Rows: 24, Columns: 80}}
	for _, tt := range []struct {
		name  string
		serve func(c ssh.NewChannel)
		stdin io.Reader
		stop  bool // the agent reads nothing any more, once there is output
	}{
		{name: "at the channel", serve: func(ssh.NewChannel) {}},
		{name: "at the environment", serve: func(c ssh.NewChannel) { answer(c, "env") }},
		{name: "at the terminal", serve: func(c ssh.NewChannel) { answer(c, "pty-req") }},
		{name: "at the command", serve: func(c ssh.NewChannel) { answer(c, "exec") }},
		{name: "before output", serve: func(c ssh.NewChannel) { answer(c, "") }},
		{name: "in the middle of output", serve: func(c ssh.NewChannel) {
			_, _ = io.WriteString(answer(c, ""), "half a li")
		}},
		{name: "with input that it doesn't read", stop: true, stdin: endless{}, serve: func(c ssh.NewChannel) {
			_, _ = io.WriteString(answer(c, ""), "x")
		}},
		{name: "before the status", serve: func(c ssh.NewChannel) { _ = answer(c, "").CloseWrite() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, agent := dialAgent(t, tt.serve)
			timeout := errors.New("the time is over")
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			out := writerFunc(func(p []byte) (int, error) {
				if tt.stop {
					agent.stop()
				}
				return len(p), nil
			})
			ended := make(chan error, 1)
			resize := make(chan Size)
			go func() {
				terminal := *terminal
				terminal.Resize = resize
				_, err := Run(ctx, client, Command{Shell: "true", Env: []string{"A=1"}, Terminal: &terminal, Stdin: tt.stdin, Stdout: out})
				ended <- err
			}()
			// Each of these may wait for what the agent reads.
			go func() {
				for {
					select {
					case resize <- Size{25, 80}:
					case <-ctx.Done():
						return
					}
				}
			}()
			time.AfterFunc(200*time.Millisecond, func() { cancel(timeout) })
			select {
			case err := <-ended:
				if !errors.Is(err, timeout) {
					t.Errorf("got %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("it still waits for the agent")
			}
		})
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Nothing is written once Run has returned, also when the agent goes on.
func TestLateOutput(t *testing.T) {
	more := make(chan struct{})
	client, _ := dialAgent(t, func(c ssh.NewChannel) {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				_ = r.Reply(true, nil)
			}
		}()
		<-more
		_, _ = io.WriteString(channel.Stderr(), "late")
		_ = channel.Close()
	})
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	var late strings.Builder
	wrote := make(chan struct{}, 1)
	_, err := Run(ctx, client, Command{Shell: "true", Stderr: writerFunc(func(p []byte) (int, error) {
		wrote <- struct{}{}
		return late.Write(p)
	})})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(more)
	_ = client.Close()
	_ = client.Wait()
	select {
	case <-wrote:
		t.Errorf("after the end came %q", &late)
	case <-time.After(200 * time.Millisecond):
	}
}

// The guest's word for a status is not the host's.
func TestClampStatus(t *testing.T) {
	for status, want := range map[uint32]int{0: 0, 1: 1, 255: 255, 256: 255, 512: 255, 1 << 31: 255} {
		client, _ := dialAgent(t, func(c ssh.NewChannel) {
			channel, requests, err := c.Accept()
			if err != nil {
				return
			}
			for r := range requests {
				_ = r.Reply(true, nil)
				if r.Type == "exec" {
					_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(guest.ExitStatus{Status: status}))
					_ = channel.Close()
				}
			}
		})
		if got, err := Run(context.Background(), client, Command{Shell: "true"}); got != want || err != nil {
			t.Errorf("%d from the guest: got %d, %v; want %d", status, got, err, want)
		}
	}
}
