// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"encoding/json"
	"errors"
	"io/fs"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// refusals are the errors that keep their identity on their way to the caller. The
// codes are those of channels that are rejected, from the range for private use:
// RFC 4254, section 5.1.
var refusals = []struct {
	code ssh.RejectionReason
	err  error
}{
	{0xfe000001, ErrNoGuest},
	{0xfe000002, fs.ErrExist},
	{0xfe000003, unix.ENOSPC},
}

// codeOf is the code of an error; ssh.ConnectionFailed is that of all others.
func codeOf(err error) ssh.RejectionReason {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.code
		}
	}
	return ssh.ConnectionFailed
}

// A RefusedError is the owner's reason for not doing what it was asked. It wraps
// ErrNoGuest, fs.ErrExist or unix.ENOSPC where that is the reason.
type RefusedError struct {
	Reason string
	err    error
}

// refused is what a caller is told.
func refused(code ssh.RejectionReason, reason string) *RefusedError {
	e := &RefusedError{Reason: reason}
	for _, r := range refusals {
		if r.code == code {
			e.err = r.err
		}
	}
	return e
}

func (e *RefusedError) Error() string { return e.Reason }
func (e *RefusedError) Unwrap() error { return e.err }

// Hint is where to look when there is no guest to act on.
func (e *RefusedError) Hint() string {
	if !errors.Is(e, ErrNoGuest) {
		return ""
	}
	return "run-kernel status says what is being done"
}

// refusal is the reply to a request that is refused.
type refusal struct {
	Code   ssh.RejectionReason `json:"code"`
	Reason string              `json:"reason"`
}

func (r refusal) marshal() []byte {
	data, _ := json.Marshal(r) // a number and a string
	return data
}
