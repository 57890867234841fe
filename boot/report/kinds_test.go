// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// console gives each line of text the prefix that printk does, and lines of others
// before and after.
func console(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = slices.Concat([]string{"Linux version 6.12.1 (gcc 14.2.0)", "usb 1-1: new high-speed USB device number 2 using xhci_hcd"}, lines,
		[]string{"EXT4-fs (vda): mounted filesystem r/w with ordered data mode", "random: crng init done"})
	var b strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&b, "[%5d.%06d] %s\n", i/10, i%10*1000+17, line)
	}
	return b.String()
}

const taskLine = "CPU: 0 UID: 0 PID: 77 Comm: victim Not tainted 6.12.1 #1\nHardware name: QEMU Standard PC (i440FX + PIIX, 1996)\n"

// dump is what dump_stack prints in these functions.
func dump(functions ...string) string {
	return taskLine + "Call Trace:\n <TASK>\n" + frames(append([]string{"dump_stack_lvl"}, functions...)) + " </TASK>\n"
}

// die is what x86 prints of an exception in the first function.
func die(functions ...string) string {
	return taskLine + "RIP: 0010:" + functions[0] + "+0x1a/0x80\nCode: 48 89 e5 <0f> 0b 5d c3\n" +
		"RSP: 0018:ffffc90000173e58 EFLAGS: 00010246\nRAX: 0000000000000000 RBX: ffff888003a1c000 RCX: 0000000000000000\nCR2: 0000000000000008 CR3: 0000000003a4c000 CR4: 00000000000006f0\n" +
		"Call Trace:\n <TASK>\n" + frames(functions[1:]) + " </TASK>\nModules linked in:\n---[ end trace 0000000000000000 ]---\n"
}

func frames(functions []string) string {
	var b strings.Builder
	for i, f := range append(functions, "do_syscall_64", "entry_SYSCALL_64_after_hwframe") {
		fmt.Fprintf(&b, " %s+0x%x/0x200\n", f, 16*(i+1))
		if i == 1 {
			b.WriteString(" ? __pfx_stale+0x10/0x10\n")
		}
	}
	return b.String()
}

const cut = "------------[ cut here ]------------\n"

