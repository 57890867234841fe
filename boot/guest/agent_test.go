// SPDX-License-Identifier: GPL-3.0-only

package guest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/guest"
)

// agentVariable holds the Config of an agent that the test binary shall be: the
// agent waits for every child of its process, package exec included.
const agentVariable = "RUN_KERNEL_TEST_AGENT"

func TestMain(m *testing.M) {
	guest.SFTPMain()
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	if text := os.Getenv(agentVariable); text != "" {
		beAgent(text)
	}
	// Under nohup, all that the tests start would ignore it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

func beAgent(text string) {
	var c guest.Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	// As the first process would, it gets the orphans.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGUSR1)
	go func() {
		for range ask {
			fmt.Println(runtime.NumGoroutine())
		}
	}()
	up := make(chan error, 1)
	up <- nil
	if err := guest.Serve(&c, os.NewFile(3, "port"), up); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// An agent is another process that is one.
type agent struct {
	*ssh.Client
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Reader
}

func startAgent(t *testing.T, c *guest.Config) *agent {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer theirs.Close()
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, cmd: exec.Command("/proc/self/exe")}
	a.cmd.Env = append(os.Environ(), agentVariable+"="+string(text))
	a.cmd.ExtraFiles = []*os.File{theirs}
	a.cmd.Stderr = os.Stderr
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cc, channels, requests, err := ssh.NewClientConn(conn, "", &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		t.Fatal(err)
	}
	a.Client = ssh.NewClient(cc, channels, requests)
	t.Cleanup(func() {
		_ = a.Close()
		if err := a.cmd.Wait(); err != nil {
			t.Errorf("agent: %v", err)
		}
	})
	return a
}

// run runs a command and returns what it wrote and its status.
func (a *agent) run(c boot.Command) (stdout, stderr string, status int) {
	a.t.Helper()
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errors.New("it hangs"))
	defer cancel()
	status, err := boot.Run(ctx, a.Client, c)
	if err != nil {
		a.t.Errorf("%+v: %v", c, err)
	}
	return out.String(), errOut.String(), status
}

// use is what the agent holds.
type use struct{ fds, goroutines, children int }

func (a *agent) use() use {
	a.t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		a.t.Fatal(err)
	}
	line, err := a.out.ReadString('\n')
	if err != nil {
		a.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		a.t.Fatal(err)
	}
	u := use{goroutines: n}
	proc := "/proc/" + strconv.Itoa(a.cmd.Process.Pid)
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		a.t.Fatal(err)
	}
	u.fds = len(fds)
	lists, _ := filepath.Glob(proc + "/task/*/children")
	for _, l := range lists {
		list, _ := os.ReadFile(l)
		u.children += len(strings.Fields(string(list)))
	}
	return u
}

// settle returns what the agent holds when nothing runs.
func (a *agent) settle() use {
	a.t.Helper()
	a.run(boot.Command{Argv: []string{"true"}}) // it opens what it keeps
	last := a.use()
	await(a.t, "the agent to be idle", func() bool {
		now := a.use()
		same := now == last && now.children == 0
		last = now
		return same
	})
	return last
}

