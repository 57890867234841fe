// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/proc"
)

// atTerminal starts the program with a terminal of its own, as a user would.
func (l *lab) atTerminal(args ...string) (s *session, terminal, tty *os.File) {
	l.t.Helper()
	blocking, tty, err := pty.Open()
	if err != nil {
		l.t.Fatal(err)
	}
	// Non-blocking, so that Close closes it while it is read.
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	_ = blocking.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		l.t.Fatal(err)
	}
	terminal = os.NewFile(uintptr(fd), "ptmx")
	l.t.Cleanup(func() { _ = tty.Close(); _ = terminal.Close() })
	resize(l.t, tty, 33, 99)
	s = &session{l: l, cmd: l.command(args...), output: newTranscript(), ended: make(chan struct{})}
	s.cmd.Env = append(s.cmd.Env, "TERM=vt100", "PS1=guest# ", "SHELL=/bin/sh")
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() { _, _ = io.Copy(s.output, terminal) }()
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	l.t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		if l.t.Failed() {
			l.t.Logf("at the terminal:\n%s", s.output)
		}
	})
	return s, terminal, tty
}

func resize(t *testing.T, f *os.File, rows, columns uint16) {
	t.Helper()
	if err := pty.Setsize(f, &pty.Winsize{Rows: rows, Cols: columns}); err != nil {
		t.Fatal(err)
	}
}

func settings(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

func TestShellAtATerminal(t *testing.T) {
	k := testKernel(t)
	s, terminal, tty := k.lab.atTerminal(k.flags("boot", "--no-build")...)
	before := settings(t, tty)
	s.wait("#")
	if reflect.DeepEqual(settings(t, tty), before) {
		t.Error("the terminal isn't in raw mode")
	}
	fmt.Fprint(terminal, "stty size; tty; echo $TERM; id -u\r")
	s.wait("33 99\r\n/dev/pts/")
	s.wait("vt100\r\n0\r\n")

	// The size follows.
	resize(t, tty, 20, 70)
	fmt.Fprint(terminal, "while test \"$(stty size)\" != '20 70'; do sleep 0.1; done; echo resi''zed\r")
	s.wait("resized")

	// Ctrl-C is for the guest. dash forgets one that comes just before it forks.
	fmt.Fprint(terminal, "sh -c 'echo run\"\"ning; exec sleep 1000'\r")
	s.wait("running\r\n")
	fmt.Fprint(terminal, "\x03")
	fmt.Fprint(terminal, "echo inter''rupted\r")
	s.wait("interrupted\r\n")
	fmt.Fprint(terminal, "\r~?")
	s.wait("end this session")
	fmt.Fprint(terminal, "exit 9\r")
	<-s.ended
	if status := proc.ExitStatus(s.cmd.ProcessState); status != 9 {
		t.Errorf("status %d", status)
	}
	if !reflect.DeepEqual(settings(t, tty), before) {
		t.Error("the terminal isn't as it was")
	}
}

// The terminal is as it was, however run-kernel ends.
func TestTerminalIsRestored(t *testing.T) {
	k := testKernel(t)
	for name, test := range map[string]struct {
		end    func(s *session, terminal *os.File)
		status int
	}{
		"escape key": {func(s *session, terminal *os.File) { fmt.Fprint(terminal, "\r~.") }, 129},
		"TERM":       {func(s *session, terminal *os.File) { _ = s.cmd.Process.Signal(syscall.SIGTERM) }, 143},
		"KILL":       {func(s *session, terminal *os.File) { _ = s.cmd.Process.Kill() }, 137},
		"panic": {
			func(s *session, terminal *os.File) { fmt.Fprint(terminal, "echo c >/proc/sysrq-trigger\r") },
			statusCrash,
		},
	} {
		t.Run(name, func(t *testing.T) {
			k.lab.t = t
			s, terminal, tty := k.lab.atTerminal(k.flags("boot", "--no-build")...)
			before := settings(t, tty)
			s.wait("#")
			test.end(s, terminal)
			<-s.ended
			if status := proc.ExitStatus(s.cmd.ProcessState); status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
			// After KILL it is another process that does it.
			for deadline := time.Now().Add(time.Second + busy); !reflect.DeepEqual(settings(t, tty), before); {
				if time.Now().After(deadline) {
					t.Fatal("the terminal isn't as it was")
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

// A terminal that goes away takes the guest with it.
func TestTerminalGoesAway(t *testing.T) {
	k := testKernel(t)
	s, terminal, tty := k.lab.atTerminal(k.flags("boot", "--no-build")...)
	s.wait("#")
	_ = tty.Close()
	_ = terminal.Close()
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
}