// One of each kind. The lines are as the kernel's printk formats make them.
var kindTests = []struct {
	log      string
	title    string
	class    Class
	function string
}{
	// Panics.
	{"Kernel panic - not syncing: sysrq triggered crash\n" + dump("panic", "sysrq_handle_crash", "__handle_sysrq") + "Kernel Offset: disabled\n---[ end Kernel panic - not syncing: sysrq triggered crash ]---", "kernel panic: sysrq triggered crash", Panic, "sysrq_handle_crash"},
	{"Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n" + dump("panic", "do_exit"), "kernel panic: Attempted to kill init!", Panic, "do_exit"},
	{"Kernel panic - not syncing: Attempted to kill the idle task!\n" + dump("panic", "do_exit"), "kernel panic: Attempted to kill the idle task!", Panic, "do_exit"},
	{"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n" + dump("panic", "mount_root_generic"), "kernel panic: VFS: Unable to mount root fs on unknown-block(NUM,NUM)", Panic, "mount_root_generic"},
	{"Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled\n" + dump("panic", "out_of_memory"), "kernel panic: Out of memory", Panic, "out_of_memory"},
	{"Kernel panic - not syncing: System is deadlocked on memory\n" + dump("panic", "out_of_memory"), "kernel panic: System is deadlocked on memory", Panic, "out_of_memory"},
	{"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: smash_it+0x55/0x60\n" + dump("panic", "__stack_chk_fail", "smash_it"), "kernel panic: stack is corrupted in smash_it", StackOverflow, "smash_it"},
	{"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in\n" + dump("panic", "smash_it"), "kernel panic: stack is corrupted in smash_it", StackOverflow, "smash_it"},
	{"Kernel panic - not syncing: corrupted stack end detected inside scheduler\n" + dump("panic", "__schedule", "schedule", "deep_call", "deep_ioctl", "__x64_sys_ioctl"), "kernel panic: corrupted stack end in deep_ioctl", StackOverflow, "deep_ioctl"},
	{"Kernel panic - not syncing: kernel stack overflow\n" + dump("panic", "handle_bad_stack", "recurse"), "kernel stack overflow in handle_bad_stack", StackOverflow, "handle_bad_stack"},
	{"Kernel panic - not syncing: Watchdog detected hard LOCKUP on cpu 1\n" + dump("panic", "nmi", "spin_here", "spin_ioctl", "__x64_sys_ioctl"), "BUG: hard lockup in spin_ioctl", Hang, "spin_ioctl"},
	{"Kernel panic - not syncing", "kernel panic", Panic, ""},

	// Faults of x86.
	{"BUG: kernel NULL pointer dereference, address: 0000000000000008\n#PF: supervisor read access in kernel mode\n#PF: error_code(0x0000) - not-present page\nPGD 0 P4D 0\nOops: Oops: 0000 [#1] PREEMPT SMP NOPTI\n" + die("touch_it", "caller"), "BUG: unable to handle kernel NULL pointer dereference in touch_it", Oops, "touch_it"},
	{"BUG: unable to handle kernel NULL pointer dereference at 0000000000000008\nIP: touch_it+0x10/0x20\nPGD 0\nOops: 0000 [#1] SMP\n" + die("touch_it", "caller"), "BUG: unable to handle kernel NULL pointer dereference in touch_it", Oops, "touch_it"},
	{"BUG: unable to handle page fault for address: ffffffffdeadbeef\n#PF: supervisor write access in kernel mode\nOops: Oops: 0002 [#1] SMP\n" + die("__memset", "clear_it"), "BUG: unable to handle kernel paging request in clear_it", Oops, "clear_it"},
	{"BUG: unable to handle kernel paging request at ffffffffdeadbeef\nOops: 0002 [#1] SMP\n" + die("touch_it"), "BUG: unable to handle kernel paging request in touch_it", Oops, "touch_it"},
	{"BUG: unable to handle page fault for address: ffff88800763db00\n#PF: supervisor instruction fetch in kernel mode\nOops: 0011 [#1] SMP\n" + taskLine + "RIP: 0010:0xffff88800763db00\nCode: 00 00 00\nCall Trace:\n <TASK>\n ? jump_it+0x44/0x52\n ? caller+0x33/0x3c\n ? do_syscall_64+0x73/0x85\n </TASK>\n---[ end trace 0000000000000000 ]---", "BUG: unable to handle kernel paging request in corrupted", Oops, "jump_it"},
	{"BUG: unable to handle kernel access to user memory at 00007fffdeadbeef\n" + die("touch_it"), "BUG: unable to handle kernel access to user memory in touch_it", Oops, "touch_it"},
	{"BUG: unable to handle kernel", "BUG: unable to handle kernel", Oops, ""},
	{"BUG: unable to handle", "BUG: unable to handle kernel", Oops, ""},
	{"Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP\n" + die("chase_it"), "general protection fault in chase_it", Oops, "chase_it"},
	{"general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP\n" + die("chase_it"), "general protection fault in chase_it", Oops, "chase_it"},
	{"general protection fault: 0000 [#1] SMP\n" + die("chase_it"), "general protection fault in chase_it", Oops, "chase_it"},
	{"general protection fault\n" + die("chase_it"), "general protection fault in chase_it", Oops, "chase_it"},
	{"Oops: divide error: 0000 [#1] SMP\n" + die("ratio"), "divide error in ratio", Oops, "ratio"},
	{"divide error: 0000 [#1] SMP\n" + die("ratio"), "divide error in ratio", Oops, "ratio"},
	{"invalid opcode: 0000 [#1] SMP\n" + die("jump_it"), "invalid opcode in jump_it", Oops, "jump_it"},
	{"stack segment: 0000 [#1] SMP\n" + die("push_it"), "stack segment fault in push_it", Oops, "push_it"},
	{"Oops: stack segment: 0000 [#1] SMP\n" + die("push_it"), "stack segment fault in push_it", Oops, "push_it"},
	{"traps: PANIC: double fault, error_code: 0x0\ndouble fault: 0000 [#1] PREEMPT SMP\n" + die("recurse"), "PANIC: double fault in recurse", Oops, "recurse"},
	{"PANIC: early exception 0x0e IP 10:ffffffff81000000 error 0 cr2 0x8\n" + die("early_it"), "PANIC: early exception in early_it", Oops, "early_it"},
	{"PANIC: invalid or fatal FRED event; event type 3 vector 13\n" + die("early_it"), "PANIC: fatal FRED event in early_it", Oops, "early_it"},
	{"BUG: invalid or fatal FRED event; event type 3 vector 13\n" + die("early_it"), "BUG: fatal FRED event in early_it", Oops, "early_it"},
	{"traps: Missing ENDBR: jumped_to+0x0/0x10\n" + cut + "kernel BUG at arch/x86/kernel/cet.c:102!\nOops: invalid opcode: 0000 [#1] SMP\n" + die("exc_control_protection", "call_it"), "Missing ENDBR in exc_control_protection", Oops, "exc_control_protection"},
	{"CFI failure at call_it+0x12/0x30 (target: jumped_to+0x0/0x10; expected type: 0x12345678)\n" + cut + "Oops: invalid opcode: 0000 [#1] SMP\n" + die("call_it"), "CFI failure in call_it", Oops, "call_it"},
	{"BUG: TASK stack guard page was hit at ffffc90000167fd8 (stack is ffffc90000168000..ffffc9000016c000)\nOops: stack guard page: 0000 [#1] SMP\n" + die("recurse", "recurse", "start_it", "start_ioctl", "__x64_sys_ioctl"), "BUG: stack guard page was hit in start_ioctl", StackOverflow, "start_ioctl"},
	{"BUG: stack guard page was hit at ffffc90000167fd8 (stack is ffffc90000168000..ffffc9000016c000)\nkernel stack overflow (double-fault): 0000 [#1] SMP\n" + die("recurse", "start_it"), "BUG: stack guard page was hit in start_it", StackOverflow, "start_it"},
	{"kernel stack overflow (page fault): 0000 [#1] SMP\n" + die("recurse", "start_it"), "kernel stack overflow in start_it", StackOverflow, "start_it"},
	{"stack guard page: 0000 [#1] SMP\n" + die("recurse", "start_it"), "BUG: stack guard page was hit in start_it", StackOverflow, "start_it"},
	{"Oops: stack guard page: 0000 [#1] SMP\n" + die("recurse", "start_it"), "BUG: stack guard page was hit in start_it", StackOverflow, "start_it"},
	{"Oops: 0010 [#1] SMP\n" + die("touch_it"), "Oops in touch_it", Oops, "touch_it"},

	// Other architectures.
	{"Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008\nMem abort info:\n  ESR = 0x0000000096000004\n  EC = 0x25: DABT (current EL), IL = 32 bits\nData abort info:\n  ISV = 0, ISS = 0x00000004\nInternal error: Oops: 0000000096000004 [#1] SMP\nModules linked in:\nCPU: 1 UID: 0 PID: 77 Comm: victim Not tainted 6.12.1 #1\npstate: 60400009 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)\npc : touch_it+0x14/0x2c\nlr : caller+0x40/0x80\nsp : ffff80008102bd60\nx29: ffff80008102bd60 x28: ffff0000c0b3a580 x27: 0000000000000000\nCall trace:\n touch_it+0x14/0x2c (P)\n caller+0x40/0x80 (L)\n invoke_syscall.constprop.0+0x50/0xe0\n el0_svc+0x30/0xe0\nCode: d65f03c0 b9400000\n---[ end trace 0000000000000000 ]---", "BUG: unable to handle kernel NULL pointer dereference in touch_it", Oops, "touch_it"},
	{"Unable to handle kernel paging request at virtual address ff60000000000000\nOops [#1]\nModules linked in:\nCPU: 0 UID: 0 PID: 77 Comm: victim Not tainted 6.12.1 #1\nHardware name: riscv-virtio,qemu (DT)\nepc : touch_it+0x1a/0x40\n ra : caller+0x22/0x60\nepc : ffffffff800b2c3a ra : ffffffff800b2d02 sp : ff20000000853d00\n gp : ffffffff816ff5e8 tp : ff60000002a1b600 t0 : ffffffff80a1b600\nstatus: 0000000200000120 badaddr: ff60000000000000 cause: 000000000000000d\n[<ffffffff800b2c3a>] touch_it+0x1a/0x40\n[<ffffffff800b2d02>] caller+0x22/0x60\n---[ end trace 0000000000000000 ]---", "BUG: unable to handle kernel paging request in touch_it", Oops, "touch_it"},
	{"Unable to handle kernel access to user memory outside uaccess routines at virtual address 0000007fdeadbeef\nInternal error: Oops: 0000000096000005 [#1] SMP\npc : touch_it+0x14/0x2c\nCall trace:\n touch_it+0x14/0x2c\n", "BUG: unable to handle kernel access to user memory in touch_it", Oops, "touch_it"},
	{"Unable to handle kernel execute from non-executable memory at virtual address ffff0000c0b3a580\nInternal error: Oops: 000000008600000f [#1] SMP\npc : 0xffff0000c0b3a580\nlr : jump_it+0x40/0x80\nCall trace:\n jump_it+0x40/0x80\n", "BUG: unable to handle kernel execute from non-executable memory in jump_it", Oops, "jump_it"},
	{"Unable to handle kernel", "BUG: unable to handle kernel", Oops, ""},
	{"BUG: Unable to handle kernel data access on read at 0xc00a000000000000\nFaulting instruction address: 0xc000000000123456\nOops: Kernel access of bad area, sig: 11 [#1]\nNIP [c000000000123456] touch_it+0x20/0x40\nLR [c000000000123460] caller+0x10/0x20\nCall Trace:\n[c000000003a3bb00] [c000000000123460] caller+0x10/0x20 (unreliable)\n", "BUG: unable to handle kernel paging request in touch_it", Oops, "touch_it"},
	{"BUG: Unable to handle kernel instruction fetch\nNIP [c000000000123456] touch_it+0x20/0x40\n", "BUG: unable to handle kernel paging request in touch_it", Oops, "touch_it"},
	{"BUG: Kernel NULL pointer dereference on read at 0x00000008\nNIP [c000000000123456] touch_it+0x20/0x40\n", "BUG: unable to handle kernel NULL pointer dereference in touch_it", Oops, "touch_it"},
	{"BUG: Unable to handle kernel unaligned access at 0x00000008\nNIP [c000000000123456] touch_it+0x20/0x40\n", "BUG: unable to handle kernel unaligned access in touch_it", Oops, "touch_it"},
	{"BUG: Unable to handle unknown paging fault at 0x00000008\nNIP [c000000000123456] touch_it+0x20/0x40\n", "BUG: unable to handle kernel paging request in touch_it", Oops, "touch_it"},
	{"CPU 0 Unable to handle kernel paging request at virtual address 0000000000000008, era == 9000000000123456, ra == 9000000000123460\nOops[#1]:\npc 9000000000123456 ra 9000000000123460 tp 9000000003a38000 sp 9000000003a3bb00\nCall Trace:\n[<9000000000123456>] touch_it+0x20/0x40\n", "BUG: unable to handle kernel paging request in touch_it", Oops, "touch_it"},
	{"illegal operation: 0001 ilc:1 [#1] SMP\nKrnl PSW : 0704c00180000000 0000000000123456 (touch_it+0x20/0x40)\nCall Trace:\n [<0000000000123456>] touch_it+0x20/0x40\n", "illegal operation in touch_it", Oops, "touch_it"},
	{"8<--- cut here ---\nUnhandled fault: page domain fault (0x01b) at 0x00000008\n[00000008] *pgd=80000000\nInternal error: : 1b [#1] SMP ARM\nPC is at touch_it+0xa8/0x18c\nLR is at caller+0x98/0x18c\npc : [<8054b7c0>]    lr : [<8054b7b0>]    psr: 40000013\nStack: (0x94771e60 to 0x94772000)\n1e60: 00000000 00000000 00000000 00000000 000000ad 00000000 00000000 81104e88\nCall trace:\n touch_it from caller+0xf8/0x23c\n r4:8054b7c0\n caller from ret_fast_syscall+0x0/0x1c\n", "Unhandled fault in touch_it", Oops, "touch_it"},
	{"Unhandled prefetch abort: breakpoint debug exception (0x222) at 0x00000000\nPC is at touch_it+0xa8/0x18c\n", "Unhandled prefetch abort in touch_it", Oops, "touch_it"},
	{"Internal error: synchronous external abort: 0000000096000210 [#1] SMP\npc : read_reg+0x14/0x2c\nCall trace:\n read_reg+0x14/0x2c\n probe_it+0x10/0x20\n", "Internal error in read_reg", Oops, "read_reg"},
	{"Internal error: UBSAN: array index out of bounds: 00000000f2005512 [#1] SMP\npc : index_it+0x14/0x2c\nCall trace:\n index_it+0x14/0x2c\n", "UBSAN: array index out of bounds in index_it", UBSAN, "index_it"},
	{"Internal error: Oops - KASAN: 00000000f2000900 [#1] SMP\npc : use_it+0x14/0x2c\nCall trace:\n use_it+0x14/0x2c\n", "KASAN: invalid-access in use_it", KASAN, "use_it"},
	{"Insufficient stack space to handle exception!\nESR: 0x0000000096000047 -- DABT (current EL)\nTask stack:     [0xffff800081028000..0xffff80008102c000]\nCPU: 1 PID: 77 Comm: victim\npc : recurse+0x14/0x2c\nKernel panic - not syncing: kernel stack overflow\nCPU: 1 PID: 77 Comm: victim\nCall trace:\n dump_backtrace+0x0/0x1a4\n recurse+0x20/0x30\n start_it+0x20/0x30\n el0_svc+0x20/0x30\n", "kernel stack overflow in start_it", StackOverflow, "start_it"},
	{"Kernel tried to execute exec-protected page (c0000000) - exploit attempt? (uid: 0)\nNIP [c000000000123456] touch_it+0x20/0x40\n", "kernel tried to execute bad memory in touch_it", Oops, "touch_it"},
	{"Bad mode in Error handler detected on CPU0, code 0xbf000000 -- SError\npc : touch_it+0x14/0x2c\n", "Bad mode in touch_it", Oops, "touch_it"},
	{"Oops[#1]:\nepc   : 80123456 touch_it+0x14/0x2c\nCall Trace:\n[<80123456>] touch_it+0x14/0x2c\n", "Oops in touch_it", Oops, "touch_it"},
	{"Oops [#1]\nepc : touch_it+0x14/0x2c\n", "Oops in touch_it", Oops, "touch_it"},
	{"Oops - illegal instruction [#1]\nepc : touch_it+0x14/0x2c\n", "Oops in touch_it", Oops, "touch_it"},

	// BUG.
	{cut + "kernel BUG at drivers/misc/lkdtm/bugs.c:105!\nOops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI\n" + die("lkdtm_BUG", "lkdtm_do_action"), "kernel BUG in lkdtm_BUG", Bug, "lkdtm_BUG"},
	{cut + "kernel BUG at drivers/misc/lkdtm/bugs.c:105!\nInternal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP\npc : lkdtm_BUG+0x4/0x8\nCall trace:\n lkdtm_BUG+0x4/0x8\n", "kernel BUG in lkdtm_BUG", Bug, "lkdtm_BUG"},
	{"Kernel BUG at bug_it+0x4/0x8 [verbose debug info unavailable]\n" + die("bug_it"), "kernel BUG in bug_it", Bug, "bug_it"},
	{cut + "Kernel BUG [#1]\nepc : bug_it+0x4/0x8\n", "kernel BUG in bug_it", Bug, "bug_it"},
	{"kernel BUG [#1]\nepc : bug_it+0x4/0x8\n", "kernel BUG in bug_it", Bug, "bug_it"},
	{"Kernel bug detected[#1]:\nepc   : 80123456 bug_it+0x14/0x2c\n", "kernel BUG in bug_it", Bug, "bug_it"},
	{"BUG: failure at fs/foo.c:12/bug_it()!\nKernel panic - not syncing: BUG!", "kernel BUG in bug_it", Bug, "bug_it"},
	{"rust_kernel: panicked at drivers/misc/demo.rs:60:5:\nattempt to add with overflow\n" + cut + "kernel BUG at rust/helpers/bug.c:7!\nOops: invalid opcode: 0000 [#1] SMP\n" + die("rust_helper_BUG", "add_it"), "attempt to add with overflow in add_it", Bug, "add_it"},

	// Sanitizers.
	{"==================================================================\nBUG: KASAN: slab-use-after-free in use_it+0x48/0x60\nRead of size 1 at addr ffff888005b0e07b by task insmod/85\n\n" + dump("print_report", "kasan_report", "__asan_load1", "use_it", "use_init") + "\nAllocated by task 85:\n kasan_save_stack+0x20/0x40\n make_it+0x10/0x20\n\nFreed by task 85:\n kasan_save_stack+0x20/0x40\n drop_it+0x10/0x20\n\nThe buggy address belongs to the object at ffff888005b0e000\n which belongs to the cache kmalloc-128 of size 128\nMemory state around the buggy address:\n ffff888005b0df00: fc fc fc fc\n>ffff888005b0e000: fa fb fb fb\n                   ^\n==================================================================", "KASAN: slab-use-after-free Read in use_it", KASAN, "use_it"},
	{"BUG: KASAN: double-free in drop_it+0x48/0x60\nFree of addr ffff888005b0e000 by task insmod/85\n" + dump("kasan_report_invalid_free", "kfree", "drop_it"), "KASAN: double-free in drop_it", KASAN, "drop_it"},
	{"BUG: KASAN: double-free or invalid-free in drop_it+0x48/0x60\n" + dump("kasan_report_invalid_free", "kfree", "drop_it"), "KASAN: invalid-free in drop_it", KASAN, "drop_it"},
	{"BUG: KASAN: wild-memory-access on address dead000000000100\nWrite of size 8 by task insmod/85\n" + dump("kasan_report", "wild_it"), "KASAN: wild-memory-access Write in wild_it", KASAN, "wild_it"},
	{"BUG: KASAN: out-of-memory ((((\n", "KASAN: out-of-memory ((((", KASAN, ""},
	{"BUG: KASan: out of bounds access in old_it+0x48/0x60 at addr ffff888005b0e07b\nWrite of size 1 by task insmod/85\n" + dump("kasan_report", "old_it"), "KASAN: out of bounds access Write in old_it", KASAN, "old_it"},
	{"BUG: KFENCE: use-after-free read in use_it+0x48/0x60\n\nUse-after-free read at 0x00000000abcdef01 (in kfence-#72):\n use_it+0x48/0x60\n use_init+0x10/0x20\n\nkfence-#72: 0x00000000abcdef01-0x00000000abcdef20, size=32, cache=kmalloc-32\n", "KFENCE: use-after-free read in use_it", KFENCE, "use_it"},
	{"BUG: KMSAN: uninit-value in read_it+0x48/0x60\n read_it+0x48/0x60\n read_init+0x10/0x20\n\nUninit was created at:\n make_it+0x10/0x20\n", "KMSAN: uninit-value in read_it", KMSAN, "read_it"},
	{"BUG: KCSAN: data-race in read_it / write_it\n\nwrite to 0xffff888005b0e07b of 8 bytes by task 85 on cpu 1:\n write_it+0x48/0x60\n\nread to 0xffff888005b0e07b of 8 bytes by task 86 on cpu 0:\n read_it+0x48/0x60\n", "KCSAN: data-race in read_it / write_it", KCSAN, "read_it"},
	{"BUG: KCSAN: data-race in read_it+0x48/0x60\n\nrace at unknown origin, with read to 0xffff888005b0e07b of 8 bytes by task 86 on cpu 0:\n read_it+0x48/0x60\n", "KCSAN: data-race in read_it", KCSAN, "read_it"},
	{"BUG: KCSAN: something new", "KCSAN: something new", KCSAN, ""},
	{cut + "UBSAN: shift-out-of-bounds in drivers/misc/demo.c:12:9\nshift exponent 40 is too large for 32-bit type 'int'\n" + dump("__ubsan_handle_shift_out_of_bounds", "shift_it") + "---[ end trace ]---", "UBSAN: shift-out-of-bounds in shift_it", UBSAN, "shift_it"},
	{"UBSAN: array index out of bounds at index_it+0x12/0x20\nOops: invalid opcode: 0000 [#1] SMP\n" + die("index_it"), "UBSAN: array index out of bounds in index_it", UBSAN, "index_it"},
	{"UBSAN: Undefined behaviour in drivers/misc/demo.c:12:9\nsigned integer overflow:\n" + dump("ubsan_epilogue", "handle_overflow", "add_it"), "UBSAN: undefined-behaviour in add_it", UBSAN, "add_it"},

	// Corruption.
	{"list_add corruption. next->prev should be prev (ffff888005b0e000), but was 0000000000000000. (next=ffff888005b0e100).\n" + cut + "kernel BUG at lib/list_debug.c:29!\nOops: invalid opcode: 0000 [#1] SMP\n" + die("__list_add_valid_or_report", "link_it"), "BUG: corrupted list in link_it", Corruption, "link_it"},
	{"list_add double add: new=ffff888005b0e000, prev=ffff888005b0e000, next=ffff888005b0e100.\n" + cut + "WARNING: CPU: 0 PID: 77 at lib/list_debug.c:35 __list_add_valid+0x60/0x70\n" + die("__list_add_valid", "link_it"), "BUG: corrupted list in link_it", Corruption, "link_it"},
	{cut + "list_del corruption, ffff888005b0e000->next is NULL\nkernel BUG at lib/list_debug.c:49!\n" + die("__list_del_entry_valid_or_report", "unlink_it"), "BUG: corrupted list in unlink_it", Corruption, "unlink_it"},
	{cut + "kernel BUG at lib/list_debug.c:49!\n" + die("__list_del_entry_valid_or_report", "unlink_it"), "BUG: corrupted list in unlink_it", Corruption, "unlink_it"},
	{"usercopy: Kernel memory exposure attempt detected from SLUB object 'kmalloc-64' (offset 0, size 80)!\n" + cut + "kernel BUG at mm/usercopy.c:102!\nOops: invalid opcode: 0000 [#1] SMP\n" + die("usercopy_abort", "__check_heap_object", "give_it"), "BUG: bad usercopy in give_it", Bug, "give_it"},
	{cut + "kernel BUG at mm/usercopy.c:102!\n" + die("usercopy_abort", "give_it"), "BUG: bad usercopy in give_it", Bug, "give_it"},
	{"BUG: Bad page state in process victim  pfn:05b0e\npage: refcount:0 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0x5b0e\npage dumped because: nonzero _refcount\n" + dump("bad_page", "free_page_is_bad_report", "put_it"), "BUG: Bad page state in put_it", Corruption, "put_it"},
	{"BUG: Bad page map in process victim  pte:8000000005b0e067 pmd:03a4c067\n" + dump("print_bad_pte", "unmap_it"), "BUG: Bad page map", Corruption, "print_bad_pte"},
	{"BUG: Bad page map (12 messages suppressed)", "BUG: Bad page map", Corruption, ""},
	{"BUG: Bad page cache in process victim  pfn:05b0e\n" + dump("drop_it"), "BUG: Bad page cache in drop_it", Corruption, "drop_it"},
	{"BUG: Bad rss-counter state mm:00000000abcdef01 type:MM_ANONPAGES val:1", "BUG: Bad rss-counter state", Corruption, ""},
	{"BUG: non-zero pgtables_bytes on freeing mm: 4096", "BUG: non-zero pgtables_bytes on freeing mm: NUM", Corruption, ""},
	{"BUG: non-zero nr_ptes on freeing mm: 1", "BUG: non-zero nr_ptes on freeing mm: NUM", Corruption, ""},
	{"pagealloc: memory corruption\n00000000abcdef01: 41 41 41 41  AAAA\n" + dump("check_poison_mem", "take_it"), "pagealloc: memory corruption in take_it", Corruption, "take_it"},
	{"BUG: mempool element poison mismatch\n" + dump("poison_error", "take_it"), "BUG: mempool element poison mismatch in poison_error", Corruption, "poison_error"},
	{"BUG: Dentry 00000000abcdef01{i=12,n=file}  still in use (1) [unmount of ext4 vda]\n" + cut + "WARNING: CPU: 0 PID: 77 at fs/dcache.c:1627 umount_check+0x50/0x60\n" + die("umount_check"), "BUG: Dentry still in use in unmount", Corruption, "umount_check"},
	{"VFS: Close: file count is 0 (f_op=ext4_file_operations)", "VFS: Close: file count is zero (use-after-free)", Corruption, ""},
	{"VFS: Busy inodes after unmount of vda. Self-destruct in 5 seconds.  Have a nice day...", "VFS: Busy inodes after unmount (use-after-free)", Corruption, ""},
	{"=============================================================================\nBUG kmalloc-64 (Tainted: G    B             ): Poison overwritten\n-----------------------------------------------------------------------------\n\n0xffff888005b0e000-0xffff888005b0e003 @offset=0. First byte 0x41 instead of 0x6b\nAllocated in make_it+0x20/0x40 age=12 cpu=0 pid=77\n make_it+0x20/0x40\nSlab 0xffffea000016c380 objects=16 used=1 fp=0x0000000000000000 flags=0x100000000000200\nObject   ffff888005b0e000: 41 41 41 41 6b 6b 6b 6b  AAAAkkkk\n" + dump("check_bytes_and_report", "check_object", "make_it"), "BUG: slab Poison overwritten in make_it", Corruption, "make_it"},
	{"INFO: Freed in drop_it+0x20/0x40 age=12 cpu=0 pid=77\n\tdrop_it+0x20/0x40\n", "INFO: Freed in drop_it age=NUM cpu=NUM pid=NUM", Corruption, "drop_it"},
	{"slab error in verify_redzone_free(): cache `kmalloc-64': memory outside object was overwritten\n" + dump("drop_it"), "slab error in verify_redzone_free", Corruption, "drop_it"},

	// Locks.
	{"BUG: spinlock bad magic on CPU#0, insmod/85\n lock: 0xffff888005b0e000, .magic: 00000000, .owner: <none>/-1, .owner_cpu: 0\n" + dump("spin_dump", "do_raw_spin_lock", "_raw_spin_lock", "lock_it"), "BUG: spinlock bad magic in lock_it", Lockdep, "lock_it"},
	{"BUG: rwlock recursion on CPU#0, insmod/85, 00000000abcdef01\n" + dump("do_raw_write_lock", "lock_it"), "BUG: rwlock recursion in lock_it", Lockdep, "lock_it"},
	{"BUG: using smp_processor_id() in preemptible [00000000] code: insmod/85\ncaller is cpu_it+0x10/0x20\n" + dump("check_preemption_disabled", "cpu_it"), "BUG: using smp_processor_id() in preemptible code in cpu_it", Lockdep, "cpu_it"},
	{"\n======================================================\nWARNING: possible circular locking dependency detected\n6.12.1 #1 Not tainted\n------------------------------------------------------\ninsmod/85 is trying to acquire lock:\nffffffffc0002000 (lock_a){+.+.}-{3:3}, at: second_it+0x20/0x40\n\nbut task is already holding lock:\nffffffffc0002080 (lock_b){+.+.}-{3:3}, at: first_it+0x20/0x40\n\nwhich lock already depends on the new lock.\n\nthe existing dependency chain (in reverse order) is:\n\n-> #1 (lock_b){+.+.}-{3:3}:\n       __mutex_lock+0x20/0x40\n       other_it+0x20/0x40\n\nother info that might help us debug this:\n\n Possible unsafe locking scenario:\n\n *** DEADLOCK ***\n\nstack backtrace:\n" + dump("print_circular_bug", "check_noncircular", "__lock_acquire", "lock_acquire", "__mutex_lock", "second_it"), "possible deadlock in second_it", Lockdep, "second_it"},
	{"[ INFO: possible circular locking dependency detected ]\n" + dump("lock_acquire", "second_it"), "possible deadlock in second_it", Lockdep, "second_it"},
	{"WARNING: possible recursive locking detected\ninsmod/85 is trying to acquire lock:\nffff888005b0e000 (&l->lock){+.+.}-{3:3}, at: again_it+0x20/0x40\n" + dump("lock_acquire", "again_it"), "possible deadlock in again_it", Lockdep, "again_it"},
	{"[ INFO: possible recursive locking detected ]\n" + dump("lock_acquire", "again_it"), "possible deadlock in again_it", Lockdep, "again_it"},
	{"WARNING: possible irq lock inversion dependency detected\n" + dump("print_irq_inversion_bug.part.0", "lock_acquire", "irq_it"), "possible deadlock in irq_it", Lockdep, "irq_it"},
	{"[ INFO: possible irq lock inversion dependency detected ]\n" + dump("lock_acquire", "irq_it"), "possible deadlock in irq_it", Lockdep, "irq_it"},
	{"WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected\n... which became HARDIRQ-irq-safe at:\n  lock_acquire+0xd0/0x2f0\n  in_irq+0x20/0x40\n\n" + dump("lock_acquire", "irq_it"), "possible deadlock in in_irq", Lockdep, "in_irq"},
	{"[ INFO: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected ]\n" + dump("lock_acquire", "irq_it"), "possible deadlock in irq_it", Lockdep, "irq_it"},
	{"WARNING: inconsistent lock state\ninconsistent {SOFTIRQ-ON-W} -> {IN-SOFTIRQ-W} usage.\n{SOFTIRQ-ON-W} state was registered at:\n  lock_acquire+0xd0/0x2f0\n  before_it+0x20/0x40\nstack backtrace:\n" + dump("print_usage_bug", "mark_lock", "lock_acquire", "_raw_spin_lock", "state_it"), "inconsistent lock state in state_it", Lockdep, "state_it"},
	{"[ INFO: inconsistent lock state ]\n" + dump("lock_acquire", "state_it"), "inconsistent lock state in state_it", Lockdep, "state_it"},
	{"WARNING: suspicious RCU usage\ndrivers/misc/demo.c:12 suspicious rcu_dereference_check() usage!\nstack backtrace:\n" + dump("lockdep_rcu_suspicious", "rcu_it"), "WARNING: suspicious RCU usage in rcu_it", Lockdep, "rcu_it"},
	{"[ INFO: suspicious RCU usage. ]\n" + dump("lockdep_rcu_suspicious", "rcu_it"), "INFO: suspicious RCU usage in rcu_it", Lockdep, "rcu_it"},
	{"WARNING: bad unlock balance detected!\ninsmod/85 is trying to release lock (lock_a) at:\n[<ffffffffc0000123>] free_it+0x20/0x40\nbut there are no more locks to release!\n" + dump("lock_release", "free_it"), "WARNING: bad unlock balance in free_it", Lockdep, "free_it"},
	{"[ BUG: bad unlock balance detected! ]\n" + dump("lock_release", "free_it"), "BUG: bad unlock balance in free_it", Lockdep, "free_it"},
	{"WARNING: bad contention detected!\n" + dump("lock_contended", "wait_it"), "WARNING: bad contention in wait_it", Lockdep, "wait_it"},
	{"[ BUG: bad contention detected! ]\n" + dump("lock_contended", "wait_it"), "BUG: bad contention in wait_it", Lockdep, "wait_it"},
	{"WARNING: held lock freed!\n1 lock held by insmod/85:\n #0: ffff888005b0e000 (&l->lock){+.+.}-{3:3}, at: hold_it+0x20/0x40\n" + dump("debug_check_no_locks_freed", "kfree", "free_it"), "WARNING: held lock freed in hold_it", Lockdep, "hold_it"},
	{"[ BUG: held lock freed! ]\n" + dump("kfree", "free_it"), "BUG: held lock freed in free_it", Lockdep, "free_it"},
	{"WARNING: lock held when returning to user space!\n1 lock held by insmod/85:\n #0: ffff888005b0e000 (&l->lock){+.+.}-{3:3}, at: hold_it+0x20/0x40\n", "WARNING: lock held when returning to user space in hold_it", Lockdep, "hold_it"},
	{"[ BUG: lock held when returning to user space! ]\n #0: ffff888005b0e000 (&l->lock){+.+.}-{3:3}, at: hold_it+0x20/0x40\n", "BUG: lock held when returning to user space in hold_it", Lockdep, "hold_it"},
	{"WARNING: Nested lock was not taken\ninsmod/85 is trying to lock:\nffff888005b0e000 (&l->lock){+.+.}-{3:3}, at: nest_it+0x20/0x40\n", "WARNING: nested lock was not taken in nest_it", Lockdep, "nest_it"},
	{"[ BUG: Nested lock was not taken ]\n" + dump("lock_acquire", "nest_it"), "BUG: nested lock was not taken in nest_it", Lockdep, "nest_it"},
	{"WARNING: chain_key collision\n" + dump("lock_acquire", "key_it"), "WARNING: chain_key collision in key_it", Lockdep, "key_it"},
	{"WARNING: insmod/85 still has locks held!\n1 lock held by insmod/85:\n #0: ffff888005b0e000 (&l->lock){+.+.}-{3:3}, at: hold_it+0x20/0x40\n", "WARNING: still has locks held in hold_it", Lockdep, "hold_it"},
	{"[ BUG: insmod/85 still has locks held! ]\n #0: ffff888005b0e000 (&l->lock){+.+.}-{3:3}, at: hold_it+0x20/0x40\n", "BUG: still has locks held in hold_it", Lockdep, "hold_it"},
	{"[ BUG: Invalid wait context ]\n6.12.1 #1 Not tainted\n-----------------------------\ninsmod/85 is trying to lock:\n" + dump("__lock_acquire", "lock_acquire", "__mutex_lock", "wait_it"), "WARNING: locking bug in wait_it", Lockdep, "wait_it"},
	{"INFO: trying to register non-static key.\nThe code is fine but needs lockdep annotation, or maybe\nyou didn't initialize this object before use?\nturning off the locking correctness validator.\n" + dump("register_lock_class", "__lock_acquire", "lock_acquire", "key_it"), "INFO: trying to register non-static key in key_it", Lockdep, "key_it"},
	{"BUG: key ffff888005b0e000 has not been registered!\n" + dump("lockdep_init_map_type", "key_it"), "BUG: lock key has not been registered in key_it", Lockdep, "key_it"},
	{"BUG: looking up invalid subclass: 9\n" + dump("look_up_lock_class", "key_it"), "BUG: looking up invalid subclass in key_it", Lockdep, "key_it"},
	{"BUG: MAX_LOCKDEP_ENTRIES too low!\nturning off the locking correctness validator.", "BUG: MAX_LOCKDEP_ENTRIES too low!", Limit, ""},
	{"BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[12]\n     preempt=0x00000001 lock=0->0 RCU=0->0 workfn=leak_work\n" + dump("process_one_work", "worker_thread"), "BUG: workqueue leaked atomic, lock or RCU in leak_work", Lockdep, "leak_work"},
	{"[ BUG: lock held at task exit time! ]\n #0: ffff888005b0e000 (&l->lock){+.+.}-{3:3}, at: hold_it+0x20/0x40\n", "BUG: lock held at task exit time in hold_it", Lockdep, "hold_it"},

	// Atomic context.
	{"BUG: sleeping function called from invalid context at kernel/locking/mutex.c:283\nin_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 85, name: insmod\npreempt_count: 1, expected: 0\n" + dump("__might_resched", "__mutex_lock", "sleep_it"), "BUG: sleeping function called from invalid context in sleep_it", AtomicSleep, "sleep_it"},
	{"BUG: scheduling while atomic: insmod/85/0x00000002\n" + dump("__schedule_bug", "__schedule", "schedule", "schedule_timeout", "sleep_it"), "BUG: scheduling while atomic in sleep_it", AtomicSleep, "sleep_it"},
	{"BUG: scheduling in a non-blocking section: insmod/85/1\n" + dump("__schedule_bug", "sleep_it"), "BUG: scheduling in a non-blocking section in sleep_it", AtomicSleep, "sleep_it"},
	{"BUG: assuming non migratable context at drivers/misc/demo.c:12\n" + dump("__cant_migrate", "move_it"), "BUG: assuming non migratable context in move_it", AtomicSleep, "move_it"},

	// Hangs.
	{"watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [insmod:85]\nModules linked in:\n" + die("spin_here", "spin_ioctl", "__x64_sys_ioctl"), "BUG: soft lockup in spin_ioctl", Hang, "spin_ioctl"},
	{"watchdog: CPU5: Watchdog detected hard LOCKUP on cpu 5\n" + die("spin_here", "spin_ioctl", "__x64_sys_ioctl"), "BUG: hard lockup in spin_ioctl", Hang, "spin_ioctl"},
	{"NMI watchdog: Watchdog detected hard LOCKUP on cpu 1\n" + die("spin_here", "spin_ioctl", "__x64_sys_ioctl"), "BUG: hard lockup in spin_ioctl", Hang, "spin_ioctl"},
	{"INFO: task insmod:85 blocked for more than 122 seconds.\n      Not tainted 6.12.1 #1\n\"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.\ntask:insmod          state:D stack:13600 pid:85    tgid:85    ppid:77     flags:0x00004002\nCall Trace:\n <TASK>\n __schedule+0x3c0/0xb80\n schedule+0x5e/0xd0\n schedule_preempt_disabled+0x15/0x30\n __mutex_lock.constprop.0+0x3a0/0x6e0\n stuck_it+0x10/0x20\n do_one_initcall+0x10/0x20\n </TASK>\n\nShowing all locks held in the system:\n1 lock held by khungtaskd/32:\n #0: ffffffff82a5c7e0 (rcu_read_lock){....}-{1:3}, at: debug_show_all_locks+0x36/0x1c0\n", "INFO: task hung in stuck_it", Hang, "stuck_it"},
	{"INFO: task \xff\xfe\n\xfe:85 blocked for more than 122 seconds.\nCall Trace:\n __schedule+0x3c0/0xb80\n stuck_it+0x10/0x20\n", "INFO: task hung in stuck_it", Hang, "stuck_it"},
	{"INFO: task insmod:85 can't die for more than 143 seconds.\nCall Trace:\n __schedule+0x3c0/0xb80\n stuck_it+0x10/0x20\n", "INFO: task can't die in stuck_it", Hang, "stuck_it"},
	{"BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!\nShowing busy workqueues and worker pools:\nworkqueue events: flags=0x0\n  pwq 2: cpus=0 node=0 flags=0x0 nice=0 active=1/256 refcnt=2\n    in-flight: 12:spin_work\n", "BUG: workqueue lockup", Hang, ""},
	{"smp: csd: Detected non-responsive CSD lock (#1) on CPU#0, waiting 5000000000 ns for CPU#01 do_nothing+0x0/0x10(0x0).\n" + dump("csd_lock_wait_toolong", "smp_call_function_many_cond", "__x64_sys_membarrier"), "csd: non-responsive CSD lock in smp_call_function", Hang, "smp_call_function"},
	{"rcu: INFO: rcu_preempt self-detected stall on CPU\nrcu: \t0-....: (20999 ticks this GP) idle=1234/1/0x4000000000000000 softirq=1/1 fqs=5250\nrcu: \t(t=21000 jiffies g=-1171 q=5 ncpus=2)\n" + die("spin_here", "spin_ioctl", "__x64_sys_ioctl"), "INFO: rcu detected stall in spin_ioctl", Hang, "spin_ioctl"},
	{"INFO: rcu_tasks detected stalls on tasks:\n00000000abcdef01: .. nvcsw: 1/1 holdout: 1 idle_cpu: -1/0\ntask:insmod          state:R  running task     stack:13600 pid:85\nCall Trace:\n spin_here+0x10/0x20\n spin_ioctl+0x10/0x20\n __x64_sys_ioctl+0x10/0x20\n", "INFO: rcu detected stall in spin_ioctl", Hang, "spin_ioctl"},
	{"INFO: sched detected expedited stalls on CPUs/tasks: { 0-... } 21 jiffies s: 1 root: 0x1/.\n" + die("spin_here", "spin_ioctl", "__x64_sys_ioctl"), "INFO: rcu detected stall in spin_ioctl", Hang, "spin_ioctl"},
	{"unregister_netdevice: waiting for lo to become free. Usage count = 2", "unregister_netdevice: waiting for DEV to become free", Hang, ""},

	// Leaks.
	{"BUG: memory leak\nunreferenced object 0xffff888005b0e000 (size 64):\n  comm \"insmod\", pid 85, jiffies 4294898000\n  hex dump (first 32 bytes):\n    6b 6b 6b 6b 6b 6b 6b 6b  kkkkkkkk\n  backtrace (crc 1234abcd):\n    [<ffffffff8123abcd>] __kmalloc_cache_noprof+0x20/0x40\n    [<ffffffffc0000123>] leak_it+0x20/0x40\n", "memory leak in leak_it", Leak, "leak_it"},
	{"unreferenced object 0xffff888005b0e000 (size 64):\n  backtrace (crc 1234abcd):\n    __kmalloc_cache_noprof+0x20/0x40\n    leak_it+0x20/0x40\n", "memory leak in leak_it", Leak, "leak_it"},
	{"kmemleak: unreferenced object 0xffff888005b0e000 (size 64):\nkmemleak:   backtrace (crc 1234abcd):\n", "memory leak in corrupted", Leak, ""},
	{"kmemleak: 3 new suspicious memory leaks (see /sys/kernel/debug/kmemleak)", "memory leak", Leak, ""},

	// Warnings.
	{cut + "WARNING: CPU: 0 PID: 77 at drivers/misc/lkdtm/bugs.c:112 lkdtm_WARNING+0x11/0x20\nModules linked in:\n" + die("lkdtm_WARNING", "lkdtm_do_action"), "WARNING in lkdtm_WARNING", Warning, "lkdtm_WARNING"},
	{cut + "WARNING: at drivers/misc/demo.c:12 warn_it+0x11/0x20()\nPid: 77, comm: victim Not tainted 3.2.0 #1\nCall Trace:\n [<ffffffff81049e0f>] ? warn_slowpath_common+0x7f/0xc0\n [<ffffffff81049e6a>] warn_slowpath_null+0x1a/0x20\n [<ffffffffa0000011>] warn_it+0x11/0x20 [demo]\n---[ end trace 4eaa2a86a8e2da22 ]---", "WARNING in warn_it", Warning, "warn_it"},
	{cut + "WARNING: drivers/misc/demo.c:12 at warn_it+0x11/0x20, CPU#0: victim/77\n" + die("warn_it"), "WARNING in warn_it", Warning, "warn_it"},
	{cut + "refcount_t: underflow; use-after-free.\nWARNING: CPU: 0 PID: 77 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110\n" + die("refcount_warn_saturate", "put_it"), "WARNING: refcount bug in put_it", Refcount, "put_it"},
	{cut + "ODEBUG: free active (active state 0) object: 00000000abcdef01 object type: timer_list hint: tick_it+0x0/0x10\nWARNING: CPU: 0 PID: 77 at lib/debugobjects.c:514 debug_print_object+0xb0/0xf0\n" + die("debug_print_object", "debug_check_no_obj_freed", "kfree", "drop_it"), "WARNING: ODEBUG bug in drop_it", Warning, "drop_it"},
	{cut + "DEBUG_LOCKS_WARN_ON(1)\nWARNING: CPU: 0 PID: 77 at kernel/locking/lockdep.c:232 __lock_acquire+0x5b0/0x1ba0\n" + die("__lock_acquire", "lock_acquire", "_raw_spin_lock", "lock_it"), "WARNING: locking bug in lock_it", Lockdep, "lock_it"},
	{cut + "WARNING: CPU: 0 PID: 77 at drivers/usb/core/urb.c:504 usb_submit_urb+0x11/0x20\n" + die("usb_submit_urb", "usb_start_wait_urb", "usb_bulk_msg", "send_it"), "WARNING in send_it/usb_submit_urb", Warning, "send_it"},
	{"WARNING: kernel stack regs at 00000000abcdef01 in victim:77 has bad 'bp' value 00000000abcdef01", "WARNING: kernel stack regs has bad value", Warning, ""},
	{"WARNING: kernel stack frame pointer at 00000000abcdef01 in victim:77 has bad value 00000000abcdef01", "WARNING: kernel stack frame pointer has bad value", Warning, ""},
	{"WARNING: stack recursion on stack type 4", "WARNING: stack recursion", Warning, ""},

	// Android's secure monitor.
	{"BUG: arch topology borken", "BUG: arch topology borken", Bug, ""},
	{"trusty: panic (caller 0xffffffffe000fbb8): ASSERT FAILED at (kernel/lib/ipc.c:472): !list_in_list(&chan->node)", "trusty: ASSERT FAILED: !list_in_list(&chan->node)", Panic, ""},
	{"trusty: 0xffffffffe000fbb8): ASSERT FAILED at (kernel/lib/ipc.c:472): !list_in_list(&chan->node)", "trusty: ASSERT FAILED: !list_in_list(&chan->node)", Panic, ""},
	{"trusty: panic (caller 0xffffffffe0002314): failed(-5) to start app 6", "trusty: panic: failed(-NUM) to start app NUM", Panic, ""},
}

