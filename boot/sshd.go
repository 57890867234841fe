// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	// FirstSSHPort is where the search for a free port begins.
	FirstSSHPort = 10022

	// sshPorts is how many ports are tried.
	sshPorts = 100
	// bannerTime is how long an sshd may take to say what it is: it forks for that,
	// on a guest that may be slow.
	bannerTime = 10 * time.Second
	// pingPause is the time between two attempts. Each costs the guest a process.
	pingPause = 200 * time.Millisecond
)

// ForwardSSH makes a port of this host's loopback the guest's port 22, and returns
// its number: FirstSSHPort, or the next that is free. The VM must have
// a network. The port goes with the VM.
func (vm *VM) ForwardSSH() (int, error) {
	var refusal string
	for port := FirstSSHPort; port < FirstSSHPort+sshPorts; port++ {
		// Qemu takes the port itself, so that nobody else can in between.
		command := map[string]string{"command-line": fmt.Sprintf("hostfwd_add tcp:127.0.0.1:%d-:22", port)}
		if err := vm.qmp.Execute("human-monitor-command", command, &refusal); err != nil {
			return 0, fmt.Errorf("forward a port to the guest's sshd: %w", err)
		}
		if refusal == "" {
			return port, nil
		}
	}
	return 0, fmt.Errorf("forward one of the ports %d to %d to the guest's sshd: %s",
		FirstSSHPort, FirstSSHPort+sshPorts-1, strings.TrimSpace(refusal))
}

// A NoSSHDError says that no sshd answered in time.
type NoSSHDError struct {
	Port  int // of this host
	After time.Duration
}

func (e *NoSSHDError) Error() string {
	return fmt.Sprintf("no sshd of the guest's answers at 127.0.0.1:%d after %s", e.Port, e.After)
}

// Hint says what to look at.
func (e *NoSSHDError) Hint() string {
	return "does the userland start one, and configure its network? --boot-timeout allows more time; without sshd, leave ping_ssh out"
}

// AwaitSSHD waits until an sshd answers at a port of ForwardSSH. When none has
// after limit, the error is a *NoSSHDError; a limit of 0 is none. When the VM ends
// first, the error is ErrGone.
func (vm *VM) AwaitSSHD(ctx context.Context, port int, limit time.Duration) error {
	if limit > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, limit, &NoSSHDError{Port: port, After: limit})
		defer cancel()
		ctx = limited
	}
	pause := time.NewTicker(pingPause)
	defer pause.Stop()
	for {
		if vm.HasSSHD(ctx, port) {
			return nil
		}
		select {
		case <-pause.C:
		case <-vm.done:
			return ErrGone
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// HasSSHD says whether an sshd answers at a port of ForwardSSH now. Qemu accepts
// a connection for which there is nobody in the guest, and then ends it.
func (vm *VM) HasSSHD(ctx context.Context, port int) bool {
	ctx, cancel := context.WithTimeout(ctx, bannerTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// RFC 4253, section 4.2: other lines may come first.
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "SSH-") {
			return true
		}
	}
	return false
}
