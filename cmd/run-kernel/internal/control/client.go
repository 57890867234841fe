// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/private"
)

// A Client is another process's side.
type Client struct {
	*ssh.Client
	pid     int // of the owner; 0 when it is in a namespace that we don't see
	address Address
}

// Connect connects to the owner at an address, for a caller that speaks SSH
// itself. Without any owner, the error is ErrNone.
func Connect(a Address) (net.Conn, error) {
	conn, _, err := connect(a)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// connect returns also whose the other end is.
func connect(a Address) (*net.UnixConn, *unix.Ucred, error) {
	path, err := a.owner()
	if errors.Is(err, ErrNone) {
		return nil, nil, ErrNone
	} else if err != nil {
		return nil, nil, fmt.Errorf("control: %w", err)
	}
	return a.connectAt(path)
}

// connectAt connects to the owner that listens at a socket.
func (a Address) connectAt(path string) (*net.UnixConn, *unix.Ucred, error) {
	conn, err := private.Dial(path)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, nil, ErrNone // it is about to end
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, &elsewhereError{a.Build}
	case err != nil:
		if uid := ownerOf(filepath.Dir(path)); uid != os.Geteuid() {
			err = &otherUserError{a.Build, uid}
		}
		return nil, nil, fmt.Errorf("control: %w", err)
	}
	cred, err := private.Peer(conn)
	if err == nil && int(cred.Uid) != os.Geteuid() {
		err = &otherUserError{a.Build, int(cred.Uid)}
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("control: %w", err), conn.Close())
	}
	return conn, cred, nil
}

// ownerOf is the user whose a directory is, or the nearest above it that can be seen.
func ownerOf(dir string) int {
	var st unix.Stat_t
	for unix.Lstat(dir, &st) != nil && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return int(st.Uid)
}

// Dial connects to the owner at an address. Without any, the error is ErrNone.
func Dial(a Address) (*Client, error) { return dialWith(a, nil) }

// dialWith is Dial, and passes the owner a file, unless that is nil.
func dialWith(a Address, file *os.File) (*Client, error) {
	conn, cred, err := connect(a)
	if err != nil {
		return nil, err
	}
	return a.greet(conn, cred, file)
}

// greet begins to speak with the owner at the other end of a connection.
func (a Address) greet(conn *net.UnixConn, cred *unix.Ucred, file *os.File) (*Client, error) {
	// An owner that is stopped (SIGSTOP) must not hang us here.
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	c, channels, requests, err := ssh.NewClientConn(&fileConn{UnixConn: conn, pass: file}, a.Build, &ssh.ClientConfig{
		User: "root", HostKeyCallback: ssh.InsecureIgnoreHostKey(), // its user was checked
	})
	if err != nil {
		_ = conn.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, &silentError{int(cred.Pid), answerTime}
		}
		return nil, fmt.Errorf("control: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	return &Client{ssh.NewClient(c, channels, requests), int(cred.Pid), a}, nil
}

// All returns what each owner of the user's says of itself, in all build directories,
// in the order of these. The error names those that don't answer, too.
func All() ([]Status, error) {
	dir, err := private.RuntimeDir()
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	// Each of those that are stopped takes as long as an owner may take to answer.
	var asking sync.WaitGroup
	var mu sync.Mutex
	var all []Status
	var silent error
	for _, e := range entries {
		if e.Type() != fs.ModeSocket {
			continue
		}
		asking.Go(func() {
			s, err := statusAt(filepath.Join(dir, e.Name()))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				all = append(all, s)
			case errors.As(err, new(*silentError)):
				silent = errors.Join(silent, err)
			}
		})
	}
	asking.Wait()
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(strings.Compare(a.Build, b.Build), strings.Compare(a.Name, b.Name))
	})
	return all, silent
}

