// SPDX-License-Identifier: GPL-3.0-only

package console

import (
	"regexp"
	"strings"
)

// A Crash is the headline of a kernel's report.
type Crash struct {
	Message string
	Panic   bool   // the kernel stopped; else it may go on after an oops
	Cause   string // for a panic: the headline of the oops before it
}

// The headlines, as the kernel prints them: panic() in kernel/panic.c, die() and
// the page fault handlers in arch/*/, check_hung_uninterruptible_tasks() in
// kernel/hung_task.c, the soft and hard lockup detectors in kernel/watchdog*.c.
var (
	panicLine = regexp.MustCompile(`Kernel panic - not syncing.*`)
	oopsLine  = regexp.MustCompile(
		`(BUG: (unable to handle|kernel NULL|soft lockup|KASAN|KFENCE|KCSAN|scheduling while atomic|Bad page|workqueue lockup).*` +
			`|Unable to handle kernel .*` +
			`|general protection fault.*` +
			`|kernel BUG at .*` +
			`|Oops(:| -|\[).*` +
			`|Internal error: Oops.*` +
			`|divide error: .*` +
			`|watchdog: BUG: .*` +
			`|invalid opcode: [0-9]+ \[#.*` +
			`|NMI watchdog: Watchdog detected hard LOCKUP.*` +
			`|INFO: task .* blocked for more than .*)`)

	// prefix is what printk puts before a message: level, time, caller.
	prefix = regexp.MustCompile(`^(<\d+>)?\[[ \d]+\.\d+\](\[ *[TC]\d+\])? `)
)

// parseCrash looks for a headline in a line of the console.
func parseCrash(line string) (Crash, bool) {
	if loc := prefix.FindStringIndex(line); loc != nil {
		line = line[loc[1]:]
	}
	if m := panicLine.FindString(line); m != "" && strings.HasPrefix(line, m) {
		return Crash{Message: m, Panic: true}, true
	}
	if m := oopsLine.FindString(line); m != "" && strings.HasPrefix(line, m) {
		return Crash{Message: m}, true
	}
	return Crash{}, false
}