func (a *agent) awaitUse(before use) {
	a.t.Helper()
	var now use
	defer func() {
		if a.t.Failed() {
			a.t.Logf("before %+v, now %+v", before, now)
		}
	}()
	defer func() {
		if a.t.Failed() {
			out, _ := exec.Command("ps", "-o", "pid,ppid,pgid,sid,stat,tty,args", "-g", strconv.Itoa(os.Getpid()), "--ppid", strconv.Itoa(a.cmd.Process.Pid)).CombinedOutput()
			a.t.Logf("%s", out)
		}
	}()
	await(a.t, "the agent to give everything back", func() bool {
		now = a.use()
		return now.fds <= before.fds && now.goroutines <= before.goroutines && now.children == 0
	})
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"bin", "real/deep"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// x/../prog is real/prog, not prog.
	if err := os.Symlink("real/deep", filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/prog", "#!/bin/sh\necho wrong\n", 0o755)
	write(t, dir+"/real/prog", "#!/bin/sh\necho right $0\n", 0o755)
	write(t, dir+"/bin/tool", "echo a script without an interpreter: $1\n", 0o755)
	write(t, dir+"/bin/plain", "text\n", 0o644)
	a := startAgent(t, &guest.Config{Dir: dir, Env: []string{"LANG=C.UTF-8", "HOME=/home"}})

	argv := func(argv ...string) boot.Command { return boot.Command{Argv: argv} }
	shell := func(line string, env ...string) boot.Command { return boot.Command{Shell: line, Env: env} }
	for name, test := range map[string]struct {
		command        boot.Command
		stdout, stderr string
		status         int
	}{
		"argv":              {argv("printf", "%s.", "a b", "", "$x"), "a b..$x.", "", 0},
		"shell":             {shell("echo $((1+1)) | cat"), "2\n", "", 0},
		"streams":           {shell("echo out; echo err >&2; exit 3"), "out\n", "err\n", 3},
		"signal":            {shell("kill -TERM $$"), "", "", 128 + 15},
		"real-time signal":  {argv("/usr/bin/env", "bash", "-c", "kill -40 $$"), "", "", 128 + 40},
		"directory":         {argv("pwd"), dir + "\n", "", 0},
		"environment":       {shell("echo $LANG $USER $X", "X=1=2"), "C.UTF-8 root 1=2\n", "", 0},
		"last value wins":   {argv("env"), "", "", 0},
		"no stdin":          {argv("cat"), "", "", 0},
		"not found":         {argv("no-such-program"), "", "run-kernel: no-such-program: file does not exist\r\n", 127},
		"empty name":        {argv(""), "", "run-kernel: : file does not exist\r\n", 127},
		"no such file":      {argv("./none"), "", "run-kernel: ./none: no such file or directory\r\n", 127},
		"may not be run":    {argv("bin/plain"), "", "run-kernel: bin/plain: permission denied\r\n", 126},
		"is a directory":    {argv("./bin"), "", "run-kernel: ./bin: permission denied\r\n", 126},
		"relative":          {argv("x/../prog"), "right " + dir + "/x/../prog\n", "", 0},
		"PATH":              {boot.Command{Argv: []string{"tool", "arg"}, Env: []string{"PATH=" + dir + "/bin"}}, "a script without an interpreter: arg\n", "", 0},
		"empty PATH":        {boot.Command{Argv: []string{"prog"}, Env: []string{"PATH="}}, "wrong\n", "", 0},
		"PATH, not allowed": {boot.Command{Argv: []string{"plain"}, Env: []string{"PATH=/nonexistent:bin"}}, "", "run-kernel: plain: permission denied\r\n", 126},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := a.run(test.command)
			if name == "last value wins" {
				if n := strings.Count(stdout, "HOME="); n != 1 || !strings.Contains(stdout, "HOME=/home\n") {
					t.Errorf("environment %q", stdout)
				}
				return
			}
			if stdout != test.stdout || stderr != test.stderr || status != test.status {
				t.Errorf("got %q, %q, %d", stdout, stderr, status)
			}
		})
	}
	t.Run("bad variable", func(t *testing.T) {
		_, err := boot.Run(context.Background(), a.Client, shell("true", "A=\x00"))
		if err == nil {
			t.Error("it is accepted")
		}
	})
	t.Run("shell", func(t *testing.T) {
		out, _, status := a.run(boot.Command{Stdin: strings.NewReader("echo $0; exit 4\n")})
		if !strings.HasPrefix(out, "-") || status != 4 {
			t.Errorf("got %q, %d", out, status)
		}
	})
}

func TestDirectoryThatIsMissingInTheGuest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "", 0o755)
	for _, dir := range []string{"/nonexistent", "", file} {
		a := startAgent(t, &guest.Config{Dir: dir})
		if out, stderr, status := a.run(boot.Command{Shell: "pwd; echo $PWD"}); out != "/\n/\n" || status != 0 {
			t.Errorf("in %q: got %q, %q, %d", dir, out, stderr, status)
		}
	}
}

