// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lineBuffer is what qemu may write ahead of us, in bytes. It is what ordinary users may
// have; see pipe(7).
const lineBuffer = 1 << 20

// A serialLine is our end of a guest's serial port. The other end is qemu's standard
// input and output.
//
// They are pipes, since a pipe holds what qemu has written, character by character, until
// we come to read it. In a socket each character takes a buffer of its own: after 300,
// qemu lets the guest wait. Linux 7.2 waits no longer for its serial port than two
// characters take at its speed (serial8250's wait_for_lsr), and then writes over those
// before: on a busy host, lines of the console lacked some in their midst.
type serialLine struct {
	in, out       *os.File
	stdin, stdout *os.File // qemu's, until closeTheirs
}

func newSerialLine() (*serialLine, error) {
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), in.Close())
	}
	// With less, it works as well.
	if raw, err := out.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, lineBuffer) })
	}
	return &serialLine{in: in, out: out, stdin: stdin, stdout: stdout}, nil
}

// Read returns what the guest has written. It ends with qemu.
func (l *serialLine) Read(p []byte) (int, error) { return l.out.Read(p) }

// Write has the guest read p, and waits until qemu has taken it.
func (l *serialLine) Write(p []byte) (int, error) { return l.in.Write(p) }

// closeTheirs closes qemu's end, once qemu has it.
func (l *serialLine) closeTheirs() {
	_ = l.stdin.Close()
	_ = l.stdout.Close()
}

func (l *serialLine) Close() error {
	l.closeTheirs() // which may have been done
	return errors.Join(l.in.Close(), l.out.Close())
}
