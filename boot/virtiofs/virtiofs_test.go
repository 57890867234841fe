// SPDX-License-Identifier: GPL-3.0-only

package virtiofs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/launch"
	"github.com/metaspace/run-kernel/internal/grant"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	proc.Main()
	launch.Main()
	if role := os.Getenv(roleVariable); role != "" {
		if err := playRole(role); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "virtiofsd")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	helpC    = "echo '    -o source=PATH             shared directory tree'\n"
	helpRust = "echo '      --shared-dir <SHARED_DIR>'; echo '      --no-announce-submounts'\n"
)

func TestFind(t *testing.T) {
	find := func(text string) (*Program, error) {
		p, err := Find(context.Background(), script(t, text))
		if p != nil {
			p.Path = ""
		}
		return p, err
	}
	for text, want := range map[string]Program{
		helpC:                              {},
		helpC + "exit 1\n":                 {}, // some print their help and fail
		"exec >&2\n" + helpC:               {},
		helpRust:                           {Rust: true, noAnnounce: true},
		helpRust + "echo '  --readonly'\n": {Rust: true, noAnnounce: true, readOnly: true},
		helpRust + "echo '  --translate-uid X --translate-gid X'\n": {Rust: true, noAnnounce: true, translate: true},
	} {
		got, err := find(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if *got != want {
			t.Errorf("%s: got %+v", text, *got)
		}
	}
	for text, want := range map[string]string{
		"echo hello":         "doesn't look like a virtiofsd: --help: it names neither",
		"echo hello; exit 3": "doesn't look like a virtiofsd: --help: exit status 3",
	} {
		if _, err := find(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	cancel(cause)
	if _, err := Find(ctx, script(t, "exec sleep 1000")); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestFindWhereThereIsNone(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	saved := Dirs
	t.Cleanup(func() { Dirs = saved })
	Dirs = []string{t.TempDir()}
	_, err := Find(context.Background(), "")
	missing := (*proc.MissingToolError)(nil)
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), Dirs[0]) || !strings.Contains(missing.Hint(), "Fedora virtiofsd") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(Dirs[0]+"/virtiofsd", []byte("#!/bin/sh\n"+helpRust), 0o755); err != nil {
		t.Fatal(err)
	}
	if p, err := Find(context.Background(), ""); err != nil || p.Path != Dirs[0]+"/virtiofsd" {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestArgs(t *testing.T) {
	share := func(readOnly bool) Share {
		return Share{Tag: "tag", Dir: "/a", ReadOnly: readOnly, Cache: grant.Always}
	}
	const rust = "--fd=3 --shared-dir=/d,e --cache=always --log-level=error "
	const translated = "--translate-uid=squash-guest:0:47:4294967295 --translate-uid=host:47:0:1 " +
		"--translate-gid=squash-guest:0:11:4294967295 --translate-gid=host:11:0:1"
	root, contained, user := owner{privileged: true}, owner{}, owner{uid: 47, gid: 11}
	for _, test := range []struct {
		program  Program
		readOnly bool
		owner    owner
		want     string
	}{
		{Program{}, false, root, `--fd=3 -o source=/d\,e -o cache=always -o sandbox=chroot -o xattr -f -o modcaps=-mknod:-setfcap`},
		{Program{}, true, root, `--fd=3 -o source=/d\,e -o cache=always -o sandbox=chroot -o xattr -f`},
		{Program{Rust: true}, false, root, rust + "--sandbox=chroot"},
		{Program{Rust: true, modcaps: true}, false, root, rust + "--sandbox=chroot --modcaps=-mknod:-setfcap"},
		{Program{Rust: true, modcaps: true}, false, user, rust + "--sandbox=none"},
		{Program{Rust: true, modcaps: true}, true, root, rust + "--sandbox=chroot"},
		{Program{Rust: true, translate: true}, false, owner{uid: 47, gid: 11, privileged: true}, rust + "--sandbox=chroot " + translated},
		{Program{Rust: true}, true, root, rust + "--sandbox=chroot"},
		{Program{Rust: true, readOnly: true}, false, root, rust + "--sandbox=chroot"},
		{Program{Rust: true, readOnly: true}, true, root, rust + "--sandbox=chroot --readonly"},
		{Program{Rust: true, readOnly: true}, true, user, rust + "--sandbox=none --readonly"},
		{Program{Rust: true, noAnnounce: true}, false, user, rust + "--sandbox=none --no-announce-submounts"},
		{Program{Rust: true, translate: true}, false, root, rust + "--sandbox=chroot"},
		{Program{Rust: true, translate: true, readOnly: true}, true, user, rust + "--sandbox=none --readonly"},
		{Program{Rust: true, translate: true}, false, user, rust + "--sandbox=none " + translated},
		// Its own capabilities say what such a root may do.
		{Program{Rust: true, translate: true}, false, contained, rust + "--sandbox=none"},
		{Program{Rust: true, translate: true, readOnly: true}, true, contained, rust + "--sandbox=none --readonly"},
	} {
		got := strings.Join(test.program.args(share(test.readOnly), "/d,e", test.owner), " ")
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%+v:\n%s", test, diff)
		}
	}
}

// Who may run which daemon. A root without CAP_SYS_ADMIN is what most containers
// have.
func TestCanRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may become others")
	}
	user := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}}
	for role, c := range map[string]struct {
		attr                 *syscall.SysProcAttr
		c, rust, rustReading string // in the error and its hint; empty: it can run
	}{
		"root":      {nil, "", "", ""},
		"contained": {nil, "root only, with CAP_SYS_ADMIN, which this root lacks", "has no --readonly and this kernel no Landlock", ""},
		"user":      {user, "root only; install the Rust", "works for root only; virtiofsd 1.13", ""},
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env, cmd.SysProcAttr = append(os.Environ(), roleVariable+"="+role), c.attr
		out, err := cmd.CombinedOutput()
		lines := strings.Split(string(out), "\n")
		if err != nil || len(lines) != 7 {
			t.Errorf("%s: %v: %s", role, err, out)
			continue
		}
		for i, want := range []string{c.c, c.c, c.rust, "", c.rustReading, ""} {
			if want == "" && lines[i] != "it can" || !strings.Contains(lines[i], want) {
				t.Errorf("%s: got %q, want %q", role, lines[i], want)
			}
		}
	}
}

