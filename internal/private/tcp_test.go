// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// dialVariable makes the test's executable a client of the address that it names.
const dialVariable = "RUN_KERNEL_TEST_DIAL"

func TestMain(m *testing.M) {
	Main()
	if path := os.Getenv(keepVariable); path != "" {
		keep(path)
	}
	if os.Getenv(runtimeVariable) != "" {
		for range 2 {
			fmt.Println(RuntimeDir())
		}
		os.Exit(0)
	}
	if address := os.Getenv(dialVariable); address != "" {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_, err = io.Copy(io.Discard, conn)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Whose the other end is, the kernel tells, whatever kind of address the client has
// used.
func TestPeerTCP(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", network)
		if err != nil {
			t.Logf("%s: %v", network, err)
			continue
		}
		defer l.Close()
		address := l.Addr().String()
		ours, err := net.Dial("tcp", address)
		must(t, err)
		conn, err := l.Accept()
		must(t, err)
		if uid, err := PeerTCP(conn); uid != os.Geteuid() || err != nil {
			t.Errorf("%s: got %d, %v", address, uid, err)
		}
		// Who has closed its end may be anybody.
		must(t, ours.Close())
		_, _ = conn.Read(make([]byte, 1))
		if uid, err := PeerTCP(conn); err == nil {
			t.Errorf("%s: of one that has gone: %d", address, uid)
		}
		must(t, conn.Close())
		if os.Geteuid() != 0 {
			continue
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), dialVariable+"="+address)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		must(t, cmd.Start())
		conn, err = l.Accept()
		must(t, err)
		if uid, err := PeerTCP(conn); uid != nobody || err != nil {
			t.Errorf("%s: got %d, %v", address, uid, err)
		}
		must(t, conn.Close(), cmd.Wait())
	}
}
