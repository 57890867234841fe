// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/trust"
)

// roleVariable says what else the test binary shall be; its value's first word
// is the role, the rest a build directory.
const roleVariable = "RUN_KERNEL_TEST_ROLE"

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	private.Main()
	role, build, _ := strings.Cut(os.Getenv(roleVariable), " ")
	switch role {
	case "agent":
		up := make(chan error, 1)
		up <- nil
		if err := guest.Serve(&guest.Config{Dir: "/"}, os.NewFile(3, "port"), up); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "owner":
		stop := make(chan struct{})
		s, err := Listen(&trust.Policy{}, Address{Build: build}, "watch", sync.OnceFunc(func() { close(stop) }))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready")
		<-stop
		_ = s.Close()
		os.Exit(0)
	case "intruder":
		intrude(build)
		os.Exit(0)
	case "client":
		c, err := Dial(Address{Build: build})
		if err == nil {
			_, err = c.Status()
		}
		fmt.Println(err)
		os.Exit(0)
	case "list":
		fmt.Println(List(build))
		os.Exit(0)
	}
	// Under nohup, all that the tests start would ignore it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

func command(role, build string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+role+" "+build)
	cmd.Stderr = os.Stderr
	return cmd
}

// startAgent returns a client of an agent in another process, and that process.
func startAgent(t *testing.T) (*ssh.Client, *exec.Cmd) {
	t.Helper()
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
	cmd := command("agent", "")
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cc, channels, requests, err := ssh.NewClientConn(conn, "", &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(cc, channels, requests)
	t.Cleanup(func() {
		_ = client.Close()
		_ = cmd.Wait()
	})
	return client, cmd
}

func startOwner(t *testing.T, build string) *exec.Cmd {
	t.Helper()
	cmd := command("owner", build)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the owner says %q, %v", line, err)
	}
	return cmd
}

func listen(t *testing.T, build string, stop func()) *Server {
	t.Helper()
	s, err := Listen(&trust.Policy{}, Address{Build: build}, "boot", stop)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func dial(t *testing.T, build string) *Client {
	t.Helper()
	c, err := Dial(Address{Build: build})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func run(t *testing.T, client *ssh.Client, c boot.Command) (stdout, stderr string, status int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errors.New("it hangs"))
	defer cancel()
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	status, err = boot.Run(ctx, client, c)
	return out.String(), errOut.String(), status, err
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestStatus(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, func() {})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(build, link); err != nil {
		t.Fatal(err)
	}
	c := dial(t, link) // by any of its names
	got, err := c.Status()
	if err != nil || got.PID != os.Getpid() || got.Command != "boot" || got.Build != build || got.Guest || time.Since(got.Started) > time.Minute {
		t.Errorf("got %+v, %v", got, err)
	}
	client, _ := startAgent(t)
	s.SetPhase("run")
	s.SetGuest(&Guest{Client: client, Image: "/image"})
	if got, err := c.Status(); err != nil || got.Phase != "run" || !got.Guest || got.Image != "/image" {
		t.Errorf("got %+v, %v", got, err)
	}
	s.SetGuest(nil)
	if got, err := c.Status(); err != nil || got.Guest || got.Image != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	if ok, _, err := c.SendRequest("nonsense", true, nil); ok || err != nil {
		t.Errorf("an unknown request: %v, %v", ok, err)
	}
}

func TestBusyNamesTheOwner(t *testing.T) {
	build := t.TempDir()
	owner := startOwner(t, build)
	_, err := Listen(&trust.Policy{}, Address{Build: build}, "boot", nil)
	busy := (*BusyError)(nil)
	if !errors.As(err, &busy) || busy.Status.PID != owner.Process.Pid {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"watch", fmt.Sprint(owner.Process.Pid), build} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	// Another directory is free.
	listen(t, t.TempDir(), nil)
	// The name goes with its owner.
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	if _, err := Dial(Address{Build: build}); !errors.Is(err, ErrNone) {
		t.Errorf("after its end: %v", err)
	}
	s := listen(t, build, nil)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Dial(Address{Build: build}); !errors.Is(err, ErrNone) {
		t.Errorf("after Close: %v", err)
	}
}

// An owner that can't take a connection, for want of descriptors, takes the next.
func TestServerOutOfDescriptors(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, func() {})
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: s.socket})
	time.Sleep(100 * time.Millisecond) // until it has failed, which nothing tells
	if err := errors.Join(err, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, build).Status(); err != nil {
		t.Error(err)
	}
}

