// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"math"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/internal/event"
)

const (
	// quietTime is how long the console must be silent until what the kernel reported
	// during a command is taken for complete, and settleTime the limit of waiting for
	// that: a serial port takes its time, and has none of the agent's.
	quietTime  = 30 * time.Millisecond
	settleTime = 2 * time.Second

	// maxTold is how many reports of different titles are told of as events.
	maxTold = 50

	notUp = math.MaxInt64
)

// tellReports returns a function that emits an event for each report with a title that
// hasn't been there before.
func (vm *VM) tellReports(o *Options) func(report.Report) {
	told := make(map[string]bool)
	return func(r report.Report) {
		if told[r.Title] || len(told) >= maxTold {
			return
		}
		told[r.Title] = true
		up := r.Offset >= vm.up.Load()
		o.Events.Emit(event.KernelReport{Title: r.Title, Class: r.Class.String(), Function: r.Function, File: r.File, Line: r.Line, Up: up})
		if o.Reported != nil {
			o.Reported(r, up)
		}
	}
}

// Settle waits until the console is silent for a moment: the agent answers at once, also
// when lines that were printed before have yet to be read.
func (vm *VM) Settle() { vm.console.Settle(quietTime, settleTime) }

// Reports returns what the kernel has reported since the agent answered, or since Swap
// replaced modules last. It waits until the console is silent for a moment.
func (vm *VM) Reports() []report.Report {
	vm.Settle()
	return vm.console.Reports(vm.up.Load())
}

// Hidden returns what the kernel's taint tells since then, by the last Sync, when the
// console has no report at all: with "quiet" or a low log level it prints none.
func (vm *VM) Hidden() []report.Report {
	fresh := vm.taint.fresh()
	if len(fresh) == 0 || len(vm.console.Reports(0)) > 0 {
		return nil
	}
	return fresh
}

// CrashReport is the report that began with the message of Crash; nil when there is none.
func (vm *VM) CrashReport() *report.Report {
	crash := vm.console.Crash()
	if crash == nil {
		return nil
	}
	for _, r := range vm.console.Reports(0) {
		if strings.HasSuffix(r.Headline, crash.Message) || strings.HasPrefix(crash.Message, r.Headline) {
			return &r
		}
	}
	return nil
}