// roleVariable makes the test binary somebody of TestCanRun.
const roleVariable = "RUN_KERNEL_TEST_ROLE"

// playRole becomes that somebody, and tells which daemons it can run.
func playRole(role string) error {
	if role == "thief" {
		return thief()
	}
	if role == "contained" {
		// It is an exec that leaves the capability out.
		runtime.LockOSThread()
		err := errors.Join(unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0), os.Setenv(roleVariable, "dropped"))
		if err != nil {
			return err
		}
		return unix.Exec("/proc/self/exe", os.Args[:1], os.Environ())
	}
	for _, p := range []Program{{}, {Rust: true}, {Rust: true, readOnly: true}} {
		for _, landlock := range []bool{false, true} {
			err := p.canRun(landlock)
			if err == nil {
				fmt.Println("it can")
			} else if hint, ok := err.(interface{ Hint() string }); ok {
				fmt.Println(err.Error() + "; " + hint.Hint())
			}
		}
	}
	return nil
}

func TestSocketPair(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("x", 150))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", dir, long} {
		before := names(t, dir)
		listener, client, err := socketPair(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, names(t, dir)); diff != "" {
			t.Error(diff)
		}
		l, err := net.FileListener(listener)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listener.Close()
		if _, err := client.WriteString("hello"); err != nil {
			t.Fatal(err)
		}
		client.Close()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if _, _, err := socketPair(dir + "/none"); err == nil {
		t.Error("it works in a directory that isn't there")
	}
}

// names lists a directory; an empty one is the user's for sockets.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var err error
	if dir == "" {
		if dir, err = private.RuntimeDir(); err != nil {
			t.Fatal(err)
		}
	}
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// thief connects to every socket of its network that listens, as fast as it can.
func thief() error {
	fmt.Println("ready")
	for {
		data, err := os.ReadFile("/proc/net/unix")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			// Flags has __SO_ACCEPTCON.
			fields := strings.Fields(line)
			if len(fields) != 8 || fields[3] != "00010000" {
				continue
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			_ = unix.Connect(fd, &unix.SockaddrUnix{Name: fields[7]})
			_ = unix.Close(fd)
		}
	}
}

// No other user gets a daemon's connection, however hard it tries.
func TestSocketPairAgainstAThief(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	// In a network of its own the thief meets no sockets but ours. The thread isn't
	// given back: it ends with the goroutine.
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Logf("no network of its own: %v", err)
			return
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), roleVariable+"=thief")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Error(err)
			return
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
		if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
			t.Errorf("the thief: %v", err)
			return
		}
		stolen := 0
		for range 10000 {
			listener, client, err := socketPair("")
			if err != nil {
				stolen++ // it was faster than our own connect
				continue
			}
			fd, _, err := unix.Accept(int(listener.Fd()))
			if err == nil {
				cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
				if err != nil || int(cred.Pid) != os.Getpid() {
					stolen++
				}
				err = unix.Close(fd)
				if err != nil {
					t.Error(err)
				}
			}
			_, _ = listener.Close(), client.Close()
		}
		if stolen > 0 {
			t.Errorf("of 10,000 connections, %d were another user's", stolen)
		}
	}()
	<-done
}

func prepareAndStart(p *Program, dir string) (*Daemon, *os.File, error) {
	d, socket, err := p.Prepare(Share{Tag: "tag", Dir: dir, Cache: grant.Auto})
	if err != nil {
		return nil, nil, err
	}
	return d, socket, d.Start()
}

func TestDaemon(t *testing.T) {
	dir := t.TempDir()
	start := func(text string) (*Daemon, *os.File, error) {
		return prepareAndStart(&Program{Path: script(t, text), Rust: true}, dir)
	}
	d, socket, err := start("echo no luck >&2; exit 4")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	<-d.Done()
	if got, want := d.Err().Error(), "virtiofsd for share tag ("+dir+") ended: exit status 4: no luck"; got != want {
		t.Errorf("got %q", got)
	}
	d, socket, err = start("exit 0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if got := d.Err().Error(); !strings.HasSuffix(got, "exit status 0: no message") {
		t.Errorf("got %q", got)
	}
	p := &Program{Path: "/nonexistent/virtiofsd", Rust: true}
	for _, dir := range []string{dir, dir + "/none", "/dev/null"} {
		if _, _, err := prepareAndStart(p, dir); err == nil || !strings.Contains(err.Error(), "share tag") {
			t.Errorf("%s: got %v", dir, err)
		}
	}
}
