// SPDX-License-Identifier: GPL-3.0-only

package doctor

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/internal/proc"
)

// distccd serves on a port of the loopback until the test ends.
func distccd(t *testing.T, env ...string) (address string) {
	t.Helper()
	path, err := proc.Look("distccd", "/usr/sbin", "/usr/local/sbin")
	if err != nil {
		if os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	// A port that was free a moment ago.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(address)
	// Only root's obeys --user, and no other user can be it.
	cmd := exec.Command(path, "--daemon", "--no-detach", "--log-stderr", "--user", "nobody", "--listen", "127.0.0.1", "--port", port, "--allow", "127.0.0.1", "--jobs", "2")
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// What distcc's hosts do is asked of each.
func TestDistcc(t *testing.T) {
	if _, err := exec.LookPath("distcc"); err != nil {
		if os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	good := distccd(t)
	// A host whose gcc is another.
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // nobody's distccd reads it
		t.Fatal(err)
	}
	other := `#!/bin/sh
` + look(t, "gcc") + ` "$@" || exit
while [ "$1" != -o ]; do shift; done
printf 'GCC: 4.2\0' >"$2.comment"
exec ` + look(t, "objcopy") + ` --update-section .comment="$2.comment" "$2"
`
	if err := os.WriteFile(filepath.Join(dir, "x86_64-linux-gnu-gcc"), []byte(other), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("x86_64-linux-gnu-gcc", filepath.Join(dir, "gcc")); err != nil {
		t.Fatal(err)
	}
	changed := distccd(t, "PATH="+dir+":"+os.Getenv("PATH"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	_ = l.Close()
	for _, c := range []struct {
		hosts string
		state State
		text  []string
	}{
		{"localhost/2 " + good + "/4,lzo", OK, []string{"6 compile at once on localhost, " + good}},
		{good + "/4 " + dead, Note, []string{dead + " doesn't compile: ", "Connection refused"}},
		{changed + "/4", Note, []string{changed + " has another compiler: GCC: 4.2, here it is GCC: ("}},
		{"none.invalid", Note, []string{"none.invalid doesn't compile: "}},
		{" ", Note, []string{"there are none"}},
	} {
		t.Setenv("DISTCC_HOSTS", c.hosts)
		got := farm(Options{CC: "ccache distcc gcc"}, "distcc")(t.Context())
		if got.State != c.state {
			t.Errorf("%q: %+v", c.hosts, got)
		}
		for _, want := range c.text {
			if !strings.Contains(got.Text, want) {
				t.Errorf("%q: %q isn't in %q", c.hosts, want, got.Text)
			}
		}
		t.Logf("%+v\n", got)
	}
}

func TestBuildHost(t *testing.T) {
	dir := path(t)
	for _, c := range []struct {
		ssh   string
		state State
		text  string
	}{
		{"printf 'new\n/cache\n'; uname -m; echo 40; echo gcc 12", OK, "buildbox: 40 processors, gcc 12"},
		{"echo 'ssh: no route' >&2; exit 255", Missing, "build host buildbox: ssh: no route"},
	} {
		if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\nPATH=/usr/bin:/bin\n"+c.ssh+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		got := buildHost(Options{BuildHost: "buildbox"})(t.Context())
		if got.State != c.state || got.Text != c.text || (got.Hint == "") != (c.state == OK) {
			t.Errorf("%+v", got)
		}
	}
}

func look(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	return path
}
