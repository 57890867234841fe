// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"bytes"
	"strings"
	"sync"
)

// reportLike says whether a message looks as if it belonged to a report. It may be
// generous: what it doesn't know ends a report only when it comes many times.
func reportLike(text []byte) bool {
	if len(text) == 0 || text[0] == ' ' || text[0] == '\t' || text[0] == '#' {
		return true
	}
	return hexDump(text) || reportHeads.begin(text)
}

// hexDump says whether a message is a line of a stack or of registers in hexadecimal.
func hexDump(text []byte) bool {
	i := 0
	for i < len(text) && isHex(text[i]) {
		i++
	}
	return i >= 4 && i < len(text) && (text[i] == ':' || text[i] == ' ')
}

// isConsequence says whether a panic is what the kernel was asked to do after a report.
func isConsequence(panicked string) bool {
	for _, reason := range consequences {
		if strings.Contains(panicked, reason) {
			return true
		}
	}
	return false
}

// consequences are in the messages of panics after a report: panic_on_warn of
// kernel/panic.c, oops_end of the architectures, hung_task.c, watchdog.c, tree_stall.h.
var consequences = []string{
	"panic_on_warn", "panic_on_taint", "atal exception", "hung_task:", "softlockup:", "hung tasks", "RCU Stall", "hard LOCKUP", "kernel stack overflow", "KASAN", "KFENCE", "UBSAN",
	"BUG!", "Fatal ", "sleeping function", "scheduling while atomic", "Invalid wait context",
}

// tailLike says whether a message may follow a report's end: the registers once
// more, and a panic.
func tailLike(text []byte) bool {
	return len(text) == 0 || tailHeads.begin(text)
}

// breaksStack says whether a message that is no frame ends a call trace. Another
// processor's message doesn't.
func breaksStack(text []byte) bool {
	if len(text) == 0 || text[len(text)-1] == ':' {
		return true
	}
	return stackBreakers.begin(bytes.TrimLeft(text, " "))
}

// isMark says whether a line of a call trace says which stack goes on: "<TASK>".
func isMark(text []byte) bool {
	text = bytes.TrimLeft(text, " ")
	return len(text) > 2 && text[0] == '<' && text[len(text)-1] == '>'
}

// isEnd says whether a message is the last of a report.
func isEnd(text []byte) bool { return endHeads.begin(text) }

// A headSet is a set of beginnings of lines.
type headSet struct{ byFirst func() *[256][]string }

func newHeads(lists ...[]string) *headSet {
	return &headSet{sync.OnceValue(func() *[256][]string {
		table := new([256][]string)
		for _, list := range lists {
			for _, head := range list {
				table[head[0]] = append(table[head[0]], head)
			}
		}
		return table
	})}
}

// begin says whether a message begins with one of the set.
func (set *headSet) begin(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	for _, head := range set.byFirst()[text[0]] {
		if len(text) >= len(head) && string(text[:len(head)]) == head {
			return true
		}
	}
	return false
}

var (
	// taskHeads begin the line of dump_stack_print_info in lib/dump_stack.c.
	taskHeads = newHeads([]string{"CPU: ", "Pid: ", "PID: "})

	endHeads = newHeads([]string{"---[ end trace ", "---[ end Kernel panic", "Rebooting in ", "---[ end kernel panic"})

	tailLines = []string{
		"RIP:", "RSP:", "RAX:", "RDX:", "RBP:", "R10:", "R13:", "FS:", "CS:", "CR2:", "DR0:", "DR3:", "EIP:", "EAX:", "ESI:", "DS:", "CR0:",
		"Code:", "Modules linked in:", "Kernel panic", "Kernel Offset:", "Rebooting in ", "Dumping ftrace buffer:", "   (ftrace buffer empty)",
		"SMP: stopping", "Shutting down cpus", "PKRU:", "note: ", "---[ end ", "CPU features:", "Memory Limit:", "PHYS_OFFSET:", "Call Trace:", "CPU:",
		"Tainted:", "Hardware name:", "Code disassembly",
	}

	stackBreakers = newHeads([]string{
		"CPU:", "Modules linked in", "---[", "===", "Allocated", "Freed", "Kernel panic", "RIP: 0033", "RIP: 002b", "Kernel Offset", "-> #",
		"Sending NMI", "NMI backtrace",
	})

	tailHeads = newHeads(tailLines)

	reportHeads = newHeads([]string{
		"[<", "---[", "---", "===", "CPU: ", "PID: ", "Hardware name", "Workqueue: ", "task: ", "Call Trace", "Call trace", "Backtrace", "backtrace", "stack backtrace",
		"pstate:", "pc :", "lr :", "sp :", "x", "r1", "r0", "r3", "r7", "Flags:", "Control:", "Process ", "Stack:", "Exception stack", "Stack trace:", "epc", "status:",
		"Allocated by", "Freed by", "The buggy", "Memory state", "page:", "flags:", "raw:", "page dumped", "page_owner", "page last", "head:", "page_type:", "which belongs", "located ",
		"The ", "Last potentially", "Second to last", "Read of size", "Write of size", "Read at ", "write to ", "read to ", "value changed", "Reported by", "Uninit was",
		"Bytes ", "Memory access of", "Data copied", "Local variable", "Showing ", "other info", "which lock", "the existing", "but task", "but there are", "and this task", "is trying",
		"irq event", "hardirqs", "softirqs", "stack trace", "Possible unsafe", " lock", "locks held", "rcu_scheduler", "RCU used", "no locks held", "in_atomic", "preempt_count", "INFO: lockdep",
		"Internal error", "Oops", "PGD ", "pgd ", "[0", "[f", "Mem abort", "Data abort", "Object ", "Redzone ", "Padding ", "INFO: Slab", "INFO: Object", "Slab 0x", "Sending NMI", "NMI backtrace",
		"rcu: ", "unreferenced object", "comm ", "hex dump", "task:", "kworker/", "caller is", "general protection", "kasan:", "KASAN:", "#PF", "Fixing recursive", "BUG:", "NIP", "LR ", "GPR", "MSR", "kernel BUG",
		"value ", "Kernel ", "traps:", "1 lock", "2 locks", "3 locks", "4 locks", "5 locks", "shift exponent", "index ", "signed integer", "load of", "member ", "division by",
		"kfence-#", "turning off", "workqueue ", "kmemleak: ", "pool ", "csd: ", "smp: ",
	}, tailLines)
)
