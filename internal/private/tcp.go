// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
)

// established is a state of TCP; see include/net/tcp_states.h in the kernel. In
// others, the socket may have no process any more, and the user isn't told.
const established = "01"

// PeerTCP returns the user whose the other end of a connection from this machine is,
// by /proc/net/tcp; see proc_pid_net(5).
func PeerTCP(conn net.Conn) (uid int, err error) {
	local, ok1 := conn.LocalAddr().(*net.TCPAddr)
	remote, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return 0, errors.New("not a TCP connection")
	}
	for _, table := range []struct {
		path    string
		address func(*net.TCPAddr) string
	}{{"/proc/net/tcp", address4}, {"/proc/net/tcp6", address6}} {
		data, err := os.ReadFile(table.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		} else if err != nil {
			return 0, err
		}
		from, to := table.address(remote), table.address(local)
		for line := range strings.Lines(string(data)) {
			// sl local_address rem_address st queues timer retrnsmt uid …
			fields := strings.Fields(line)
			if len(fields) > 7 && from != "" && fields[1] == from && fields[2] == to && fields[3] == established {
				return strconv.Atoi(fields[7])
			}
		}
	}
	return 0, fmt.Errorf("no process has the other end of %s", conn.RemoteAddr())
}

// address4 is an address as /proc/net/tcp has it: words of 32 bits, each as this
// machine reads it.
func address4(a *net.TCPAddr) string {
	ip := a.IP.To4()
	if ip == nil {
		return ""
	}
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip), a.Port)
}

// address6 is an address as /proc/net/tcp6 has it.
func address6(a *net.TCPAddr) string {
	ip := a.IP.To16()
	if ip == nil {
		return ""
	}
	text := ""
	for ; len(ip) > 0; ip = ip[4:] {
		text += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(ip))
	}
	return fmt.Sprintf("%s:%04X", text, a.Port)
}
