// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/proc"
)

// Exit statuses beside those of a command in the guest.
const (
	statusUnmet   = 1                    // kconfig check: something is missing
	statusUsage   = 2                    // the command line is wrong
	statusCrash   = session.StatusReport // the guest's kernel panicked, oopsed or reported a problem
	statusTimeout = 102                  // the boot or the command took too long
	statusDeath   = 103                  // the VM ended by itself
	statusAbort   = 128                  // test: git bisect run must stop
	statusFailed  = 125                  // run-kernel couldn't do its part
)

// A statusError ends run-kernel with a status and says nothing more.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// A usageError is a command line that can't be.
type usageError struct {
	problem string
	hint    string
}

func (e *usageError) Error() string { return e.problem }
func (e *usageError) Hint() string  { return e.hint }

// exitStatus maps an error to the exit status.
func exitStatus(err error) int {
	var (
		status  statusError
		usage   *usageError
		value   *config.ValueError
		crash   *boot.CrashError
		report  *boot.ReportError
		timeout *boot.TimeoutError
		death   *boot.DeathError
		noSSHD  *boot.NoSSHDError
		signal  proc.SignalError
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		return statusUsage
	case errors.As(err, &value) && strings.HasPrefix(value.Where, "--"):
		return statusUsage
	case errors.As(err, &crash), errors.As(err, &report):
		return statusCrash
	case errors.As(err, &timeout), errors.As(err, &noSSHD):
		return statusTimeout
	case errors.As(err, &death):
		return statusDeath
	case errors.As(err, &signal):
		return 128 + int(signal)
	case errors.Is(err, session.ErrLeft):
		return 128 + int(syscall.SIGHUP) // as when the terminal is closed
	}
	return statusFailed
}

// foldStatus marks the command whose status git bisect run reads.
const foldStatus = "fold-status"

// bisectStatus maps an error to what git bisect run understands: 0 good, 1 bad,
// 125 skip, more than 127 stop. A command that can't be run says nothing about
// the kernel, and neither does a qemu that doesn't start. A command line of ours that is wrong would be so for each commit,
// and a signal to us is the user's request to stop.
func bisectStatus(err error) int {
	status := exitStatus(err)
	var death *boot.DeathError
	switch {
	case status == 0:
		return 0
	case errors.As(err, &death) && death.Host:
		return statusFailed
	case errors.As(err, new(proc.SignalError)), errors.Is(err, session.ErrLeft):
		return status
	case status == statusFailed, status == 126, status == 127:
		return statusFailed
	case status == statusUsage && !errors.As(err, new(statusError)):
		return statusAbort
	}
	return 1
}

// advise adds a next step to an error that has none of its own.
func advise(err error) error {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		return err
	}
	var path *fs.PathError
	switch {
	case errors.Is(err, prepare.ErrNoConfig):
		return &advisedError{err, "`run-kernel kconfig fix` makes one from the architecture's defconfig"}
	case errors.Is(err, syscall.ENOSPC):
		return &advisedError{err, "make room, or build elsewhere with -O DIR"}
	case errors.Is(err, syscall.EROFS):
		return &advisedError{err, "build elsewhere with -O DIR"}
	case errors.Is(err, fs.ErrPermission) && errors.As(err, &path):
		return &advisedError{err, "is it another user's, made by sudo make? chown it, or build elsewhere with -O DIR"}
	}
	return err
}

type advisedError struct {
	error
	hint string
}

func (e *advisedError) Unwrap() error { return e.error }
func (e *advisedError) Hint() string  { return e.hint }
