// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"strings"
	"sync"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// A kind is one headline that Linux prints when something is wrong. To teach the
// parser a new one, add a row to kinds.
type kind struct {
	// head is how the message begins. Of two rows that both fit, the first counts.
	head string
	// rest is what must follow head; nil if anything may.
	rest  *pattern.Pattern
	class Class
	// title is the normalised title, in which
	//
	//	{1}      is what the first group of rest found; {2} and so on likewise
	//	{rest}   is what follows head, with numbers and addresses replaced
	//	{func}   is the guilty function
	//	{access} is Read or Write, as a line of the report says
	title string
	// bare is the title where there is no {access}, and lost where there is no {func};
	// without the latter {func} is "corrupted".
	bare, lost string
	// find looks for the guilty function; nil: the first frame that isn't machinery.
	find func(*open) string
	role role
	// stamped says that only messages with their time count: the headline is one that
	// programs may well print.
	stamped bool
}

// A role is how a headline goes with those before and after it.
type role int

const (
	// whole begins a report, and ends the one before.
	whole role = iota
	// preface begins a report that an oops or a BUG continues.
	preface
	// fault continues a preface. Without one it begins a report.
	fault
	// final continues any report. Without one it begins its own.
	final
	// again continues a report of its own class. Without one it begins its own.
	again
)

