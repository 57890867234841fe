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
	User     string // of the guest, by name or number; empty: root
}

// A UserError says that the guest has no such user.
type UserError struct{ Name string }

func (e *UserError) Error() string { return fmt.Sprintf("the guest has no user %q", e.Name) }

// Hint says where users come from.
func (e *UserError) Hint() string { return "it is /etc/passwd of the guest's userland that lists them" }

var errRefused = errors.New("the guest refused the request")

// A Terminal describes the pty that a command gets in the guest.
type Terminal struct {
	Type   string // TERM
	Size   Size
	Resize <-chan Size // its later sizes; may be nil
}

// Size is the size of a terminal, in characters.
type Size struct{ Rows, Columns int }

// ErrGone says that the connection to the guest ended before the command did.
var ErrGone = errors.New("the connection to the guest ended")

// Run runs a command by the agent at the other end of client. It returns the
// exit status as a shell has it: 128+n when signal n killed it. When ctx ends
// first, the command is hung up and the cause returned; so it is when its output
// can't be written.
//
// An agent that says nothing, or reads nothing, at whatever point, doesn't keep
// Run from returning when ctx ends. What waits for it then waits until the
// connection ends, and writes nothing any more.
func Run(ctx context.Context, client *ssh.Client, c Command) (int, error) {
	r := &running{command: c, lost: make(chan error, 2), ended: make(chan exit, 1)}
	go r.follow(client)
	select {
	case <-ctx.Done():
		r.hangUp()
		return 0, context.Cause(ctx)
	case err := <-r.lost:
		r.hangUp()
		return 0, err
	case e := <-r.ended:
		select {
		case err := <-r.lost:
			return 0, err
		default:
		}
		return e.status, e.err
	}
}

// running is a command that runs. Package ssh knows no contexts: each of its calls
// may wait for the agent, so none is made by who must return.
type running struct {
	command Command
	lost    chan error // output that could not be written
	ended   chan exit  // gets how it ended, once

	mu      sync.Mutex
	channel ssh.Channel // nil as long as the agent has not accepted it
	over    bool        // Run has returned, or is about to
}

// A refusal is an *ssh.OpenChannelError, of which people want the message only.
type refusal struct{ error *ssh.OpenChannelError }

func (e refusal) Error() string { return e.error.Message }
func (e refusal) Unwrap() error { return e.error }

// follow asks for the command and follows it to its end.
func (r *running) follow(client *ssh.Client) {
	channel, requests, err := client.OpenChannel("session", nil)
	if open := (*ssh.OpenChannelError)(nil); errors.As(err, &open) {
		r.ended <- exit{err: refusal{open}}
		return
	} else if err != nil {
		r.ended <- exit{err: fmt.Errorf("%w: %w", ErrGone, err)}
		return
	}
	defer channel.Close()
	r.mu.Lock()
	r.channel = channel
	over := r.over
	r.mu.Unlock()
	if over {
		return
	}
	exited := make(chan exit, 1)
	go awaitExit(requests, exited)
	if err := request(channel, r.command); err != nil {
		r.ended <- exit{err: err}
		return
	}
	go func() {
		if r.command.Stdin != nil {
			_, _ = io.Copy(channel, r.command.Stdin)
		}
		_ = channel.CloseWrite()
	}()
	done := make(chan struct{})
	defer close(done)
	if t := r.command.Terminal; t != nil {
		go resize(channel, t.Resize, done)
	}
	var output sync.WaitGroup
	output.Go(func() { r.pass("standard output", r.command.Stdout, channel) })
	output.Go(func() { r.pass("standard error", r.command.Stderr, channel.Stderr()) })
	output.Wait()
	r.ended <- <-exited
}

// pass copies what the command writes.
func (r *running) pass(name string, to io.Writer, from io.Reader) {
	if _, err := io.Copy(&gate{run: r, to: orDiscard(to)}, from); err != nil {
		r.lost <- fmt.Errorf("write %s: %w", name, err)
		// A command whose output nobody takes would stand still.
		_, _ = io.Copy(io.Discard, from)
	}
}

// A gate lets nothing through any more once Run has returned.
type gate struct {
	run *running
	to  io.Writer
}

func (g *gate) Write(p []byte) (int, error) {
	g.run.mu.Lock()
	over := g.run.over
	g.run.mu.Unlock()
	if over {
		return len(p), nil
	}
	return g.to.Write(p)
}

// hangUp ends the command. A guest that lives confirms the end at once, and what
// the command wrote before that still comes.
func (r *running) hangUp() {
	r.mu.Lock()
	channel := r.channel
	r.over = channel == nil
	r.mu.Unlock()
	if channel != nil {
		go channel.Close() // it waits for a guest that reads nothing
		select {
		case <-r.ended:
		case <-time.After(hangUpTime):
		}
	}
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
}

// hangUpTime is how long an agent may take to confirm the end of a command.
const hangUpTime = time.Second

// resize tells the agent of the terminal's new sizes.
func resize(channel ssh.Channel, sizes <-chan Size, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case s, ok := <-sizes:
			if !ok {
				return
			}
			_, _ = channel.SendRequest("window-change", false, ssh.Marshal(guest.WindowChange{Columns: uint32(s.Columns), Rows: uint32(s.Rows)}))
		}
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
			return fmt.Errorf("%w %q", errRefused, name)
		}
		return nil
	}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		if err := ask("env", ssh.Marshal(guest.Env{Name: name, Value: value})); err != nil {
			return err
		}
	}
	if c.User != "" {
		err := ask(guest.UserRequest, ssh.Marshal(guest.User{Name: c.User}))
		if errors.Is(err, errRefused) {
			return &UserError{c.User}
		} else if err != nil {
			return err
		}
	}
	if t := c.Terminal; t != nil {
		pty := guest.PTY{Term: t.Type, Columns: uint32(t.Size.Columns), Rows: uint32(t.Size.Rows)}
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

// clampStatus is a status as a process has it. The protocol has 32 bits for it, of
// which an exit keeps 8: 256 would be success.
func clampStatus(status uint32) int { return int(min(status, 255)) }

// awaitExit reads the requests of a session's channel until the guest tells how
// the command ended.
func awaitExit(requests <-chan *ssh.Request, exited chan<- exit) {
	e := exit{err: ErrGone}
	for r := range requests {
		switch r.Type {
		case "exit-status":
			var s guest.ExitStatus
			if err := ssh.Unmarshal(r.Payload, &s); err == nil {
				e = exit{status: clampStatus(s.Status)}
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
