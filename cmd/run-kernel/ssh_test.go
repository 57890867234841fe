// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot"
)

// hostTool runs a program of this machine, such as scp, for the lab. It is expected
// to succeed.
func (l *lab) hostTool(argv ...string) string {
	l.t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		l.t.Fatalf("%v; ./test installs it", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/" // the configuration that is given has to do
	cmd.Env = append(os.Environ(), markVariable+"="+l.mark)
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}

func write(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// OpenSSH's programs as they are, in a guest without sshd and without network.
func TestSSH(t *testing.T) {
	k := bootKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "--network=none", "--", "echo up; sleep 10000")...)
	s.wait("up\n")
	file := filepath.Join(k.build, ".run-kernel/ssh_config")
	ssh := func(args ...string) []string { return k.flags(append([]string{"ssh"}, args...)...) }
	local := t.TempDir()
	big := make([]byte, 3<<20)
	_, _ = rand.Read(big)
	write(t, filepath.Join(local, "tree/sub/big"), big, 0o750)
	if err := os.Symlink("sub/big", filepath.Join(local, "tree/link")); err != nil {
		t.Fatal(err)
	}
	inTree := func(path string) string { return filepath.Join(local, "tree", path) }
	sum := strings.Fields(k.lab.hostTool("sha256sum", inTree("sub/big")))[0]
	same := func(path string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(local, path)); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%s: %d bytes of %d, %v", path, len(got), len(big), err)
		}
	}
	// A subtest of the guest that runs.
	in := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			outer := k.lab.t
			k.lab.t = t
			defer func() { k.lab.t = outer }()
			test(t)
		})
	}

	in("commands", func(t *testing.T) {
		for _, test := range []struct {
			args           []string
			stdin          string
			stdout, stderr string
			status         int
		}{
			{[]string{"echo out; echo err >&2; exit 7"}, "", "out\n", "err\n", 7},
			{[]string{"-T", "--", "echo", "a  b"}, "", "a b\n", "", 0},
			{[]string{"tr a-z A-Z"}, "typed\n", "TYPED\n", "", 0},
			{[]string{"-o", "SetEnv=GREETING=hello", "echo $GREETING $HOME"}, "", "hello " + os.Getenv("HOME") + "\n", "", 0},
			// The shell is replaced, for a ~/.bash_logout may print something.
			{nil, "echo $0; exec sh -c 'exit 3'\n", "-" + filepath.Base(os.Getenv("SHELL")) + "\n", "", 3},
			{[]string{"no-such-command"}, "", "", "no-such-command", 127},
			{[]string{"kill -9 $$"}, "", "", "", 255}, // as ssh has it
		} {
			if test.args == nil && os.Getenv("SHELL") == "" {
				continue
			}
			r := k.lab.runInput(test.stdin, ssh(test.args...)...)
			if r.status != test.status || r.stdout != test.stdout || !strings.Contains(r.stderr, test.stderr) || test.stderr == "" && r.stderr != "" {
				t.Errorf("%q: %+v", test.args, r)
			}
		}
	})
	in("terminal", func(t *testing.T) {
		s, terminal, tty := k.lab.atTerminal(ssh()...)
		fmt.Fprint(terminal, "stty size; tty\r")
		s.wait("33 99\r\n/dev/pts/")
		resize(t, tty, 20, 70)
		fmt.Fprint(terminal, "while test \"$(stty size)\" != '20 70'; do sleep 0.1; done; echo resi''zed\r")
		s.wait("resized\r\n")
		fmt.Fprint(terminal, "exit 9\r")
		if status := s.awaitEnd(); status != 9 {
			t.Errorf("status %d", status)
		}
	})
	in("scp", func(t *testing.T) {
		for i, args := range [][]string{{"scp"}, {"scp", "-O"}} {
			there, back := fmt.Sprintf("/tmp/scp%d", i), fmt.Sprintf("scp%d", i)
			argv := append(args, "-F", file, "-p")
			k.lab.hostTool(append(argv, inTree("sub/big"), "guest:"+there)...)
			if out := k.lab.hostTool("ssh", "-F", file, "guest", "sha256sum "+there+"; stat -c %a "+there); !strings.HasPrefix(out, sum) || !strings.HasSuffix(out, "\n750\n") {
				t.Errorf("%q: the guest has %s", args, out)
			}
			k.lab.hostTool(append(argv, "guest:"+there, filepath.Join(local, back))...)
			same(back)
		}
		// Without a directory it goes home, which can be written.
		k.lab.hostTool("scp", "-F", file, inTree("sub/big"), "guest:")
		k.lab.hostTool("ssh", "-F", file, "guest", `echo "`+sum+`  $HOME/big" | sha256sum --check`)
	})
	in("sftp", func(t *testing.T) {
		batch := filepath.Join(local, "batch")
		write(t, batch, []byte(strings.Join([]string{
			"mkdir /tmp/sftp", "cd /tmp/sftp", "put -p " + inTree("sub/big") + " data", "chmod 640 data", "symlink data link", "rename data moved",
			"get moved " + filepath.Join(local, "sftp"), "-rm none", "bye\n",
		}, "\n")), 0o600)
		k.lab.hostTool("sftp", "-F", file, "-b", batch, "guest")
		same("sftp")
		if out := k.lab.hostTool("ssh", "-F", file, "guest", "cd /tmp/sftp; readlink link; stat -c '%a %U' moved; sha256sum moved"); out != "data\n640 root\n"+sum+"  moved\n" {
			t.Errorf("the guest has %s", out)
		}
	})
	in("rsync", func(t *testing.T) {
		shell := "ssh -F " + file
		k.lab.hostTool("rsync", "-a", "-e", shell, inTree(""), "guest:/tmp/rsync")
		k.lab.hostTool("rsync", "-a", "-e", shell, "guest:/tmp/rsync/tree/", filepath.Join(local, "rsync"))
		same("rsync/sub/big")
		if target, err := os.Readlink(filepath.Join(local, "rsync/link")); err != nil || target != "sub/big" {
			t.Errorf("the link names %q, %v", target, err)
		}
	})
	in("port", func(t *testing.T) { k.testForwardedPort(ssh) })

	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	s.awaitEnd()
	if r := k.lab.run(ssh("true")...); r.status != statusFailed || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("without a guest: %+v", r)
	}
}

