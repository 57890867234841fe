// SPDX-License-Identifier: GPL-3.0-only

package virtiofs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/readonly"
	"github.com/metaspace/run-kernel/internal/proc"
)

// A Cache is how long the guest may believe what it has read.
type Cache string

const (
	Always Cache = "always" // for what nobody changes while the guest runs
	Auto   Cache = "auto"   // for what people edit: asks again after a second
)

// A Share is a directory of the host under a tag.
type Share struct {
	Tag      string
	Dir      string // absolute
	ReadOnly bool
	Cache    Cache
}

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
	listener, client, err := socketPair(p.SocketDir)
	if err != nil {
		return nil, nil, fmt.Errorf("share %s: %w", s.Tag, err)
	}
	d := &Daemon{Share: s, listener: listener, stderr: new(proc.Tail)}
	o := owner{os.Geteuid(), os.Getegid(), readonly.Privileged()}
	var cmd *exec.Cmd
	switch {
	case !s.ReadOnly && !p.Rust:
		cmd = wrap("", p.Path, p.args(s, s.Dir, o))
	case !s.ReadOnly:
		cmd = exec.Command(p.Path, p.args(s, s.Dir, o)...)
	case !o.privileged:
		// The daemon's word is the only one to be had; see needsReadOnlyError.
		cmd = exec.Command(p.Path, p.args(s, s.Dir, o)...)
	default:
		cmd = readOnlyCommand(s.Dir, p.Path, p.args(s, readonly.Place, o))
	}
	cmd.ExtraFiles = []*os.File{listener}
	cmd.Stderr = d.stderr
	d.cmd = cmd
	return d, client, nil
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

// maxSocketName is the size of sun_path less its end; see unix(7).
const maxSocketName = 107

// socketPair returns a listening socket and one that is connected to it. The
// daemons insist on accepting a connection, and a socket pair has none to
// accept. Nobody can come first, and the daemons accept only once.
//
// Without a dir the kernel chooses an abstract name: no file that could be left.
// With one the name is a file in it, which is removed as soon as both are
// connected.
func socketPair(dir string) (listener, client *os.File, err error) {
	addr := &unix.SockaddrUnix{}
	if dir != "" {
		private, err := os.MkdirTemp(dir, "run-kernel-")
		if err != nil {
			return nil, nil, err
		}
		defer os.RemoveAll(private)
		addr.Name = filepath.Join(private, "s")
		if len(addr.Name) > maxSocketName {
			return nil, nil, fmt.Errorf("socket %s: a name may have %d bytes; choose a shorter virtiofsd_socket_dir", addr.Name, maxSocketName)
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socket", err)
	}
	listener = os.NewFile(uintptr(fd), "virtiofsd-listener")
	if err := unix.Bind(fd, addr); err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("bind", err), listener.Close())
	}
	if err := unix.Listen(fd, 1); err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("listen", err), listener.Close())
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("getsockname", err), listener.Close())
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("socket", err), listener.Close())
	}
	client = os.NewFile(uintptr(fd), "virtiofsd")
	if err := unix.Connect(fd, bound); err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("connect", err), client.Close(), listener.Close())
	}
	return listener, client, nil
}
