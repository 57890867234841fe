// SPDX-License-Identifier: GPL-3.0-only

package virtiofs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/metaspace/run-kernel/boot/launch"
	"github.com/metaspace/run-kernel/boot/readonly"
	"github.com/metaspace/run-kernel/internal/confine"
	"github.com/metaspace/run-kernel/internal/grant"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/internal/trust"
)

// A Share is a directory of the host under a tag. Its Dir is absolute, and its
// Cache isn't empty.
type Share = grant.Share

// A Daemon serves one share to one guest, and ends with it.
type Daemon struct {
	*proc.Process // nil until Start
	Share         Share

	cmd      *exec.Cmd
	listener *os.File
	stderr   *proc.Tail
}

// Prepare returns a daemon for s that is yet to be started, and a socket that is
// connected to it already. The socket is for qemu and belongs to the caller: qemu
// may be started before the daemon, and waits for its answer.
func (p *Program) Prepare(s Share) (*Daemon, *os.File, error) {
	if st, err := os.Stat(s.Dir); err != nil {
		return nil, nil, fmt.Errorf("share %s: %w", s.Tag, err)
	} else if !st.IsDir() {
		return nil, nil, fmt.Errorf("share %s: %s is not a directory", s.Tag, s.Dir)
	}
	// The wrapper, too, would say so, but later.
	if _, err := os.Stat(p.Path); err != nil {
		return nil, nil, fmt.Errorf("share %s: %w", s.Tag, err)
	}
	listener, client, err := socketPair(p.SocketDir)
	if err != nil {
		return nil, nil, fmt.Errorf("share %s: %w", s.Tag, err)
	}
	d := &Daemon{Share: s, listener: listener, stderr: new(proc.Tail)}
	cmd := p.command(s)
	cmd.ExtraFiles = []*os.File{listener}
	cmd.Stderr = d.stderr
	d.cmd = cmd
	return d, client, nil
}

// command serves a share with no more rights on the host than that takes.
func (p *Program) command(s Share) *exec.Cmd {
	o := owner{os.Geteuid(), os.Getegid(), readonly.Privileged()}
	switch {
	case !s.ReadOnly:
		// What the guest writes is the invoking user's, also under sudo.
		o.uid, o.gid = trust.SudoOwner()
		return launch.Command(launch.Files(), p.Path, p.args(s, s.Dir, o)...)
	case o.privileged:
		return launch.Command(launch.Mounted(s.Dir, s.Hide...), p.Path, p.args(s, readonly.Place, o)...)
	case confine.CanReadOnly():
		return launch.Command(launch.ReadOnly(), p.Path, p.args(s, s.Dir, o)...)
	}
	// The daemon's word is the only one to be had; see needsReadOnlyError.
	return exec.Command(p.Path, p.args(s, s.Dir, o)...)
}

// Start starts the daemon. An early end shows at Done.
func (d *Daemon) Start() (err error) {
	defer d.listener.Close()
	if d.Process, err = proc.Start(d.cmd); err != nil {
		return fmt.Errorf("share %s: %w", d.Share.Tag, err)
	}
	return nil
}

// Close kills the daemon, if it was started, and waits for its end.
func (d *Daemon) Close() {
	_ = d.listener.Close() // it may be closed already
	if d.Process != nil {
		d.Kill()
		_ = d.Wait() // killed
	}
}

// Err explains the end of a daemon that should still run.
func (d *Daemon) Err() error {
	err := d.Wait()
	text := d.stderr.String()
	if text == "" {
		text = "no message"
	}
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("virtiofsd for share %s (%s) ended: %w: %s", d.Share.Tag, d.Share.Dir, err, text)
}

// socketPair returns a listening socket and one that is connected to it. The
// daemons insist on accepting a connection, and a socket pair has none to accept.
// Nobody can come first: the socket is in a directory of its own below dir, which
// only the user may enter, and both are gone when it returns. An abstract name
// would be anybody's: of 1,500 such connections, one was another user's.
//
// Without a dir it is the user's own for sockets.
func socketPair(dir string) (listener, client *os.File, err error) {
	if dir == "" {
		if dir, err = private.RuntimeDir(); err != nil {
			return nil, nil, err
		}
	}
	own, err := os.MkdirTemp(dir, "run-kernel-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(own)
	l, err := private.Listen(filepath.Join(own, "s"))
	if err != nil {
		return nil, nil, err
	}
	defer l.Close() // File has a copy
	conn, err := private.Dial(filepath.Join(own, "s"))
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close() // likewise
	if listener, err = l.File(); err != nil {
		return nil, nil, err
	}
	if client, err = conn.File(); err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	return listener, client, nil
}
