// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// atTerminal starts the program with a terminal of its own, as a user would.
func (l *lab) atTerminal(args ...string) (s *ongoing, terminal, tty *os.File) {
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
	s = l.newOngoing(args...)
	s.cmd.Env = append(s.cmd.Env, "TERM=vt100", "PS1=guest# ", "SHELL=/bin/sh")
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s.begin()
	go func() { _, _ = io.Copy(s.output, terminal) }()
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

// Programs that use the whole screen have all of it, also after it has changed.
func TestWholeScreen(t *testing.T) {
	k := bootKernel(t)
	vm := k.lab.start(k.flags("boot", "--no-build", "--", "echo up; exec sleep infinity")...)
	vm.wait("up\n")
	t.Run("vi", func(t *testing.T) {
		l := *k.lab
		l.t = t
		const file = "/tmp/lines" // which is the guest's own
		s, terminal, tty := l.atTerminal(k.flags("exec", "-t", "--", "seq 100 >"+file+"; exec busybox vi "+file)...)
		// Its last line tells what it edits.
		s.wait("\x1b[33;1H")
		s.wait(file)
		resize(t, tty, 20, 80)
		s.wait("\x1b[20;1H")
		s.wait(file)
		fmt.Fprint(terminal, "iwas \x1b")   // at the beginning
		s.wait("- " + file + " [Modified]") // the - says that the insertion has ended
		fmt.Fprint(terminal, ":wq\r")
		if status := s.awaitEnd(); status != 0 {
			t.Errorf("status %d", status)
		}
		if r := l.expect(l.run(k.flags("exec", "--", "head -n 2 "+file)...), 0); r.stdout != "was 1\n2\n" {
			t.Errorf("the file begins with %q", r.stdout)
		}
	})
	t.Run("top", func(t *testing.T) {
		l := *k.lab
		l.t = t
		s, terminal, tty := l.atTerminal(k.flags("exec", "-t", "--", "top", "-d", "1")...)
		awaitFrame(t, s, 33, 99)
		resize(t, tty, 20, 80)
		awaitFrame(t, s, 20, 80)
		fmt.Fprint(terminal, "q")
		if status := s.awaitEnd(); status != 0 {
			t.Errorf("status %d", status)
		}
	})
	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	vm.awaitEnd()
}

// escapes are what a vt100 doesn't show.
var escapes = regexp.MustCompile("\x1b(\\[[0-9;?]*[A-Za-z]|[=>])|\x0f")

// awaitFrame waits until top has filled a screen of this size, which it begins at
// the upper left: as many lines, and the head of its table as wide.
func awaitFrame(t *testing.T, s *ongoing, rows, columns int) {
	t.Helper()
	var frame string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		frame = escapes.ReplaceAllString(strings.TrimSuffix(s.wait("\x1b[H"), "\x1b[H"), "")
		lines := strings.Split(frame, "\r\n")
		if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "  ") && strings.Contains(l, "PID USER") }); i > 0 && len(lines) == rows && len(lines[i]) == columns {
			return
		}
	}
	t.Errorf("top doesn't fill %d rows of %d columns: %q", rows, columns, frame)
}

func TestShellAtATerminal(t *testing.T) {
	k := bootKernel(t)
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
	if status := s.awaitEnd(); status != 9 {
		t.Errorf("status %d", status)
	}
	if !reflect.DeepEqual(settings(t, tty), before) {
		t.Error("the terminal isn't as it was")
	}
}

// The terminal is as it was, however run-kernel ends.
func TestTerminalIsRestored(t *testing.T) {
	k := bootKernel(t)
	for name, test := range map[string]struct {
		end    func(s *ongoing, terminal *os.File)
		status int
	}{
		"escape key": {func(s *ongoing, terminal *os.File) { fmt.Fprint(terminal, "\r~.") }, 129},
		"TERM":       {func(s *ongoing, terminal *os.File) { _ = s.cmd.Process.Signal(syscall.SIGTERM) }, 143},
		"KILL":       {func(s *ongoing, terminal *os.File) { _ = s.cmd.Process.Kill() }, 137},
		"panic": {
			func(s *ongoing, terminal *os.File) { fmt.Fprint(terminal, "echo c >/proc/sysrq-trigger\r") },
			statusCrash,
		},
	} {
		t.Run(name, func(t *testing.T) {
			k.lab.t = t
			s, terminal, tty := k.lab.atTerminal(k.flags("boot", "--no-build")...)
			before := settings(t, tty)
			s.wait("#")
			test.end(s, terminal)
			if status := s.awaitEnd(); status != test.status {
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

// The keys of the loop act on it, also after a shell had the terminal.
func TestWatchKeys(t *testing.T) {
	k := testKernel(t)
	main := newEdit(t, filepath.Join(k.source, "init/main.c"))
	s, terminal, tty := k.lab.atTerminal(k.flags("watch", "--exec", "echo tu''rn")...)
	before := settings(t, tty)
	press := func(keys string) { fmt.Fprint(terminal, keys) }
	s.wait("turn\r\n")
	s.wait("q quit")
	press("r")
	s.wait("turn\r\n")
	s.wait("q quit")
	press("p")
	s.wait("changes wait")
	main.write(main.original + "\n")
	s.wait("changed: init/main.c")
	s.wait("changes wait")
	press("p")
	s.wait("waiting for changes")
	press("s")
	s.wait("# ")
	press("echo in''side\r")
	s.wait("inside\r\n")
	press("exit\r")
	s.wait("q quit")
	press("b")
	s.wait("the guest answers")
	s.wait("turn\r\n")
	s.wait("q quit")
	press("q")
	if status := s.awaitEnd(); status != 0 {
		t.Errorf("status %d", status)
	}
	if !reflect.DeepEqual(settings(t, tty), before) {
		t.Error("the terminal isn't as it was")
	}
}

// A terminal that goes away takes the guest with it.
func TestTerminalGoesAway(t *testing.T) {
	k := bootKernel(t)
	s, terminal, tty := k.lab.atTerminal(k.flags("boot", "--no-build")...)
	s.wait("#")
	_ = tty.Close()
	_ = terminal.Close()
	s.awaitEnd()
}
