// SPDX-License-Identifier: GPL-3.0-only

package tty_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/tty"
)

// ownerVariable makes the test binary one that has the terminal in raw mode.
const ownerVariable = "RUN_KERNEL_TEST_OWNER"

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	tty.Main()
	if os.Getenv(ownerVariable) != "" {
		if _, err := tty.Raw(os.Stdin); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("raw", os.Getpid())
		// Not select {}, which the runtime takes for a deadlock.
		_ = unix.Pause()
	}
	os.Exit(m.Run())
}

func open(t *testing.T) (term, file *os.File) {
	t.Helper()
	term, file, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = file.Close()
		_ = term.Close()
	})
	return term, file
}

func settings(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// holders counts the other processes that have the terminal open.
func holders(t *testing.T, f *os.File) int {
	t.Helper()
	n := 0
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	seen := map[string]bool{}
	for _, fd := range fds {
		pid := strings.Split(fd, "/")[2]
		if to, err := os.Readlink(fd); err == nil && to == f.Name() && pid != fmt.Sprint(os.Getpid()) && !seen[pid] {
			seen[pid] = true
			n++
		}
	}
	return n
}

func TestRawAndRestore(t *testing.T) {
	_, file := open(t)
	before := settings(t, file)
	for range 3 {
		raw, err := tty.Raw(file)
		if err != nil {
			t.Fatal(err)
		}
		if s := settings(t, file); s.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 {
			t.Errorf("in raw mode: %+v", s)
		}
		if n := holders(t, file); n != 1 {
			t.Errorf("%d processes hold the terminal", n)
		}
		for range 2 {
			if err := raw.Restore(); err != nil {
				t.Error(err)
			}
			if s := settings(t, file); !reflect.DeepEqual(s, before) {
				t.Errorf("got %+v, want %+v", s, before)
			}
		}
		if n := holders(t, file); n != 0 {
			t.Errorf("%d processes are left", n)
		}
	}
}

// A restorer that somebody killed is no reason not to restore.
func TestRestoreWithoutTheRestorer(t *testing.T) {
	_, file := open(t)
	before := settings(t, file)
	raw, err := tty.Raw(file)
	if err != nil {
		t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, l := range lists {
		more, _ := os.ReadFile(l)
		children = append(append(children, ' '), more...)
	}
	if err != nil || len(strings.Fields(string(children))) == 0 {
		t.Skipf("the kernel lists no children: %v", err)
	}
	var pid int
	if _, err := fmt.Sscan(string(children), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := raw.Restore(); err != nil {
		t.Error(err)
	}
	if s := settings(t, file); !reflect.DeepEqual(s, before) {
		t.Errorf("got %+v, want %+v", s, before)
	}
}

func TestNoTerminal(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := tty.Raw(f); err == nil {
		t.Error("/dev/null is a terminal")
	}
	if _, _, err := tty.Size(f); err == nil {
		t.Error("/dev/null has a size")
	}
}

func TestSize(t *testing.T) {
	term, file := open(t)
	if err := pty.Setsize(term, &pty.Winsize{Rows: 40, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	if rows, columns, err := tty.Size(file); rows != 40 || columns != 100 || err != nil {
		t.Errorf("got %d, %d, %v", rows, columns, err)
	}
}

func TestResized(t *testing.T) {
	c, stop := tty.Resized()
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Error("nobody is told")
	}
}

func TestOwnerIsKilled(t *testing.T) {
	for _, group := range []bool{false, true} {
		_, file := open(t)
		before := settings(t, file)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		// A shell with job control has the terminal, as a user's does: the end of its
		// session would reset the settings. It leaves them as the job did.
		cmd := exec.Command("/bin/sh", "-c", `set -m; "$0"; echo over; read x`, self)
		cmd.Env = append(os.Environ(), ownerVariable+"=1")
		cmd.Stdin = file
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(out)
		var pid int
		if _, err := fmt.Fscanf(br, "raw %d\n", &pid); err != nil {
			t.Fatal(err)
		}
		if s := settings(t, file); s.Lflag&unix.ECHO != 0 {
			t.Error("it isn't in raw mode")
		}
		if n := holders(t, file); n != 3 {
			t.Errorf("%d processes hold the terminal: a shell, the owner, the restorer", n)
		}
		if group {
			pid = -pid
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if line, err := br.ReadString('\n'); line != "over\n" {
			t.Fatal(line, err)
		}
		await(t, "the settings from before", func() bool { return reflect.DeepEqual(settings(t, file), before) })
		await(t, "the restorer to end", func() bool { return holders(t, file) == 1 })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
