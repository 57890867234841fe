// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/trust"
	"github.com/metaspace/run-kernel/kbuild"
)

// An Address is where an owner is found: by its build directory, and by the name
// of its VM, where it has one. Who has the address without a name has the build
// directory to itself, to build in it.
type Address struct{ Build, Name string }

// nameForm is that of names. They are part of a directory's.
var nameForm = pattern.New(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

// CheckName says what is wrong with the name of a VM.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q: a name has 1 to 32 letters, digits, dots, hyphens and underscores, and begins with one of the first two", name)
	}
	return nil
}

const (
	lockName = "lock"
	namesDir = "vm" // has a directory for each VM with a name
)

// lockPath is the path of the file whose lock the owner holds, and in which it
// writes where its socket is. It is in the build directory, so that a container and
// its host, which share no sockets, exclude each other.
func (a Address) lockPath() string {
	if a.Name == "" {
		return filepath.Join(a.Build, kbuild.StateName, lockName)
	}
	return filepath.Join(a.Build, kbuild.StateName, namesDir, a.Name, lockName)
}

// lockTries is how often a lock is tried: who asks whether it is held has it for a
// moment.
const lockTries = 20

// lock takes the lock. It fails with EWOULDBLOCK when somebody has it.
func (a Address) lock(p *trust.Policy) (*os.File, error) {
	names := []string{kbuild.StateName}
	if a.Name != "" {
		names = append(names, namesDir, a.Name)
	}
	if err := private.MkdirAll(p, a.Build, names...); err != nil {
		return nil, err
	}
	f, err := private.Open(a.lockPath())
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EWOULDBLOCK) && try < lockTries {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		return f, f.Truncate(0)
	}
}

// owner returns where the owner's socket is, and ErrNone without any owner.
func (a Address) owner() (string, error) {
	f, err := os.OpenFile(a.lockPath(), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		if _, err := os.Stat(a.Build); err != nil {
			return "", err
		}
		return "", ErrNone
	case errors.Is(err, fs.ErrPermission):
		if uid := ownerOf(filepath.Dir(a.lockPath())); uid != os.Geteuid() {
			return "", &otherUserError{a.Build, uid}
		}
		return "", err
	case err != nil:
		return "", err
	}
	defer f.Close()
	// The owner writes the path as soon as it listens.
	for try := 1; ; try++ {
		err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		switch {
		case err == nil:
			return "", ErrNone
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return "", fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		path := make([]byte, unix.PathMax)
		n, _ := f.ReadAt(path, 0)
		if line, _, ok := strings.Cut(string(path[:n]), "\n"); ok && filepath.IsAbs(line) {
			return line, nil
		}
		if try == 50 {
			return "", fmt.Errorf("another run-kernel has the lock %s, and doesn't answer", f.Name())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// socketPath is where an owner listens: the name is that of the lock, as the file
// system knows it, so that an owner replaces what one that was killed has left.
func socketPath(lock *os.File) (string, error) {
	dir, err := private.RuntimeDir()
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(lock.Fd()), &st); err != nil {
		return "", err
	}
	return filepath.Join(dir, fmt.Sprintf("%x-%x", st.Dev, st.Ino)), nil
}

// List returns the addresses in a build directory that somebody has, the one
// without a name first. Names that only another user sees are not among them.
func List(build string) ([]Address, error) {
	candidates := []Address{{Build: build}}
	entries, err := os.ReadDir(filepath.Join(build, kbuild.StateName, namesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) { // the first says more
		return nil, fmt.Errorf("control: %w", err)
	}
	for _, e := range entries {
		if nameForm.MatchString(e.Name()) {
			candidates = append(candidates, Address{build, e.Name()})
		}
	}
	var list []Address
	for _, a := range candidates {
		_, err := a.owner()
		switch {
		case err == nil:
			list = append(list, a)
		case a.Name != "" && errors.As(err, new(*otherUserError)): // sudo made it, and we can't reach its VM
		case !errors.Is(err, ErrNone):
			return nil, fmt.Errorf("control: %w", err)
		}
	}
	slices.SortFunc(list, func(a, b Address) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}