// kinds are the headlines, in groups by what prints them in the kernel's source.
var kinds = []kind{
	// kernel/panic.c and its callers.
	{head: "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: ", rest: pattern.New(`^([^ +]+)`), class: StackOverflow, title: "kernel panic: stack is corrupted in {1}", role: final, find: quoted},
	{head: "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in", class: StackOverflow, title: "kernel panic: stack is corrupted in {func}", role: final},
	{head: "Kernel panic - not syncing: corrupted stack end detected inside scheduler", class: StackOverflow, title: "kernel panic: corrupted stack end in {func}", find: overflowed, role: final},
	{head: "Kernel panic - not syncing: kernel stack overflow", class: StackOverflow, title: "kernel stack overflow in {func}", role: final},
	{head: "Kernel panic - not syncing: Attempted to kill init!", class: Panic, title: "kernel panic: Attempted to kill init!", role: final},
	{head: "Kernel panic - not syncing: Attempted to kill the idle task!", class: Panic, title: "kernel panic: Attempted to kill the idle task!", role: final},
	{head: "Kernel panic - not syncing: Out of memory", class: Panic, title: "kernel panic: Out of memory", role: final},
	{head: "Kernel panic - not syncing: System is deadlocked on memory", class: Panic, title: "kernel panic: System is deadlocked on memory", role: final},
	{head: "Kernel panic - not syncing: Watchdog detected hard LOCKUP", class: Hang, title: "BUG: hard lockup in {func}", find: stalled, role: final},
	{head: "Kernel panic - not syncing: ", class: Panic, title: "kernel panic: {rest}", role: final},
	{head: "Kernel panic - not syncing", class: Panic, title: "kernel panic", role: final},

	// arch/x86/mm/fault.c.
	{head: "BUG: unable to handle kernel NULL pointer dereference", class: Oops, title: "BUG: unable to handle kernel NULL pointer dereference in {func}", role: preface},
	{head: "BUG: kernel NULL pointer dereference", class: Oops, title: "BUG: unable to handle kernel NULL pointer dereference in {func}", role: preface},
	{head: "BUG: unable to handle kernel paging request", class: Oops, title: "BUG: unable to handle kernel paging request in {func}", role: preface},
	{head: "BUG: unable to handle page fault for address", class: Oops, title: "BUG: unable to handle kernel paging request in {func}", role: preface},
	{head: "BUG: unable to handle kernel access to user memory", class: Oops, title: "BUG: unable to handle kernel access to user memory in {func}", role: preface},
	{head: "BUG: unable to handle kernel", class: Oops, title: "BUG: unable to handle kernel", role: preface},
	{head: "BUG: unable to handle", class: Oops, title: "BUG: unable to handle kernel", role: preface},
	// arch/powerpc/mm/fault.c.
	{head: "BUG: Unable to handle kernel data access", class: Oops, title: "BUG: unable to handle kernel paging request in {func}", role: preface},
	{head: "BUG: Unable to handle kernel instruction fetch", class: Oops, title: "BUG: unable to handle kernel paging request in {func}", role: preface},
	{head: "BUG: Unable to handle kernel unaligned access", class: Oops, title: "BUG: unable to handle kernel unaligned access in {func}", role: preface},
	{head: "BUG: Unable to handle unknown paging fault", class: Oops, title: "BUG: unable to handle kernel paging request in {func}", role: preface},
	{head: "BUG: Kernel NULL pointer dereference ", class: Oops, title: "BUG: unable to handle kernel NULL pointer dereference in {func}", role: preface},
	// arch/arm64/mm/fault.c, arch/riscv/mm/fault.c, arch/arm/mm/fault.c and others.
	{head: "Unable to handle kernel NULL pointer dereference", class: Oops, title: "BUG: unable to handle kernel NULL pointer dereference in {func}", role: preface},
	{head: "Unable to handle kernel paging request", class: Oops, title: "BUG: unable to handle kernel paging request in {func}", role: preface},
	{head: "Unable to handle kernel access to user memory", class: Oops, title: "BUG: unable to handle kernel access to user memory in {func}", role: preface},
	{head: "Unable to handle kernel ", rest: pattern.New(`^(execute from non-executable memory|write to read-only memory|read from unreadable memory|pointer dereference|execution of user memory)`), class: Oops, title: "BUG: unable to handle kernel {1} in {func}", role: preface},
	{head: "Unable to handle kernel", class: Oops, title: "BUG: unable to handle kernel", role: preface},
	{head: "Unhandled fault: ", class: Oops, title: "Unhandled fault in {func}", role: preface},
	{head: "Unhandled prefetch abort: ", class: Oops, title: "Unhandled prefetch abort in {func}", role: preface},
	{head: "Insufficient stack space to handle exception!", class: StackOverflow, title: "kernel stack overflow in {func}", find: overflowed, role: preface},
	{head: "Kernel tried to execute ", class: Oops, title: "kernel tried to execute bad memory in {func}", role: preface},
	{head: "Bad mode in ", class: Oops, title: "Bad mode in {func}", role: preface},
	// arch/mips/mm/fault.c, arch/loongarch/mm/fault.c.
	{head: "CPU ", rest: pattern.New(`^\d+ Unable to handle kernel paging request at `), class: Oops, title: "BUG: unable to handle kernel paging request in {func}", role: preface},
	// arch/s390/kernel/dumpstack.c.
	{head: "", rest: pattern.New(`^([a-z][a-z -]*): [0-9a-f]{4} ilc:\d \[#\d+\]`), class: Oops, title: "{1} in {func}", role: fault},
	// arch/x86/kernel/traps.c and dumpstack.c.
	{head: "BUG: stack guard page was hit at ", class: StackOverflow, title: "BUG: stack guard page was hit in {func}", find: overflowed, role: preface},
	{head: "BUG: ", rest: pattern.New(`^\S+ stack guard page was hit at `), class: StackOverflow, title: "BUG: stack guard page was hit in {func}", find: overflowed, role: preface},
	{head: "PANIC: double fault", class: Oops, title: "PANIC: double fault in {func}", role: preface},
	{head: "PANIC: early exception", class: Oops, title: "PANIC: early exception in {func}", role: preface},
	{head: "PANIC: invalid or fatal FRED event", class: Oops, title: "PANIC: fatal FRED event in {func}", role: preface},
	{head: "BUG: invalid or fatal FRED event", class: Oops, title: "BUG: fatal FRED event in {func}", role: preface},
	{head: "Missing ENDBR: ", class: Oops, title: "Missing ENDBR in {func}", role: preface},
	{head: "CFI failure at ", class: Oops, title: "CFI failure in {func}", role: preface},
	{head: "kernel stack overflow (", class: StackOverflow, title: "kernel stack overflow in {func}", find: overflowed, role: fault},
	{head: "general protection fault", rest: pattern.New(`^(:|, | in | for |, maybe )`), class: Oops, title: "general protection fault in {func}", role: fault},
	{head: "general protection fault", rest: pattern.New(`^$`), class: Oops, title: "general protection fault in {func}", role: fault},
	{head: "stack segment: ", class: Oops, title: "stack segment fault in {func}", role: fault},
	{head: "stack guard page: ", class: StackOverflow, title: "BUG: stack guard page was hit in {func}", find: overflowed, role: fault},
	{head: "", rest: pattern.New(`^(divide error|invalid opcode|double fault|int3|debug|overflow|bounds|segment not present|invalid TSS|alignment check|coprocessor segment overrun|control protection fault|x87 FPU exception|SIMD exception|simd exception|fpu exception|virtualization exception|VMM communication exception|unexpected #NM exception|branch through zero|unknown trap|trap): [0-9a-f]{4} \[#\d+\]`), class: Oops, title: "{1} in {func}", role: fault},
	{head: "Oops: ", rest: pattern.New(`^general protection fault`), class: Oops, title: "general protection fault in {func}", role: fault},
	{head: "Oops: ", rest: pattern.New(`^stack segment`), class: Oops, title: "stack segment fault in {func}", role: fault},
	{head: "Oops: ", rest: pattern.New(`^stack guard page`), class: StackOverflow, title: "BUG: stack guard page was hit in {func}", find: overflowed, role: fault},
	{head: "Oops: ", rest: pattern.New(`^([a-zA-Z][a-zA-Z0-9 -]*): [0-9a-f]{4} \[#\d+\]`), class: Oops, title: "{1} in {func}", role: fault},
	{head: "Oops: ", class: Oops, title: "Oops in {func}", role: fault},
	{head: "Oops[#", class: Oops, title: "Oops in {func}", role: fault},
	{head: "Oops [#", class: Oops, title: "Oops in {func}", role: fault},
	{head: "Oops - ", class: Oops, title: "Oops in {func}", role: fault},
	// arch/arm64/kernel/traps.c, arch/arm/kernel/traps.c.
	{head: "Internal error: UBSAN: ", rest: pattern.New(`^([a-z -/]+): [0-9a-f]+ \[#`), class: UBSAN, title: "UBSAN: {1} in {func}", role: fault},
	{head: "Internal error: Oops - KASAN: ", class: KASAN, title: "KASAN: invalid-access in {func}", role: fault},
	{head: "Internal error: ", class: Oops, title: "Internal error in {func}", role: fault},

	// lib/bug.c and include/asm-generic/bug.h.
	{head: "kernel BUG at ", rest: pattern.New(`^(?:\S*/)?lib/list_debug\.c:`), class: Corruption, title: "BUG: corrupted list in {func}", role: preface},
	{head: "kernel BUG at ", rest: pattern.New(`^(?:\S*/)?mm/usercopy\.c:`), class: Bug, title: "BUG: bad usercopy in {func}", role: preface},
	{head: "kernel BUG at ", class: Bug, title: "kernel BUG in {func}", role: preface},
	{head: "Kernel BUG at ", class: Bug, title: "kernel BUG in {func}", role: preface},
	{head: "kernel BUG [#", class: Bug, title: "kernel BUG in {func}", role: preface},
	{head: "Kernel BUG [#", class: Bug, title: "kernel BUG in {func}", role: preface},
	{head: "Kernel bug detected[#", class: Bug, title: "kernel BUG in {func}", role: preface},
	{head: "BUG: failure at ", rest: pattern.New(`^\S+/(\w+)\(\)!`), class: Bug, title: "kernel BUG in {1}", find: quoted, role: preface},
	// rust/kernel/lib.rs.
	{head: "rust_kernel: panicked at ", class: Bug, title: "{below} in {func}", role: preface},

	// mm/kasan/report.c.
	{head: "BUG: KASAN: ", rest: pattern.New(`^(?:double-free or )?((?:invalid|double)-free)\b`), class: KASAN, title: "KASAN: {1} in {func}"},
	{head: "BUG: KASAN: ", rest: pattern.New(`^([a-z][a-z-]*) on address`), class: KASAN, title: "KASAN: {1} {access} in {func}", bare: "KASAN: {1}", lost: "KASAN: {1} {access}"},
	{head: "BUG: KASAN: ", rest: pattern.New(`^([a-z][a-z-]*)( in |$)`), class: KASAN, title: "KASAN: {1} {access} in {func}", bare: "KASAN: {rest}"},
	{head: "BUG: KASAN: ", class: KASAN, title: "KASAN: {rest}"},
	{head: "BUG: KASan: ", rest: pattern.New(`^([a-z][a-z -]*?) (in|on) `), class: KASAN, title: "KASAN: {1} {access} in {func}", bare: "KASAN: {rest}"},
	// mm/kfence/report.c.
	{head: "BUG: KFENCE: ", rest: pattern.New(`^([a-z][a-z -]*?)( in |$)`), class: KFENCE, title: "KFENCE: {1} in {func}"},
	// mm/kmsan/report.c.
	{head: "BUG: KMSAN: ", rest: pattern.New(`^([a-z][a-z -]*?)( in |$)`), class: KMSAN, title: "KMSAN: {1} in {func}"},
	// kernel/kcsan/report.c.
	{head: "BUG: KCSAN: ", rest: pattern.New(`^(data-race|assert: race) in (\S+) / (\S+)`), class: KCSAN, title: "KCSAN: {1} in {2} / {3}", find: quotedSecond},
	{head: "BUG: KCSAN: ", rest: pattern.New(`^(data-race|assert: race) in ([^ +]+)`), class: KCSAN, title: "KCSAN: {1} in {2}", find: quotedSecond},
	{head: "BUG: KCSAN: ", class: KCSAN, title: "KCSAN: {rest}"},
	// lib/ubsan.c.
	{head: "UBSAN: Undefined behaviour in ", class: UBSAN, title: "UBSAN: undefined-behaviour in {func}"},
	{head: "UBSAN: ", rest: pattern.New(`^([a-z][a-z-]*) in \S+:\d+`), class: UBSAN, title: "UBSAN: {1} in {func}"},
	{head: "UBSAN: ", rest: pattern.New(`^([a-z][a-z /-]*) at \S+\+0x`), class: UBSAN, title: "UBSAN: {1} in {func}", role: preface},

	// lib/list_debug.c: a BUG or a WARNING follows. lib/plist.c only warns.
	{head: "list_add corruption", class: Corruption, title: "BUG: corrupted list in {func}", role: preface},
	{head: "list_add double add", class: Corruption, title: "BUG: corrupted list in {func}", role: preface},
	{head: "list_del corruption", class: Corruption, title: "BUG: corrupted list in {func}", role: preface},
	// mm/usercopy.c.
	{head: "usercopy: ", rest: pattern.New(`^[Kk]ernel memory (exposure|overwrite) attempt detected `), class: Bug, title: "BUG: bad usercopy in {func}", role: preface},
	// mm/memory.c, mm/page_alloc.c, mm/filemap.c, kernel/fork.c, fs/dcache.c, fs/open.c.
	{head: "BUG: Bad page state in process ", class: Corruption, title: "BUG: Bad page state in {func}", find: owner},
	{head: "BUG: Bad page map in process ", class: Corruption, title: "BUG: Bad page map"},
	{head: "BUG: Bad page map ", class: Corruption, title: "BUG: Bad page map"},
	{head: "BUG: Bad page cache in process ", class: Corruption, title: "BUG: Bad page cache in {func}"},
	{head: "BUG: Bad rss-counter state ", class: Corruption, title: "BUG: Bad rss-counter state"},
	{head: "BUG: ", rest: pattern.New(`^non-zero (pgtables_bytes|nr_p[tm][ed]s) on freeing mm`), class: Corruption, title: "BUG: {rest}"},
	{head: "pagealloc: ", rest: pattern.New(`^(memory corruption|single bit error)`), class: Corruption, title: "pagealloc: {1} in {func}"},
	{head: "BUG: mempool element poison mismatch", class: Corruption, title: "BUG: mempool element poison mismatch in {func}"},
	{head: "BUG: Dentry ", rest: pattern.New(`still in use \(-?\d+\) \[unmount of `), class: Corruption, title: "BUG: Dentry still in use in unmount", role: preface},
	{head: "VFS: Close: file count is ", class: Corruption, title: "VFS: Close: file count is zero (use-after-free)"},
	{head: "VFS: Busy inodes after unmount of ", class: Corruption, title: "VFS: Busy inodes after unmount (use-after-free)"},
	// mm/slub.c. With KASAN the report that matters is KASAN's.
	{head: "BUG ", rest: pattern.New(`^[^(]+ \((?:Not t|T)ainted[^)]*\): (Poison overwritten|Padding overwritten|(?:(?:Left|Right) )?[Rr]edzone overwritten|Object already free|Object padding overwritten|Objects remaining|Wrong object count|Freechain corrupt|Freepointer corrupt|Freelist corrupt|Page slab pointer corrupt|Wrong slab cache|Invalid object pointer|Left Redzone overwritten|Kmalloc redzone|Allocated object|Marking all objects used|Alignment padding)`), class: Corruption, title: "BUG: slab {1} in {func}"},
	{head: "INFO: ", rest: pattern.New(`^(Allocated|Freed) in (\S+?)\+0x\S+ (age=\d+ cpu=\d+ pid=-?\d+)`), class: Corruption, title: "INFO: {1} in {2} age=NUM cpu=NUM pid=NUM", role: final, find: quotedSecond},
	{head: "slab error in ", rest: pattern.New(`^(\w+)\(\): cache `), class: Corruption, title: "slab error in {1}"},

	// lib/spinlock_debug.c and kernel/locking.
	{head: "BUG: spinlock ", rest: pattern.New(`^(bad magic|already unlocked|wrong owner|wrong CPU|recursion|cpu recursion|lockup suspected|lockup|trylock failure on UP) on CPU`), class: Lockdep, title: "BUG: spinlock {1} in {func}"},
	{head: "BUG: rwlock ", rest: pattern.New(`^(bad magic|recursion|cpu recursion|already unlocked|wrong owner|wrong CPU|lockup|trylock failure on UP) on CPU`), class: Lockdep, title: "BUG: rwlock {1} in {func}"},
	{head: "BUG: using ", rest: pattern.New(`^(\S+\(\)) in preemptible`), class: Lockdep, title: "BUG: using {1} in preemptible code in {func}"},
	// kernel/locking/lockdep.c. Since 4.10 they begin with "WARNING: "; older ones
	// stand in brackets.
	{head: "WARNING: possible circular locking dependency detected", class: Lockdep, title: "possible deadlock in {func}", find: acquiring},
	{head: "INFO: possible circular locking dependency detected", class: Lockdep, title: "possible deadlock in {func}", find: acquiring},
	{head: "WARNING: possible recursive locking detected", class: Lockdep, title: "possible deadlock in {func}", find: acquiring},
	{head: "INFO: possible recursive locking detected", class: Lockdep, title: "possible deadlock in {func}", find: acquiring},
	{head: "WARNING: possible irq lock inversion dependency detected", class: Lockdep, title: "possible deadlock in {func}"},
	{head: "INFO: possible irq lock inversion dependency detected", class: Lockdep, title: "possible deadlock in {func}"},
	{head: "WARNING: ", rest: pattern.New(`^\S+-safe -> \S+-unsafe lock order detected`), class: Lockdep, title: "possible deadlock in {func}", find: irqUnsafe},
	{head: "INFO: ", rest: pattern.New(`^\S+-safe -> \S+-unsafe lock order detected`), class: Lockdep, title: "possible deadlock in {func}", find: irqUnsafe},
	{head: "WARNING: inconsistent lock state", class: Lockdep, title: "inconsistent lock state in {func}"},
	{head: "INFO: inconsistent lock state", class: Lockdep, title: "inconsistent lock state in {func}"},
	{head: "WARNING: suspicious RCU usage", class: Lockdep, title: "WARNING: suspicious RCU usage in {func}"},
	{head: "INFO: suspicious RCU usage", class: Lockdep, title: "INFO: suspicious RCU usage in {func}"},
	{head: "WARNING: bad unlock balance detected!", class: Lockdep, title: "WARNING: bad unlock balance in {func}", find: releasing},
	{head: "BUG: bad unlock balance detected!", class: Lockdep, title: "BUG: bad unlock balance in {func}", find: releasing},
	{head: "WARNING: bad contention detected!", class: Lockdep, title: "WARNING: bad contention in {func}"},
	{head: "BUG: bad contention detected!", class: Lockdep, title: "BUG: bad contention in {func}"},
	{head: "WARNING: held lock freed!", class: Lockdep, title: "WARNING: held lock freed in {func}", find: holding},
	{head: "BUG: held lock freed!", class: Lockdep, title: "BUG: held lock freed in {func}", find: holding},
	{head: "WARNING: lock held when returning to user space!", class: Lockdep, title: "WARNING: lock held when returning to user space in {func}", find: holding},
	{head: "BUG: lock held when returning to user space!", class: Lockdep, title: "BUG: lock held when returning to user space in {func}", find: holding},
	{head: "WARNING: Nested lock was not taken", class: Lockdep, title: "WARNING: nested lock was not taken in {func}", find: acquiring},
	{head: "BUG: Nested lock was not taken", class: Lockdep, title: "BUG: nested lock was not taken in {func}"},
	{head: "WARNING: chain_key collision", class: Lockdep, title: "WARNING: chain_key collision in {func}"},
	{head: "WARNING: ", rest: pattern.New(`^\S.*/\d+ still has locks held!`), class: Lockdep, title: "WARNING: still has locks held in {func}", find: holding},
	{head: "BUG: ", rest: pattern.New(`^\S.*/\d+ still has locks held!`), class: Lockdep, title: "BUG: still has locks held in {func}", find: holding},
	{head: "BUG: Invalid wait context", class: Lockdep, title: "WARNING: locking bug in {func}"},
	{head: "INFO: trying to register non-static key", class: Lockdep, title: "INFO: trying to register non-static key in {func}"},
	{head: "BUG: key ", rest: pattern.New(`^\S+ (not in \.data|has not been registered)!`), class: Lockdep, title: "BUG: lock key {1} in {func}"},
	{head: "BUG: looking up invalid subclass", class: Lockdep, title: "BUG: looking up invalid subclass in {func}"},
	{head: "BUG: MAX_", rest: pattern.New(`^(\w+) too low!`), class: Limit, title: "BUG: MAX_{1} too low!"},
	// kernel/rtmutex.c of old, kernel/exit.c, kernel/workqueue.c.
	{head: "BUG: workqueue leaked ", rest: pattern.New(`^(lock or atomic|atomic, lock or RCU)`), class: Lockdep, title: "BUG: workqueue leaked {1} in {func}", find: lastFunction},
	{head: "BUG: lock held at task exit time!", class: Lockdep, title: "BUG: lock held at task exit time in {func}", find: holding},

	// kernel/sched/core.c.
	{head: "BUG: sleeping function called from invalid context at ", class: AtomicSleep, title: "BUG: sleeping function called from invalid context in {func}"},
	{head: "BUG: scheduling while atomic: ", class: AtomicSleep, title: "BUG: scheduling while atomic in {func}"},
	{head: "BUG: scheduling in a non-blocking section: ", class: AtomicSleep, title: "BUG: scheduling in a non-blocking section in {func}"},
	{head: "BUG: assuming ", rest: pattern.New(`^(atomic|non migratable) context at `), class: AtomicSleep, title: "BUG: assuming {1} context in {func}"},

	// kernel/watchdog.c, kernel/hung_task.c, kernel/workqueue.c, kernel/smp.c.
	{head: "BUG: soft lockup", class: Hang, title: "BUG: soft lockup in {func}", find: stalled, role: again},
	{head: "Watchdog detected hard LOCKUP on cpu ", class: Hang, title: "BUG: hard lockup in {func}", find: stalled, role: again},
	{head: "CPU", rest: pattern.New(`^\d+: Watchdog detected hard LOCKUP on cpu `), class: Hang, title: "BUG: hard lockup in {func}", find: stalled, role: again},
	{head: "INFO: task ", rest: pattern.New(`:\d+ blocked (in I/O wait )?for more than \d+ seconds`), class: Hang, title: "INFO: task hung in {func}", find: hung},
	// A task's name may have any bytes, and end the line.
	{head: "INFO: task ", rest: pattern.New(`^[^ -~]`), class: Hang, title: "INFO: task hung in {func}", find: hung},
	{head: "INFO: task ", rest: pattern.New(`:\d+ (can't die) for more than \d+ seconds`), class: Hang, title: "INFO: task can't die in {func}", find: hung},
	{head: "BUG: workqueue lockup - pool", class: Hang, title: "BUG: workqueue lockup", role: again},
	{head: "csd: Detected non-responsive CSD lock", class: Hang, title: "csd: non-responsive CSD lock in {func}", find: stalled, role: again},
	// kernel/rcu/tree_stall.h, tree_exp.h, tasks.h, srcutree.c.
	{head: "INFO: rcu_", rest: pattern.New(`^\w+ (?:self-)?detected (?:expedited )?stalls?\b`), class: Hang, title: "INFO: rcu detected stall in {func}", find: stalled, role: again},
	{head: "INFO: ", rest: pattern.New(`^\w+ (?:self-)?detected (?:expedited )?stalls? on `), class: Hang, title: "INFO: rcu detected stall in {func}", find: stalled, role: again},
	// net/core/dev.c: a reference that nobody gives back.
	{head: "unregister_netdevice: waiting for ", rest: pattern.New(`^\S+ to become free\.`), class: Hang, title: "unregister_netdevice: waiting for DEV to become free", role: again},

	// mm/kmemleak.c: what it prints itself, and what its file in debugfs holds.
	{head: "BUG: memory leak", class: Leak, title: "memory leak in {func}", find: allocating, role: preface},
	{head: "unreferenced object 0x", class: Leak, title: "memory leak in {func}", find: allocating, role: fault},
	{head: "kmemleak: unreferenced object 0x", class: Leak, title: "memory leak in {func}", find: allocating, role: fault},
	{head: "kmemleak: ", rest: pattern.New(`^\d+ new suspicious memory leaks`), class: Leak, title: "memory leak"},

	// kernel/panic.c, __warn. The second form is that of 6.18 and later.
	{head: "WARNING: CPU: ", rest: pattern.New(`^(?:\d+ )?PID: |^\d+ `), class: Warning, title: "WARNING in {func}", find: warning},
	{head: "WARNING: at ", rest: pattern.New(`^\S+:\d+`), class: Warning, title: "WARNING in {func}", find: warning},
	{head: "WARNING: ", rest: pattern.New(`^(?:\[.*\] )?\S+\.[chSrs]+:\d+ at \S+, CPU#`), class: Warning, title: "WARNING in {func}", find: warning},
	// arch/x86/kernel/unwind_frame.c.
	{head: "WARNING: kernel stack regs at ", class: Warning, title: "WARNING: kernel stack regs has bad value", role: final},
	{head: "WARNING: kernel stack frame pointer at ", class: Warning, title: "WARNING: kernel stack frame pointer has bad value", role: final},
	{head: "WARNING: stack recursion on stack type ", class: Warning, title: "WARNING: stack recursion", role: final},

	// Whatever else the kernel calls a bug.
	{head: "BUG: ", class: Bug, title: "BUG: {rest}", stamped: true},

	// drivers/trusty: Android's secure monitor.
	{head: "trusty: 0x", rest: pattern.New(`^[0-9a-f]+\): (ASSERT FAILED) at \([^)]*\): (.*)`), class: Panic, title: "trusty: {1}: {2}", role: preface},
	{head: "trusty: panic (caller ", rest: pattern.New(`\): (ASSERT FAILED) at \([^)]*\): (.*)`), class: Panic, title: "trusty: {1}: {2}", role: preface},
	{head: "trusty: panic (caller ", rest: pattern.New(`\): (.*)`), class: Panic, title: "trusty: panic: {1}", role: preface},
}

