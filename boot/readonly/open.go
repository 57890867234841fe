// SPDX-License-Identifier: GPL-3.0-only

package readonly

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

const (
	helperName   = "run-kernel-readonly"
	helperSocket = 3
)

// Open returns a descriptor of dir, and of what is mounted below it, through
// which nothing can be written, by whomever, and what hide names isn't seen; see Mount. It is for /proc/self/fd.
//
// An ordinary user can have it where the host lets users make namespaces.
func Open(dir string, hide ...string) (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	var stderr bytes.Buffer
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{helperName, dir}, hide...),
		ExtraFiles: []*os.File{theirs}, Stderr: &stderr, SysProcAttr: mayMount(),
	}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("mount %s read-only: %w: %s", dir, err, bytes.TrimSpace(stderr.Bytes()))
	}
	fd, err := receive(int(ours.Fd()))
	if err != nil {
		return nil, fmt.Errorf("mount %s read-only: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// receive takes the descriptor that a helper has sent.
func receive(socket int) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return 0, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return 0, err
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return 0, errors.New("no descriptor came")
}

// Main is the helper of Open, and never returns, when this package made this
// process for that. Otherwise it does nothing.
func Main() {
	if len(os.Args) < 2 || os.Args[0] != helperName {
		return
	}
	if err := send(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func send(dir string, hide []string) error {
	if err := Mount(dir, hide...); err != nil {
		return err
	}
	// What is mounted here goes with this process; a clone of it stays.
	tree, err := clone(Place)
	if err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(helperSocket, []byte{0}, unix.UnixRights(tree), nil, 0))
}