// testForwardedPort connects to a server in the guest through ssh -L.
func (k *kernel) testForwardedPort(ssh func(...string) []string) {
	t := k.lab.t
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	const server = `import socket
s = socket.create_server(("127.0.0.1", 7777))
print("listens", flush=True)
c, _ = s.accept()
data = b""
while d := c.recv(65536): data += d
c.sendall(data.upper())`
	guest := k.lab.start(k.flags("exec", "--", "python3", "-c", server)...)
	guest.wait("listens\n")
	socket := filepath.Join(t.TempDir(), "socket")
	tunnel := k.lab.start(ssh("-N", "-L", socket+":localhost:7777")...)
	var conn net.Conn
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var err error
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer conn.Close()
	fmt.Fprint(conn, strings.Repeat("text", 50000))
	_ = conn.(*net.UnixConn).CloseWrite()
	got, err := io.ReadAll(conn)
	if diff := cmp.Diff(strings.Repeat("TEXT", 50000), string(got)); diff != "" || err != nil {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	guest.awaitEnd()
	_ = tunnel.cmd.Process.Kill()
	tunnel.awaitEnd()
}

// withShadow leaves /etc/shadow in the guest: without, its sshd takes root's account for
// locked.
const withShadow = "--hide=/root/.ssh"

// sshd starts the real sshd in the guest, which root gets into with the key of this boot;
// openSSHD one that asks for none.
const (
	sshd = startSSHD + ` -o PermitRootLogin=prohibit-password -o AuthorizedKeysFile=/run/run-kernel/authorized_keys`

	openSSHD = `sed -i 's/^root:[^:]*:/root::/' /etc/shadow
` + startSSHD + ` -o PermitRootLogin=yes -o PermitEmptyPasswords=yes`

	startSSHD = `set -e
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /tmp/host-key
/usr/sbin/sshd -f /dev/null -h /tmp/host-key -o UsePAM=no`
)

// Nobody else gets in at the port on the host's loopback, which all users reach.
func TestSSHStranger(t *testing.T) {
	k := bootKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", withShadow, "--ping-ssh", "--ssh-command", "echo in''side; sleep 10000", "--", sshd)...)
	port := regexp.MustCompile(`127\.0\.0\.1:(\d+) is the guest's port 22`).FindStringSubmatch(s.wait("inside\n"))
	if port == nil {
		t.Fatal("no port is told")
	}
	out, err := exec.Command("ssh", "-F", "none", "-p", port[1], "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "BatchMode=yes", "root@127.0.0.1", "echo", "hello").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("%v: %s", err, out)
	}
	s.end(syscall.SIGINT)
}

// The keys of the original, with a real sshd and a real client.
func TestSSHKeys(t *testing.T) {
	k := bootKernel(t)
	if os.Geteuid() != 0 {
		t.Skip("the guest's sshd can't read this machine's /etc/shadow for an ordinary user")
	}
	// Who uses the first port doesn't matter.
	if l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", boot.FirstSSHPort)); err == nil {
		defer l.Close()
	}
	const line = "echo $SSH_CONNECTION; exit 7"
	// An sshd is there for two seconds before it listens.
	late := "ln -s /bin/sh /tmp/sshd\n" +
		strings.Replace(sshd, "/usr/sbin/sshd", `setsid -f /tmp/sshd -c 'sleep 2; exec /usr/sbin/sshd "$@"' sshd`, 1) +
		" >/dev/null 2>&1\nuntil grep -qsx sshd /proc/[0-9]*/comm; do :; done"
	for _, test := range []struct {
		name           string
		args           []string
		stdout, stderr string
		status         int
	}{
		{"sshd", []string{"--ping-ssh", "--ssh-command", line, "--", sshd}, "10.0.2.2 ", "sshd answers", 7},
		{"only a ping", []string{"--ping-ssh", "--", sshd}, "", "is the guest's port 22", 0},
		{"without a key", []string{"--ping-ssh", "--ssh-command", line, "--", openSSHD}, "10.0.2.2 ", "sshd answers", 7},
		{"no ping", []string{"--ssh-command", line, "--", sshd}, "10.0.2.2 ", "is the guest's port 22", 7},
		{"no sshd", []string{"--ssh-command", "echo agent $SSH_CONNECTION; exit 8"}, "agent\n", "no sshd answers", 8},
		{"no network", []string{"--network=none", "--ssh-command", "echo agent; exit 9"}, "agent\n", "", 9},
		{"ping in vain", []string{"--ping-ssh", "--boot-timeout=20s"}, "", "no sshd of the guest's answers", statusTimeout},
		{"command fails", []string{"--ssh-command", "echo session", "--", "exit 5"}, "", "", 5},
		{"crash", []string{"--ping-ssh", "--ssh-command", "echo c >/proc/sysrq-trigger; sleep 1000", "--", sshd}, "", "sysrq triggered crash", statusCrash},
		{"not yet listening", []string{"--ssh-command", line, "--", late}, "10.0.2.2 ", "is the guest's port 22", 7},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := k.boot(append([]string{withShadow}, test.args...)...)
			if r.status != test.status || !strings.HasPrefix(r.stdout, test.stdout) || test.stdout == "" && r.stdout != "" || !strings.Contains(r.stderr, test.stderr) {
				t.Errorf("%+v", r)
			}
		})
	}
}
