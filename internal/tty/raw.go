// SPDX-License-Identifier: GPL-3.0-only

package tty

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// restorerName is the name under which this executable is started again to give
// the terminal its settings back when run-kernel was killed.
const restorerName = "run-kernel-terminal"

// Main turns the process into a restorer, and never returns, when Raw started
// it as one. Otherwise it does nothing.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != restorerName {
		return
	}
	// It runs in the background of the terminal, whose settings it may change only
	// when the signal for that doesn't stop it; and it isn't for Ctrl-C to end it.
	signal.Ignore(syscall.SIGTTOU, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGPIPE)
	before, err := term.GetState(0)
	if err != nil {
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, "ready")
	// The pipe closes when run-kernel is gone, whatever ended it; after a byte
	// there is nothing left to do.
	var b [1]byte
	if n, _ := os.NewFile(3, "life").Read(b[:]); n == 0 {
		_ = term.Restore(0, before)
	}
	os.Exit(0)
}

// A Terminal whose settings we have changed.
type Terminal struct {
	file   *os.File
	before *term.State
	life   io.WriteCloser
	helper *exec.Cmd
	once   sync.Once
	err    error
}

// Raw takes the terminal and puts it into raw mode. Restore ends that; should
// run-kernel be killed before, another process does it.
func Raw(f *os.File) (*Terminal, error) { return take(f, (*Terminal).Raw) }

// Keys takes the terminal as Raw does, and has it give us each key at once, unseen;
// those that send signals still do.
func Keys(f *os.File) (*Terminal, error) { return take(f, (*Terminal).Keys) }

func take(f *os.File, set func(*Terminal) error) (*Terminal, error) {
	if os.Args[0] == restorerName {
		// It would start itself again and again.
		return nil, errors.New("terminal: the process that restores it doesn't call Main")
	}
	t := &Terminal{file: f}
	var err error
	if t.before, err = term.GetState(int(f.Fd())); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	defer r.Close()
	t.life = w
	t.helper = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{restorerName}, Stdin: f, ExtraFiles: []*os.File{r},
		// A group of its own: the terminal's signals and a kill of run-kernel's group
		// pass it by.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	ready, err := t.helper.StdoutPipe()
	if err == nil {
		err = t.helper.Start()
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("terminal: %w", err)
	}
	// It has read the settings when it says so.
	if _, err := io.ReadFull(ready, make([]byte, len("ready\n"))); err != nil {
		w.Close()
		_ = t.helper.Wait()
		return nil, fmt.Errorf("terminal: the process that restores it failed: %w", err)
	}
	if err := set(t); err != nil {
		_ = t.Restore()
		return nil, fmt.Errorf("terminal: %w", err)
	}
	return t, nil
}

// Raw puts the terminal into raw mode: each key goes to the guest as it is, and
// means nothing to the terminal.
func (t *Terminal) Raw() error {
	_, err := term.MakeRaw(int(t.file.Fd()))
	return err
}

// Keys puts the terminal into the mode of Keys, whatever mode it is in.
func (t *Terminal) Keys() error {
	fd := int(t.file.Fd())
	if err := term.Restore(fd, t.before); err != nil {
		return err
	}
	s, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return os.NewSyscallError("TCGETS", err)
	}
	s.Lflag &^= unix.ICANON | unix.ECHO
	s.Cc[unix.VMIN], s.Cc[unix.VTIME] = 1, 0
	return os.NewSyscallError("TCSETS", unix.IoctlSetTermios(fd, unix.TCSETS, s))
}

// InForeground says whether our process group is the one that may read the terminal.
func InForeground(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// Restore gives the terminal its settings back. Once is enough, more does no
// harm.
func (t *Terminal) Restore() error {
	t.once.Do(func() {
		t.err = term.Restore(int(t.file.Fd()), t.before)
		_, _ = t.life.Write([]byte{0})
		_ = t.life.Close()
		_ = t.helper.Wait()
	})
	return t.err
}

// Size returns the terminal's size in characters.
func Size(f *os.File) (rows, columns int, err error) {
	columns, rows, err = term.GetSize(int(f.Fd()))
	return rows, columns, err
}

// Resized returns a channel that gets a value each time the terminal's size has
// changed, and a function that ends that.
func Resized() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH)
	return c, func() { signal.Stop(c) }
}
