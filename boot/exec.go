// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/boot/guest"
)

// A Command is run in the guest. With neither Argv nor Shell it is the guest's
// interactive shell.
type Command struct {
	Argv  []string // a program and its arguments
	Shell string   // or a line for sh

	Stdin          io.Reader // nil: empty
	Stdout, Stderr io.Writer

	Terminal *Terminal // nil: no pty
	Env      []string
}

// A Terminal is what the guest's pty shall be like.
type Terminal struct {
	Type          string // TERM
	Rows, Columns int
	Resize        <-chan Size // new sizes; may be nil
}

// Size is the size of a terminal, in characters.
type Size struct{ Rows, Columns int }

// ErrGone says that the connection to the guest ended before the command did.
var ErrGone = errors.New("the connection to the guest ended")

// Run runs a command by the agent at the other end of client. It returns the
// exit status as a shell has it: 128+n when signal n killed it. When ctx ends
// first, the command is hung up and the cause returned; so it is when its output
// can't be written.
func Run(ctx context.Context, client *ssh.Client, c Command) (int, error) {
	channel, requests, err := client.OpenChannel("session", nil)
	if open := (*ssh.OpenChannelError)(nil); errors.As(err, &open) {
		return 0, errors.New(open.Message)
	} else if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrGone, err)
	}
	defer channel.Close()
	exited := make(chan exit, 1)
	go awaitExit(requests, exited)

	if err := request(channel, c); err != nil {
		return 0, err
	}
	go func() {
		if c.Stdin != nil {
			_, _ = io.Copy(channel, c.Stdin)
		}
		_ = channel.CloseWrite()
	}()
	var output sync.WaitGroup
	lost := make(chan error, 2)
	pass := func(name string, to io.Writer, from io.Reader) {
		if _, err := io.Copy(orDiscard(to), from); err != nil {
			lost <- fmt.Errorf("write %s: %w", name, err)
			// A command whose output nobody takes would stand still.
			_, _ = io.Copy(io.Discard, from)
		}
	}
	output.Go(func() { pass("standard output", c.Stdout, channel) })
	output.Go(func() { pass("standard error", c.Stderr, channel.Stderr()) })
	ended := make(chan exit, 1)
	go func() {
		output.Wait()
		ended <- <-exited
	}()
	var resize <-chan Size
	if c.Terminal != nil {
		resize = c.Terminal.Resize
	}
	for {
		select {
		case s, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			_, _ = channel.SendRequest("window-change", false, ssh.Marshal(guest.WindowChange{Columns: uint32(s.Columns), Rows: uint32(s.Rows)}))
		case <-ctx.Done():
			hangUp(channel, ended)
			return 0, context.Cause(ctx)
		case err := <-lost:
			hangUp(channel, ended)
			return 0, err
		case e := <-ended:
			select {
			case err := <-lost:
				return 0, err
			default:
			}
			return e.status, e.err
		}
	}
}

// hangUp ends a command. Nothing shall be written any more when Run has returned: a
// guest that lives confirms the end at once.
func hangUp(channel ssh.Channel, ended <-chan exit) {
	_ = channel.Close()
	select {
	case <-ended:
	case <-time.After(time.Second):
	}
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// request asks for the command and what belongs to it.
func request(channel ssh.Channel, c Command) error {
	ask := func(name string, payload []byte) error {
		ok, err := channel.SendRequest(name, true, payload)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrGone, err)
		}
		if !ok {
			return fmt.Errorf("the guest refused the request %q", name)
		}
		return nil
	}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		if err := ask("env", ssh.Marshal(guest.Env{Name: name, Value: value})); err != nil {
			return err
		}
	}
	if t := c.Terminal; t != nil {
		pty := guest.PTY{Term: t.Type, Columns: uint32(t.Columns), Rows: uint32(t.Rows)}
		if err := ask("pty-req", ssh.Marshal(pty)); err != nil {
			return err
		}
	}
	switch {
	case len(c.Argv) > 0:
		argv, err := json.Marshal(c.Argv)
		if err != nil {
			return err
		}
		return ask(guest.ArgvRequest, argv)
	case c.Shell != "":
		return ask("exec", ssh.Marshal(guest.Exec{Command: c.Shell}))
	}
	return ask("shell", nil)
}

// An exit is how a command ended.
type exit struct {
	status int
	err    error
}

// awaitExit reads the requests of a session's channel until the guest tells how
// the command ended.
func awaitExit(requests <-chan *ssh.Request, exited chan<- exit) {
	e := exit{err: ErrGone}
	for r := range requests {
		switch r.Type {
		case "exit-status":
			var s guest.ExitStatus
			if err := ssh.Unmarshal(r.Payload, &s); err == nil {
				e = exit{status: int(s.Status)}
			}
		case guest.CrashRequest:
			var c guest.Crash
			if err := ssh.Unmarshal(r.Payload, &c); err == nil {
				e = exit{err: &CrashError{Crash: console.Crash{Message: c.Message, Panic: true, Cause: c.Cause}}}
			}
		case "exit-signal":
			var s guest.ExitSignal
			if err := ssh.Unmarshal(r.Payload, &s); err == nil {
				e = exit{status: 128 + int(unix.SignalNum("SIG"+s.Signal))}
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	exited <- e
}
