// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxRecord   = 8192    // bytes of a record of /dev/kmsg: PRINTK_MESSAGE_MAX and less in the kernel's sources
	maxMessages = 1 << 20 // bytes of those collected; the first ones are kept
)

// kernelMessages collects the records that /dev/kmsg gets from now on, and since returns
// them. A kernel without it, or an agent that may not read it, has none.
func kernelMessages() (since func() string) {
	none := func() string { return "" }
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return none
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd)
		return none
	}
	return func() string {
		defer unix.Close(fd)
		return readRecords(func(record []byte) (int, error) { return unix.Read(fd, record) })
	}
}

// readRecords reads until there are no more.
func readRecords(read func([]byte) (int, error)) string {
	var text strings.Builder
	record := make([]byte, maxRecord)
	for text.Len() < maxMessages {
		n, err := read(record)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue // EPIPE: some were overwritten before they were read
		case err != nil, n <= 0:
			return text.String() // EAGAIN: that was the last one
		}
		text.Write(record[:n])
	}
	return text.String()
}
