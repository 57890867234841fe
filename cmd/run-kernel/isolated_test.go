// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a stranger's program reaches: with user-mode network the services on the host's
// loopback, restricted or isolated none, and isolated none of the user's files.
func TestIsolated(t *testing.T) {
	k := bootKernel(t)
	if os.Geteuid() != 0 {
		t.Skip("a root with a shell is made as root only")
	}
	root := need(t, "RUN_KERNEL_TEST_DEBIAN_ROOT", "Debian root with systemd")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "from the loopback")
			_ = conn.Close()
		}
	}()
	dir, err := os.MkdirTemp(filepath.Dir(k.build), "isolated") // /tmp is the guest's own
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	secret := filepath.Join(dir, "secret")
	write(t, secret, []byte("from a file\n"), 0o644)
	script := fmt.Sprintf(`timeout 10 bash -c 'exec 3<>/dev/tcp/10.0.2.2/%d && cat <&3'; cat %s; exit 9`, l.Addr().(*net.TCPAddr).Port, secret)
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"user", nil, "from the loopback\nfrom a file\n"},
		{"restricted", []string{"--network=restricted"}, "from a file\n"},
		{"isolated", []string{"--isolated", "--userland", root}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := k.lab.expect(k.boot(append(test.args, "--", script)...), 9)
			if r.stdout != test.want {
				t.Errorf("got %q, want %q; %s", r.stdout, test.want, r.stderr)
			}
			if strings.Contains(r.stderr, "bash: not found") {
				t.Error("no bash")
			}
		})
	}
}