func TestNoSuchDirectory(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	if _, err := Dial(Address{Build: missing}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Dial: %v", err)
	}
	if _, err := Listen(&trust.Policy{}, Address{Build: missing}, "boot", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Listen: %v", err)
	}
}

func TestStop(t *testing.T) {
	build := t.TempDir()
	owner := startOwner(t, build)
	c := dial(t, build)
	if outcome, err := c.Stop(t.Context()); outcome != NoGuest || err != nil {
		t.Errorf("got %q, %v", outcome, err)
	}
	if _, err := Dial(Address{Build: build}); !errors.Is(err, ErrNone) {
		t.Errorf("Stop returned before the end: %v", err)
	}
	if err := owner.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := c.Stop(t.Context()); err == nil {
		t.Error("the second Stop succeeds")
	}
}

// The guest is asked first, and what became of it is told.
func TestStopAsksTheGuest(t *testing.T) {
	client, _ := startAgent(t)
	powersOff := func(yes bool) func(_, _ time.Duration) bool { return func(_, _ time.Duration) bool { return yes } }
	for want, guest := range map[Outcome]*Guest{
		NoGuest:    nil,
		PoweredOff: {Client: client, PowerOff: powersOff(true)},
		Ended:      {Client: client, PowerOff: powersOff(false)},
	} {
		build := t.TempDir()
		stopped := make(chan struct{})
		s := listen(t, build, func() { close(stopped) })
		s.SetGuest(guest)
		go func() {
			<-stopped
			if !s.Stopped() {
				t.Error("the owner doesn't know")
			}
			_ = s.Close()
		}()
		c := dial(t, build)
		if got, err := c.ask(stopRequest, time.Minute); err != nil || Outcome(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	// One that doesn't answer yet isn't asked.
	s := listen(t, t.TempDir(), func() {})
	s.SetGuest(&Guest{})
	if got := s.end(); got != Ended {
		t.Errorf("without an agent: %q", got)
	}
}

// callerOf returns an owner who waits that long for a caller, and a session of one.
func callerOf(t *testing.T, tell time.Duration) (*Server, *ssh.Session) {
	t.Helper()
	old := tellTime
	t.Cleanup(func() { tellTime = old })
	tellTime = tell
	client, _ := startAgent(t)
	build := t.TempDir()
	s := listen(t, build, func() {})
	s.SetGuest(&Guest{Client: client})
	session, err := dial(t, build).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	return s, session
}

// What a command had to say when its guest ended reaches who runs it before the
// owner ends, whose process takes the connections with it.
func TestCloseAwaitsCallers(t *testing.T) {
	const size = 5 << 20 // more than what is on its way when nobody reads
	s, session := callerOf(t, time.Minute)
	output, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start(fmt.Sprintf("head -c %d /dev/zero; kill -TERM $$", size)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(output, make([]byte, size/2)); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		_ = s.Close()
		close(closed)
	}()
	if _, err := io.ReadFull(output, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
		t.Error("it ended before its caller had everything")
	case <-time.After(10 * time.Millisecond):
	}
	if n, err := io.Copy(io.Discard, output); n != size/2-1 || err != nil {
		t.Errorf("got %d bytes more, %v", n, err)
	}
	var exit *ssh.ExitError
	if err := session.Wait(); !errors.As(err, &exit) || exit.Signal() != "TERM" {
		t.Errorf("the end: %v", err)
	}
	<-closed
}

// A caller that never ends isn't waited for.
func TestCloseEnds(t *testing.T) {
	s, session := callerOf(t, 10*time.Millisecond)
	if err := session.Start("exec sleep 1000"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestStoppedOwner(t *testing.T) {
	answer, powerOff := answerTime, powerOffTime
	t.Cleanup(func() { answerTime, powerOffTime = answer, powerOff })
	runtime := t.TempDir() // has no other run-kernel
	if err := os.Chmod(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	build := t.TempDir()
	owner := startOwner(t, build)
	c := dial(t, build)
	other := dial(t, build)
	if err := owner.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(owner.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("it isn't stopped: %#x, %v", status, err)
	}
	answerTime, powerOffTime = 100*time.Millisecond, 100*time.Millisecond
	if _, err := c.Status(); err == nil || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("Status: %v", err)
	}
	if _, err := other.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("Stop: %v", err)
	}
	if _, err := Dial(Address{Build: build}); err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Dial: %v", err)
	}
	if all, err := All(); len(all) != 0 || err == nil || !strings.Contains(err.Error(), fmt.Sprintf("from process %d,", owner.Process.Pid)) {
		t.Errorf("All: %v, %v", all, err)
	}
	busy := (*BusyError)(nil)
	if _, err := Listen(&trust.Policy{}, Address{Build: build}, "boot", nil); !errors.As(err, &busy) || busy.Status.PID != 0 {
		t.Errorf("Listen: %v", err)
	}
}

// apartVariable is set in a test that runs in a network of its own.
const apartVariable = "RUN_KERNEL_TEST_APART"

func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	// Other run-kernels of this machine are none of ours.
	if os.Getenv(apartVariable) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestOtherUsersAreRefused$")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		cmd.Env = append(os.Environ(), apartVariable+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	const nobody = 65534
	build := t.TempDir()
	for dir := build; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	as := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return cmd
	}
	runtimeDir := t.TempDir()
	if err := os.Chmod(runtimeDir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", runtimeDir)
	s := listen(t, build, nil)
	out, err := as(command("client", build)).Output()
	if err != nil {
		t.Skipf("can't become another user: %v", err)
	}
	if !strings.Contains(string(out), "is that of root (uid 0)") {
		t.Errorf("the other user's client: %q", out)
	}
	// One that doesn't look whose it is.
	path, err := Address{Build: build}.owner()
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []struct {
		name string
		cmd  *exec.Cmd
	}{
		{"another user", as(command("intruder", path))},
		{"a container", container(t, command("intruder", path))},
	} {
		if out, err := other.cmd.Output(); err != nil || string(out) != "nobody answers\n" {
			t.Errorf("%s, at the socket: %q, %v", other.name, out, err)
		}
	}
	// What may be in the way doesn't keep them out either.
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if out, err := as(command("intruder", path)).Output(); err != nil || string(out) != "nobody answers\n" {
		t.Errorf("another user, at an open socket: %q, %v", out, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// container makes a command one of a container with the host's network: root,
// without any capability, with a /tmp of its own.
func container(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	self, err := os.Open("/proc/self/exe") // which may be in /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = self.Close() })
	c := exec.Command("unshare", "--mount", "--pid", "--fork", "sh", "-c",
		`mount -t tmpfs tmpfs /tmp && exec setpriv --bounding-set=-all --inh-caps=-all /proc/self/fd/3`)
	c.Env, c.Stderr, c.ExtraFiles = cmd.Env, cmd.Stderr, []*os.File{self}
	return c
}

// intrude tries each socket that may be a run-kernel's, and says whether any
// answers.
func intrude(path string) {
	names := []string{path}
	data, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 8 && strings.Contains(fields[7], "run-kernel") {
			names = append(names, fields[7])
		}
	}
	for _, name := range names {
		conn, err := net.DialTimeout("unix", name, time.Second)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if n, _ := conn.Read(make([]byte, 1)); n > 0 {
			fmt.Println(name, "answers")
			return
		}
	}
	fmt.Println("nobody answers")
}

// Of two that take the same build directory at the same time, one gets it; and what
// one that was killed has left is in nobody's way.
func TestLock(t *testing.T) {
	build := t.TempDir()
	for range 3 {
		owner := startOwner(t, build)
		busy := (*BusyError)(nil)
		if _, err := Listen(&trust.Policy{}, Address{Build: build}, "boot", nil); !errors.As(err, &busy) || busy.Status.PID != owner.Process.Pid {
			t.Errorf("beside it: %v", err)
		}
		if list, err := List(build); err != nil || len(list) != 1 {
			t.Errorf("beside it there are %v, %v", list, err)
		}
		if err := owner.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = owner.Wait()
		if _, err := Dial(Address{Build: build}); !errors.Is(err, ErrNone) {
			t.Errorf("after its end: %v", err)
		}
		if list, err := List(build); err != nil || len(list) != 0 {
			t.Errorf("after its end there are %v, %v", list, err)
		}
	}
	// Those who only ask don't count.
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = List(build)
				}
			}
		})
	}
	for range 50 {
		s, err := Listen(&trust.Policy{}, Address{Build: build}, "boot", nil)
		if err != nil {
			t.Error(err)
			break
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	asking.Wait()
}

// A container with the same build directory, and its own sockets, is kept out, and
// told so.
func TestOwnerElsewhere(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	hidden := s.socket + ".hidden"
	if err := os.Rename(s.socket, hidden); err != nil {
		t.Fatal(err)
	}
	defer os.Rename(hidden, s.socket)
	if _, err := Dial(Address{Build: build}); err == nil || !strings.Contains(err.Error(), "in another container") {
		t.Errorf("Dial: %v", err)
	}
	busy := (*BusyError)(nil)
	if _, err := Listen(&trust.Policy{}, Address{Build: build}, "boot", nil); !errors.As(err, &busy) || busy.Status.PID != 0 {
		t.Errorf("Listen: %v", err)
	}
}

func TestExec(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	c := dial(t, build)
	if _, _, _, err := run(t, c.Client, boot.Command{Argv: []string{"true"}}); err == nil || err.Error() != "no guest runs at the moment" {
		t.Errorf("without a guest: %v", err)
	}
	client, _ := startAgent(t)
	s.SetGuest(&Guest{Client: client, Image: "/image"})
	run(t, c.Client, boot.Command{Argv: []string{"true"}})
	goroutines := runtime.NumGoroutine()

	data := strings.Repeat("0123456789abcdef", 2<<20/16)
	for name, test := range map[string]struct {
		command        boot.Command
		stdout, stderr string
		status         int
	}{
		"streams":   {boot.Command{Shell: "echo out; echo err >&2; exit 3"}, "out\n", "err\n", 3},
		"signal":    {boot.Command{Shell: "kill -TERM $$"}, "", "", 128 + 15},
		"argv":      {boot.Command{Argv: []string{"printf", "%s.", "a b"}, Env: []string{"X=1"}}, "a b.", "", 0},
		"not found": {boot.Command{Argv: []string{"no-such-program"}}, "", "run-kernel: no-such-program: file does not exist\r\n", 127},
		"input":     {boot.Command{Argv: []string{"cat"}, Stdin: strings.NewReader(data)}, data, "", 0},
		"unread":    {boot.Command{Argv: []string{"true"}, Stdin: strings.NewReader(data)}, "", "", 0},
		"terminal":  {boot.Command{Shell: "stty size; echo $TERM", Terminal: &boot.Terminal{Type: "dumb", Size: boot.Size{Rows: 9, Columns: 8}}}, "9 8\r\ndumb\r\n", "", 0},
	} {
		stdout, stderr, status, err := run(t, c.Client, test.command)
		if stdout != test.stdout || stderr != test.stderr || status != test.status || err != nil {
			t.Errorf("%s: got %.100q, %q, %d, %v", name, stdout, stderr, status, err)
		}
	}
	// Neither the end of the output nor the status is lost, whatever comes first.
	var g sync.WaitGroup
	for i := range 8 {
		g.Go(func() {
			for range 8 {
				stdout, _, status, err := run(t, c.Client, boot.Command{Shell: fmt.Sprintf("seq 3000; exit %d", i)})
				if !strings.HasSuffix(stdout, "\n3000\n") || status != i || err != nil {
					t.Errorf("got %d bytes, %d, %v; want status %d", len(stdout), status, err, i)
				}
			}
		})
	}
	g.Wait()
	if _, _, err := c.OpenChannel("x11", nil); err == nil || !strings.Contains(err.Error(), "only sessions") {
		t.Errorf("another channel: %v", err)
	}
	await(t, "the goroutines' end", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// Each side of a forwarded connection ends by itself.
func TestForwardedConnection(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	client, _ := startAgent(t)
	s.SetGuest(&Guest{Client: client})
	c := dial(t, build)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := c.Status(); err != nil { // so that all that serves it has started
		t.Fatal(err)
	}
	goroutines := runtime.NumGoroutine()
	conn, err := c.Client.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(server, "hello")
	_ = server.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	fmt.Fprint(conn, "and bye")
	_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(server); string(got) != "and bye" || err != nil {
		t.Errorf("the guest's side got %q, %v", got, err)
	}
	_, _ = server.Close(), conn.Close()
	await(t, "the goroutines' end", func() bool { return runtime.NumGoroutine() <= goroutines })
}

func TestWindowChange(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	client, _ := startAgent(t)
	s.SetGuest(&Guest{Client: client})
	c := dial(t, build)
	resize := make(chan boot.Size)
	out, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := boot.Run(context.Background(), c.Client, boot.Command{
			Shell: "echo ready; until [ \"$(stty size)\" = '40 100' ]; do :; done; echo changed", Stdin: blocked(t), Stdout: w,
			Terminal: &boot.Terminal{Size: boot.Size{Rows: 1, Columns: 1}, Resize: resize},
		})
		w.Close()
		done <- err
	}()
	br := bufio.NewReader(out)
	if line, err := br.ReadString('\n'); line != "ready\r\n" {
		t.Fatal(line, err)
	}
	resize <- boot.Size{Rows: 40, Columns: 100}
	if rest, err := io.ReadAll(br); string(rest) != "changed\r\n" {
		t.Errorf("got %q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A caller that goes away takes its command along.
func TestCallerGoesAway(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	client, _ := startAgent(t)
	s.SetGuest(&Guest{Client: client})
	c := dial(t, build)
	out, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := boot.Run(context.Background(), c.Client, boot.Command{Shell: "echo $$; exec sleep 1000", Stdout: w})
		result <- err
	}()
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := <-result; !errors.Is(err, boot.ErrGone) {
		t.Errorf("got %v", err)
	}
	await(t, "the command's end", func() bool { return syscall.Kill(pid, 0) != nil })
}

func TestGuestIsReplaced(t *testing.T) {
	build := t.TempDir()
	s := listen(t, build, nil)
	first, process := startAgent(t)
	s.SetGuest(&Guest{Client: first, Image: "/first"})
	c := dial(t, build)
	out, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := boot.Run(context.Background(), c.Client, boot.Command{Shell: "echo ready; read x", Stdin: blocked(t), Stdout: w})
		result <- err
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	second, _ := startAgent(t)
	s.SetGuest(&Guest{Client: second, Image: "/second"})
	if stdout, _, _, err := run(t, c.Client, boot.Command{Shell: "echo second"}); stdout != "second\n" || err != nil {
		t.Errorf("got %q, %v", stdout, err)
	}
	select {
	case err := <-result:
		t.Errorf("the session in the first guest ended: %v", err)
	default:
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, boot.ErrGone) {
		t.Errorf("the session in the first guest: %v", err)
	}
	s.SetGuest(&Guest{Client: first, Image: "/first"}) // gone, but nobody has said so
	if _, _, _, err := run(t, c.Client, boot.Command{Shell: "true"}); err == nil || err.Error() != "the guest has gone" {
		t.Errorf("in a guest that is gone: %v", err)
	}
}

// blocked is an input that never comes, until the test ends.
func blocked(t *testing.T) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	return r
}

// ssh hands the status to exit(3), which would make 0 of 256.
func TestStatusIsClamped(t *testing.T) {
	for status, want := range map[uint32]uint32{0: 0, 255: 255, 256: 255, 1 << 31: 255} {
		r := &ssh.Request{Type: "exit-status", Payload: ssh.Marshal(guest.ExitStatus{Status: status})}
		clampStatus(r)
		var got guest.ExitStatus
		if err := ssh.Unmarshal(r.Payload, &got); err != nil || got.Status != want {
			t.Errorf("%d: got %d, %v; want %d", status, got.Status, err, want)
		}
	}
}