func TestLargeInput(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/"})
	before := a.settle()
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	out, _, status := a.run(boot.Command{Argv: []string{"cat"}, Stdin: bytes.NewReader(data)})
	if out != string(data) || status != 0 {
		t.Errorf("%d bytes came back, status %d", len(out), status)
	}
	// Nobody reads most of it.
	out, _, status = a.run(boot.Command{Argv: []string{"head", "-c", "4"}, Stdin: bytes.NewReader(data)})
	if out != "0123" || status != 0 {
		t.Errorf("head: %q, %d", out, status)
	}
	out, _, status = a.run(boot.Command{Shell: "exec <&-; echo closed", Stdin: bytes.NewReader(data)})
	if out != "closed\n" || status != 0 {
		t.Errorf("closed: %q, %d", out, status)
	}
	// A client whose input never ends doesn't keep a session alive.
	r, w := io.Pipe()
	defer w.Close()
	if _, _, status := a.run(boot.Command{Argv: []string{"false"}, Stdin: r}); status != 1 {
		t.Errorf("endless input: %d", status)
	}
	a.awaitUse(before)
}

// What a command left in the background with its standard output open is waited
// for.
func TestBackgroundOutput(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: t.TempDir()})
	before := a.settle()
	r, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		status, err := boot.Run(context.Background(), a.Client, boot.Command{
			Shell: "mkfifo fifo; (read x <fifo; echo late) & echo early; exit 5", Stdout: w,
		})
		if err != nil {
			t.Error(err)
		}
		w.Close()
		done <- status
	}()
	br := bufio.NewReader(r)
	if line, err := br.ReadString('\n'); line != "early\n" {
		t.Fatal(line, err)
	}
	select {
	case <-done:
		t.Error("the session ended before the output did")
	default:
	}
	a.run(boot.Command{Shell: "echo x >fifo"})
	if rest, err := io.ReadAll(br); string(rest) != "late\n" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	if status := <-done; status != 5 {
		t.Errorf("status %d", status)
	}
	a.awaitUse(before)
}

func TestClientGoesAway(t *testing.T) {
	terminal := &boot.Terminal{Type: "dumb", Size: boot.Size{Rows: 24, Columns: 80}}
	for name, c := range map[string]boot.Command{
		"a group":                   {Shell: "sleep 1000 & echo ready; sleep 1000 | sleep 1000"},
		"writes, without SIGHUP":    {Shell: "trap '' HUP; echo ready; while echo x; do :; done"},
		"reads, without SIGHUP":     {Shell: "trap '' HUP; echo ready; cat"},
		"on a terminal":             {Shell: "echo ready; sleep 1000", Terminal: terminal},
		"a terminal, and no signal": {Shell: "trap '' HUP; echo ready; cat", Terminal: terminal},
		"jobs of a shell":           {Terminal: terminal, Stdin: strings.NewReader("PS1=; sleep 1000 & \nsleep 1000 & \necho rea''dy\nsleep 1000\n")},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAgent(t, &guest.Config{Dir: "/", Shell: "/bin/bash"})
			before := a.settle()
			if c.Stdin == nil {
				r, w := io.Pipe()
				defer w.Close()
				c.Stdin = r
			}
			out, w := io.Pipe()
			c.Stdout, c.Stderr = w, w
			gone := errors.New("gone")
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			go func() {
				lines := bufio.NewScanner(out)
				for lines.Scan() {
					if strings.Contains(lines.Text(), "ready") {
						cancel(gone)
					}
				}
			}()
			if _, err := boot.Run(ctx, a.Client, c); !errors.Is(err, gone) {
				t.Errorf("got %v", err)
			}
			a.awaitUse(before)
		})
	}
}

