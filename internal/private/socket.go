// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/trust"
)

// RuntimeDir returns the directory for the user's sockets, and makes it: in
// $XDG_RUNTIME_DIR where that is the user's alone, else in /tmp. Where another user
// has taken the name there, it is one with a name that can't be foretold, which goes with
// this process.
func RuntimeDir() (string, error) {
	const name = "run-kernel"
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && ours(dir) {
		if err := MkdirAll(&trust.Policy{}, dir, name); err == nil {
			return filepath.Join(dir, name), nil
		}
	}
	own := fmt.Sprintf("%s-%d", name, os.Geteuid())
	// Not $TMPDIR, which after su is another user's.
	if err := MkdirAll(&trust.Policy{}, "/tmp", own); err == nil {
		return filepath.Join("/tmp", own), nil
	}
	return makeshift(own)
}

// makeshift is the directory of this process, which needs more than one socket.
var makeshift = func() func(name string) (string, error) {
	var mu sync.Mutex
	var made string
	return func(name string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if made != "" && ours(made) { // it may have been cleaned away
			return made, nil
		}
		dir, err := os.MkdirTemp("/tmp", name+"-")
		if err != nil {
			return "", err
		}
		if _, err := RemoveAtEnd(dir); err != nil {
			return "", errors.Join(err, os.Remove(dir))
		}
		made = dir
		return dir, nil
	}
}()

// ours says whether a directory is the user's alone.
func ours(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Geteuid() && st.Mode&0o077 == 0
}

// Listen listens on a socket in a directory that is the user's alone, and replaces
// the one that a process left there. Closing the listener leaves it.
func Listen(path string) (*net.UnixListener, error) {
	var l *net.UnixListener
	err := at(path, func(address string) error {
		if err := os.Remove(address); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		var err error
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // by then, the address means another file
	return l, nil
}

// Dial connects to a socket, whose directory must not be a link.
func Dial(path string) (*net.UnixConn, error) {
	var conn *net.UnixConn
	err := at(path, func(address string) (err error) {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: address, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return conn, nil
}

// at calls use with an address of a path that is short enough for a socket, which
// has 107 bytes for it; see unix(7). The directory must be the user's alone.
func at(path string, use func(address string) error) error {
	dir, err := openParent(path)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not this user's alone", filepath.Dir(path))
	}
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path)))
}

// Peer is whose the other end of a connection is; see SO_PEERCRED in unix(7).
func Peer(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, credErr
}
