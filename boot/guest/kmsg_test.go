// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadRecords(t *testing.T) {
	long := strings.Repeat("x", maxRecord-1) + "\n"
	answers := []any{unix.EPIPE, "4,1,2,-;one\n", unix.EINTR, "4,2,3,-;two\n", unix.EAGAIN, "not yet"}
	read := func(record []byte) (int, error) {
		if len(answers) == 0 {
			return copy(record, long), nil
		}
		answer := answers[0]
		answers = answers[1:]
		if err, ok := answer.(error); ok {
			return 0, err
		}
		return copy(record, answer.(string)), nil
	}
	if got := readRecords(read); got != "4,1,2,-;one\n4,2,3,-;two\n" {
		t.Errorf("got %q", got)
	}
	answers = nil
	if got := len(readRecords(read)); got < maxMessages || got > maxMessages+maxRecord {
		t.Errorf("%d bytes of a log without end", got)
	}
}