// leads are what may stand before a headline: the subsystem's pr_fmt, the bracket
// of lockdep's boxes before 4.10.
var leads = []string{"NMI ", "watchdog: ", "rcu: ", "[ ", "traps: ", "workqueue: ", "smp: "}

// byFirst has the kinds by the first byte of their heads; those without a head, and
// those of that byte, stay in the order of kinds.
var byFirst = sync.OnceValue(func() *[256][]*kind {
	table := new([256][]*kind)
	for i := range kinds {
		k := &kinds[i]
		if k.head != "" {
			table[k.head[0]] = append(table[k.head[0]], k)
			continue
		}
		for c := byte('A'); c <= 'z'; c++ {
			table[c] = append(table[c], k)
		}
	}
	return table
})

// A match is a kind that was found in a message.
type match struct {
	kind   *kind
	rest   string   // what follows the kind's head
	groups []string // of the kind's rest
}

// matchKind looks for a headline at the beginning of a message.
func matchKind(text []byte, stamped bool) (match, bool) {
	for i := 0; i < len(leads); i++ {
		if lead := leads[i]; len(text) > len(lead) && text[0] == lead[0] && string(text[:len(lead)]) == lead {
			text, i = text[len(lead):], -1
		}
	}
	if len(text) == 0 {
		return match{}, false
	}
	for _, k := range byFirst()[text[0]] {
		if len(text) < len(k.head) || string(text[:len(k.head)]) != k.head {
			continue
		}
		if k.stamped && !stamped || k.head == "" && (len(text) > 80 || !mayBeTrap(text)) {
			continue
		}
		rest := string(text[len(k.head):])
		rest = strings.TrimSuffix(strings.TrimRight(rest, " "), " ]")
		if k.rest == nil {
			return match{kind: k, rest: rest}, true
		}
		if groups := k.rest.FindStringSubmatch(rest); groups != nil {
			return match{kind: k, rest: rest, groups: groups}, true
		}
	}
	return match{}, false
}

// mayBeTrap says whether text may be the line of die() in arch/x86/kernel/dumpstack.c,
// which begins with the trap's name and counts the oopses: "int3: 0000 [#1]".
func mayBeTrap(text []byte) bool {
	for i := 0; i+1 < len(text); i++ {
		if text[i] == '[' {
			return text[i+1] == '#'
		}
	}
	return false
}
