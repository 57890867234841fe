// SPDX-License-Identifier: GPL-3.0-only

package console

import "github.com/metaspace/run-kernel/internal/pattern"

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
	panicLine = pattern.New(`^Kernel panic - not syncing.*`)
	oopsLine  = pattern.New(
		`^(BUG: (unable to handle|kernel NULL|soft lockup|KASAN|KFENCE|KCSAN|KMSAN|scheduling while atomic|Bad page|workqueue lockup|spinlock|.*stack guard page).*` +
			`|Unable to handle kernel .*` +
			`|general protection fault.*` +
			`|[Kk]ernel BUG (at|\[#).*` +
			`|Oops(:| -| ?\[).*` +
			`|Internal error: .*` +
			// x86, of the trap's name, the error code and the count of oopses.
			`|[a-z][a-z0-9 -]*: [0-9a-f]{4} \[#[0-9]+\].*` +
			`|watchdog: BUG: .*` +
			`|(NMI )?watchdog: (CPU[0-9]+: )?Watchdog detected hard LOCKUP.*` +
			`|INFO: task .* blocked for more than .*)`)
	// print_cpu_stall() and print_other_cpu_stall() in kernel/rcu/tree_stall.h, and
	// synchronize_rcu_expedited_stall() in tree_exp.h.
	stallLine = pattern.New(`^rcu: INFO: \S+ (self-)?detected (expedited )?stalls? on .*`)
	// lockupLine are reports of a processor that stands still, which come again for
	// as long as it does.
	lockupLine = pattern.New(`^((watchdog: )?BUG: soft lockup|(NMI )?watchdog: (CPU[0-9]+: )?Watchdog detected hard LOCKUP|rcu: INFO: \S+ (self-)?detected (expedited )?stalls? on )`)

	// prefix is what printk puts before a message: level, time, caller.
	prefix     = pattern.New(`^(<\d+>)?\[ *\d+\.\d{6}\](\[ *[TC]\d+\])? `)
	unfinished = pattern.New(`^.+\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? (.*)`)
)

// cutPrefix takes the time off a message of the kernel, and says whether there
// was one. CONFIG_PRINTK_TIME is often set, but not always.
func cutPrefix(line string) (message string, timed bool) {
	if loc := prefix.FindStringIndex(line); loc != nil {
		return line[loc[1]:], true
	}
	return line, false
}

// behind returns the message that follows the last time in a line: a kernel that
// dies doesn't wait until a program has ended its line.
func behind(line string) string {
	if m := unfinished.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}

// parseCrash looks for a headline at the beginning of a message.
func parseCrash(message string) (Crash, bool) {
	if m := panicLine.FindString(message); m != "" {
		return Crash{Message: m, Panic: true}, true
	}
	if m := oopsLine.FindString(message); m != "" {
		return Crash{Message: m}, true
	}
	return Crash{}, false
}
