// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/config"
)

// Exit statuses beside those of a command in the guest.
const (
	statusUnmet   = 1   // kconfig check: something is missing
	statusUsage   = 2   // the command line is wrong
	statusCrash   = 101 // the guest's kernel panicked or oopsed
	statusTimeout = 102 // the boot or the command took too long
	statusDeath   = 103 // the VM ended by itself
	statusFailed  = 125 // run-kernel couldn't do its part
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
		timeout *boot.TimeoutError
		death   *boot.DeathError
		signal  signalError
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
	case errors.As(err, &crash):
		return statusCrash
	case errors.As(err, &timeout):
		return statusTimeout
	case errors.As(err, &death):
		return statusDeath
	case errors.As(err, &signal):
		return 128 + int(signal.signal)
	}
	return statusFailed
}

// bisectStatus folds a status into what git bisect run understands: 0 good,
// 1 bad, 125 skip. A command that can't be run says nothing about the kernel.
func bisectStatus(status int) int {
	switch status {
	case 0:
		return 0
	case statusFailed, statusUsage, 126, 127:
		return statusFailed
	}
	return 1
}