// statusAt asks the owner that listens at a socket.
func statusAt(path string) (Status, error) {
	var a Address // whose it is, it says itself
	conn, cred, err := a.connectAt(path)
	if err != nil {
		return Status{}, err
	}
	c, err := a.greet(conn, cred, nil)
	if err != nil {
		return Status{}, err
	}
	defer c.Close()
	return c.Status()
}

// Status asks the owner what it does.
func (c *Client) Status() (Status, error) {
	var s Status
	data, err := c.ask(statusRequest, answerTime)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// ask sends a request and returns its reply. When none comes within limit, it
// ends the connection.
func (c *Client) ask(request string, limit time.Duration) ([]byte, error) {
	late := time.AfterFunc(limit, func() { _ = c.Close() })
	ok, data, err := c.SendRequest(request, true, nil)
	switch inTime := late.Stop(); {
	case !inTime:
		return nil, &silentError{c.pid, limit}
	case err != nil:
		return nil, fmt.Errorf("control: %w", err)
	case !ok:
		return nil, fmt.Errorf("control: it knows no request %q; is it another version of run-kernel?", request)
	}
	return data, nil
}

// Stop asks the owner to end, which asks its guest first, and waits until it has.
// It says what became of the guest. When ctx ends first, its cause is returned, and the
// owner ends nevertheless.
func (c *Client) Stop(ctx context.Context) (Outcome, error) {
	type answer struct {
		outcome Outcome
		err     error
	}
	answered := make(chan answer, 1)
	go func() {
		outcome, err := c.stop()
		answered <- answer{outcome, err}
	}()
	select {
	case a := <-answered:
		return a.outcome, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (c *Client) stop() (Outcome, error) {
	// A process closes its descriptors one by one: when this connection has ended,
	// it may still have the name.
	owner := -1
	if c.pid != 0 {
		if fd, err := unix.PidfdOpen(c.pid, 0); err == nil {
			owner = fd
			defer unix.Close(fd)
		}
	}
	outcome, err := c.ask(stopRequest, powerOffTime+answerTime)
	if err != nil {
		return "", err
	}
	_ = c.Wait()
	if owner >= 0 {
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(owner), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
	return Outcome(outcome), nil
}

// Dump writes the guest's memory to a file that doesn't exist yet, as an ELF core
// file; see boot.VM.Dump. It takes as long as the disk does; when ctx ends first,
// its cause is returned.
func (c *Client) Dump(ctx context.Context, path string, virtual bool) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	with, err := dialWith(c.address, f)
	if err != nil {
		return err
	}
	defer with.Close()
	defer context.AfterFunc(ctx, func() { _ = with.Close() })()
	payload, err := json.Marshal(dumpPayload{virtual})
	if err != nil {
		return err
	}
	ok, reply, err := with.SendRequest(dumpRequest, true, payload)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("control: %w", err)
	case ok:
		return nil
	case len(reply) == 0:
		return fmt.Errorf("control: it knows no request %q; is it another version of run-kernel?", dumpRequest)
	}
	var r refusal
	if err := json.Unmarshal(reply, &r); err != nil {
		return fmt.Errorf("control: the answer to %q: %w", dumpRequest, err)
	}
	return refused(r.Code, r.Reason)
}

// Serial connects to the guest's serial port. What it wrote last comes first.
func (c *Client) Serial() (io.ReadWriteCloser, error) { return c.open(serialChannel) }

// Debugger connects to the stub for gdb. The guest stops.
func (c *Client) Debugger() (io.ReadWriteCloser, error) { return c.open(debuggerChannel) }

func (c *Client) open(kind string) (io.ReadWriteCloser, error) {
	channel, requests, err := c.OpenChannel(kind, nil)
	var rejected *ssh.OpenChannelError
	switch {
	case errors.As(err, &rejected):
		return nil, refused(rejected.Reason, rejected.Message)
	case err != nil:
		return nil, fmt.Errorf("control: %w", err)
	}
	go ssh.DiscardRequests(requests)
	return channel, nil
}