func TestKinds(t *testing.T) {
	for _, c := range kindTests {
		name, _, _ := strings.Cut(strings.TrimPrefix(c.log, cut), "\n")
		log := console(c.log)
		reports, err := Parse(strings.NewReader(log))
		if err != nil || len(reports) != 1 {
			t.Errorf("%s: %d reports, %v", name, len(reports), err)
			for _, r := range reports {
				t.Logf("  %s", r.Title)
			}
			continue
		}
		r := reports[0]
		if r.Title != c.title || r.Class != c.class || r.Function != c.function {
			t.Errorf("%s: got %q, %v, %q; want %q, %v, %q", name, r.Title, r.Class, r.Function, c.title, c.class, c.function)
		}
		if want := strings.Contains(c.log, "Kernel panic"); r.Panicked != want {
			t.Errorf("%s: panicked %v", name, r.Panicked)
		}
		first, last, lines := r.FirstLine, r.LastLine, int64(strings.Count(strings.TrimRight(c.log, "\n"), "\n")+1)
		leading := int64(len(c.log) - len(strings.TrimLeft(c.log, "\n")))
		if first != 3+leading || last != 2+lines {
			t.Errorf("%s: from line %d to %d, want %d to %d", name, first, last, 3+leading, 2+lines)
		}
		if got := int64(strings.Count(log[:r.Offset], "\n")); got != first-1 {
			t.Errorf("%s: offset %d is in line %d", name, r.Offset, got+1)
		}
		if got := int64(strings.Count(log[:r.End], "\n")); got != last {
			t.Errorf("%s: end %d is in line %d", name, r.End, got)
		}
	}
}

// Each row of the table of kinds has a test that it is found by.
func TestEachKind(t *testing.T) {
	tested := make(map[*kind]bool)
	for _, c := range kindTests {
		for line := range strings.Lines(c.log) {
			if m, ok := matchKind([]byte(strings.TrimSpace(line)), true); ok {
				tested[m.kind] = true
			}
		}
	}
	for i := range kinds {
		if !tested[&kinds[i]] {
			t.Errorf("no test has the headline %q with %v", kinds[i].head, kinds[i].title)
		}
	}
}
