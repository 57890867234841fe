// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// removerName is the name under which this executable is started again to remove a
// file or a directory when run-kernel was killed.
const removerName = "run-kernel-remover"

// isMain says that Main was called: an executable that doesn't call it can't be a
// remover.
var isMain bool

// Main turns the process into a remover, and never returns, when RemoveAtEnd started
// it as one. Otherwise it does nothing.
func Main() {
	isMain = true
	if len(os.Args) != 3 || os.Args[0] != removerName {
		return
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	path, want := os.Args[1], os.Args[2]
	// The pipe closes when run-kernel is gone, whatever ended it; after a byte there
	// is nothing left to do.
	var b [1]byte
	n, _ := os.NewFile(3, "life").Read(b[:])
	if n == 0 {
		removeIf(path, want)
	}
	os.Exit(0)
}

// removeIf removes a file or a directory if it is the wanted one. It looks after it has
// renamed it, since between a look and the removal a new owner could replace it.
func removeIf(path, want string) {
	if identity(path) != want {
		return // the common case: no new owner is disturbed
	}
	moved := fmt.Sprintf("%s.removed-%d", path, os.Getpid())
	if os.Rename(path, moved) != nil {
		return
	}
	if identity(moved) != want && unix.Renameat2(unix.AT_FDCWD, moved, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE) == nil {
		return
	}
	// The wanted one, or one whose owner has been replaced in turn.
	_ = os.RemoveAll(moved)
}

// identity tells a file from one that has its name later, and its inode maybe: the next
// owner can be there before the remover looks for the first time.
func identity(path string) string {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return ""
	}
	return fmt.Sprintf("%d:%d:%d:%d.%d", st.Dev_major, st.Dev_minor, st.Ino, st.Btime.Sec, st.Btime.Nsec)
}

// TempDir makes a directory that remove removes, or a remover if the process ends before.
func TempDir(pattern string) (dir string, remove func(), err error) {
	// Others use it in directories of their own, such as make; $TMPDIR may be relative.
	base, err := filepath.Abs(os.TempDir())
	if err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(base, pattern); err != nil {
		return "", nil, err
	}
	stop, err := RemoveAtEnd(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return dir, func() {
		_ = os.RemoveAll(dir)
		stop()
	}, nil
}

// RemoveAtEnd has a file, or a directory with what is in it, removed when this process
// ends without having called stop, which may be called more than once.
func RemoveAtEnd(path string) (stop func(), err error) {
	if !isMain {
		return func() {}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("remover: %w", err)
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{removerName, path, identity(path)}, ExtraFiles: []*os.File{r},
		// A group of its own: the terminal's signals and a kill of run-kernel's group
		// pass it by.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("remover: %w", err), w.Close())
	}
	return sync.OnceFunc(func() {
		_, _ = w.Write([]byte{0})
		_ = w.Close()
		_ = cmd.Wait()
	}), nil
}