// A session whose background process has left the group, and holds the output,
// doesn't outlive its client either.
func TestClientGoesAwayFromADaemon(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/"})
	before := a.settle()
	out, w := io.Pipe()
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	result := make(chan error, 1)
	go func() {
		_, err := boot.Run(ctx, a.Client, boot.Command{Shell: "setsid sh -c 'echo $$; exec sleep 1000' &", Stdout: w})
		result <- err
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	cancel(gone)
	if err := <-result; !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	await(t, "the session's end", func() bool {
		now := a.use()
		return now.fds <= before.fds && now.goroutines <= before.goroutines
	})
	// It asked to be left alone.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
	a.awaitUse(before)
}

func TestTerminal(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/", Env: []string{"TERM=wrong"}})
	before := a.settle()
	command := func(line string) boot.Command {
		return boot.Command{Shell: line, Terminal: &boot.Terminal{Type: "dumb", Size: boot.Size{Rows: 33, Columns: 77}}}
	}
	out, _, status := a.run(command("tty; stty size; echo $TERM; test -t 0 -a -t 1 -a -t 2"))
	lines := strings.Split(out, "\r\n")
	if len(lines) < 3 || !strings.HasPrefix(lines[0], "/dev/pts/") || lines[1] != "33 77" || lines[2] != "dumb" || status != 0 {
		t.Errorf("got %q, %d", out, status)
	}
	// Nothing is lost at the end.
	out, _, _ = a.run(command("seq 30000"))
	if n := strings.Count(out, "\r\n"); n != 30000 || !strings.HasSuffix(out, "30000\r\n") {
		t.Errorf("%d lines, the last is %q", n, out[max(0, len(out)-20):])
	}
	// The terminal goes with its leader.
	out, _, status = a.run(command("sleep 1000 & echo $!; exit 6"))
	if status != 6 {
		t.Errorf("with a job in the background: %q, %d", out, status)
	}
	// Also from a job of an interactive shell, which goes on, be it silent or not.
	for _, job := range []string{"sleep 1000", "yes"} {
		c := command("")
		c.Shell, c.Stdin = "", strings.NewReader("PS1=; trap '' HUP; "+job+" & echo job''=$!\nexit 3\n")
		out, _, status = a.run(c)
		_, after, _ := strings.Cut(out, "job=")
		pid, err := strconv.Atoi(after[:max(0, strings.IndexAny(after, "\r\n"))])
		if err != nil || status != 3 {
			t.Fatalf("a shell with a job: %.200q, %d", out, status)
		}
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	_, _, status = a.run(boot.Command{Argv: []string{"no-such-program"}, Terminal: &boot.Terminal{}})
	if status != 127 {
		t.Errorf("not found: %d", status)
	}
	a.awaitUse(before)
}

func TestResize(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/"})
	resize := make(chan boot.Size)
	in, typed := io.Pipe()
	defer typed.Close()
	out, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		status, err := boot.Run(context.Background(), a.Client, boot.Command{
			Shell: "trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.01; done", Stdin: in, Stdout: w, Terminal: &boot.Terminal{Size: boot.Size{Rows: 1, Columns: 2}, Resize: resize},
		})
		if err != nil {
			t.Error(err)
		}
		w.Close()
		done <- status
	}()
	br := bufio.NewReader(out)
	if line, err := br.ReadString('\n'); line != "ready\r\n" {
		t.Fatal(line, err)
	}
	resize <- boot.Size{Rows: 40, Columns: 100}
	close(resize) // no more sizes
	if rest, err := io.ReadAll(br); string(rest) != "40 100\r\n" {
		t.Errorf("got %q, %v", rest, err)
	}
	if status := <-done; status != 5 {
		t.Errorf("status %d", status)
	}
}

func TestSignalRequest(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/"})
	before := a.settle()
	s, err := a.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Signal("TERM"); err != nil { // there is nothing to signal yet
		t.Error(err)
	}
	if err := s.Start("trap 'echo usr1' USR1; sh -c 'trap exit USR1; echo ready; while :; do sleep 0.01; done'; exit 9"); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(out)
	if line, err := br.ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	if err := s.Signal("USR1"); err != nil {
		t.Error(err)
	}
	if line, err := br.ReadString('\n'); line != "usr1\n" {
		t.Error(line, err)
	}
	exit := (*ssh.ExitError)(nil)
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 9 {
		t.Errorf("got %v", err)
	}
	a.awaitUse(before)
}

func TestManySessions(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/"})
	a.run(boot.Command{Shell: "true", Terminal: &boot.Terminal{}})
	before := a.settle()
	var g sync.WaitGroup
	for i := range 10 {
		g.Go(func() {
			for j := range 10 {
				want := fmt.Sprintf("%d %d", i, j)
				c := boot.Command{Argv: []string{"echo", want}}
				if j%2 == 1 {
					c.Terminal = &boot.Terminal{}
				}
				out, _, status := a.run(c)
				if strings.TrimSpace(out) != want || status != 0 {
					t.Errorf("got %q, %d; want %q", out, status, want)
				}
			}
		})
	}
	g.Wait()
	a.awaitUse(before)
}

func TestRefusals(t *testing.T) {
	a := startAgent(t, &guest.Config{Dir: "/"})
	before := a.settle()
	for _, kind := range []string{"forwarded-tcpip", "x11", "", "SESSION"} {
		_, _, err := a.OpenChannel(kind, nil)
		open := (*ssh.OpenChannelError)(nil)
		if !errors.As(err, &open) || open.Reason != ssh.UnknownChannelType {
			t.Errorf("channel %q: %v", kind, err)
		}
	}
	if ok, _, err := a.SendRequest("nonsense", true, []byte("x")); ok || err != nil {
		t.Errorf("a global request: %v, %v", ok, err)
	}
	ok, answer, err := a.SendRequest(guest.SyncRequest, true, nil)
	var synced guest.Synced
	if !ok || err != nil || ssh.Unmarshal(answer, &synced) != nil || !synced.Known {
		t.Errorf("sync: %v, %v, %+v", ok, err, synced)
	}
	for _, r := range []struct{ name, payload string }{
		{"pty-req", "x"},
		{"window-change", "\x00"},
		{"env", "\xff\xff\xff\xff"},
		{"signal", "\x00\x00\x00\x09NONSENSE!"},
		{"exec", ""},
		{guest.ArgvRequest, "[]"},
		{guest.ArgvRequest, "{"},
		{guest.ArgvRequest, `["a", 1]`},
		{"subsystem", "\x00\x00\x00\x04nope"},
		{"subsystem", "\x00\x00\x00\x05sftp"},
		{"env", string(ssh.Marshal(guest.Env{Name: "", Value: "x"}))},
		{"env", string(ssh.Marshal(guest.Env{Name: "a=b", Value: "x"}))},
	} {
		channel, requests, err := a.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		if ok, err := channel.SendRequest(r.name, true, []byte(r.payload)); ok || err != nil {
			t.Errorf("%s %q: %v, %v", r.name, r.payload, ok, err)
		}
		channel.Close()
	}

	// One terminal and one command a session, in this order.
	channel, requests, err := a.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan uint32, 1)
	go func() {
		for r := range requests {
			if s := (guest.ExitStatus{}); r.Type == "exit-status" && ssh.Unmarshal(r.Payload, &s) == nil {
				status <- s.Status
			}
		}
	}()
	argv := []byte(`["sh", "-c", "read x; exit 7"]`)
	pty := ssh.Marshal(guest.PTY{Term: "dumb"})
	var got []bool
	for _, r := range []struct {
		name    string
		payload []byte
	}{{"pty-req", pty}, {"pty-req", pty}, {guest.ArgvRequest, argv}, {guest.ArgvRequest, argv}, {"pty-req", pty}} {
		ok, err := channel.SendRequest(r.name, true, r.payload)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ok)
	}
	if want := []bool{true, false, true, false, false}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := channel.Write([]byte("\n")); err != nil {
		t.Error(err)
	}
	if s := <-status; s != 7 {
		t.Errorf("status %d", s)
	}
	channel.Close()

	// A terminal and no command.
	if channel, requests, err = a.OpenChannel("session", nil); err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(requests)
	if ok, err := channel.SendRequest("pty-req", true, pty); !ok || err != nil {
		t.Error(ok, err)
	}
	channel.Close()
	a.awaitUse(before)
}
