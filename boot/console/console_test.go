// SPDX-License-Identifier: GPL-3.0-only

package console

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const deadline = 30 * time.Second

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(deadline):
		t.Fatalf("%s: not within %s", what, deadline)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// read reads all of r, and returns its console, log and lines.
func read(t *testing.T, r io.Reader, markers map[string]func(string)) (*Console, string, []string) {
	t.Helper()
	var log bytes.Buffer
	var lines []string
	c := Read(r, &log, Handlers{Line: func(l string) { lines = append(lines, l) }, Markers: markers})
	await(t, "the end", c.Done())
	return c, log.String(), lines
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"lines", "one\ntwo\r\nthree\r\r\n", []string{"one", "two", "three"}},
		{"no end", "one\ntwo", []string{"one", "two"}},
		{"empty lines", "\n\r\none\n \n\t\n", []string{"one"}},
		{"escapes", "\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\n\x1b[1;31mred\x1b[m end\n", []string{"SeaBIOS", "red end"}},
		{"title", "\x1b]0;root@guest: ~\x07# \x1b[?2004hls\n", []string{"# ls"}},
		{"tabs and blanks", "a\tb  \nc\x07\x00d\x7f\n", []string{"a b", "cd"}},
		{"written over", "10%\r50%\r100%\nx\r\n", []string{"100%", "x"}},
		{"UTF-8", "gr\u00fc\u00dfe \u20ac\n", []string{"gr\u00fc\u00dfe \u20ac"}},
		{"not UTF-8", "a\xffb\xe2\x82\n", []string{"a\ufffdb\ufffd"}},
		{"C1", "a\u009b31mb\n", []string{"a31mb"}},
	} {
		for how, r := range map[string]io.Reader{
			"at once": strings.NewReader(c.text), "by bytes": iotest.OneByteReader(strings.NewReader(c.text)),
			"end with data": iotest.DataErrReader(strings.NewReader(c.text)), "halves": iotest.HalfReader(strings.NewReader(c.text)),
		} {
			con, log, lines := read(t, r, nil)
			if diff := cmp.Diff(c.want, lines); diff != "" {
				t.Errorf("%s, %s: %s", c.name, how, diff)
			}
			if diff := cmp.Diff(c.want, con.Tail()); diff != "" {
				t.Errorf("%s, %s: tail %s", c.name, how, diff)
			}
			if log != c.text {
				t.Errorf("%s, %s: the log has %q", c.name, how, log)
			}
		}
	}
}

func TestLongLine(t *testing.T) {
	text := strings.Repeat("x", 10<<20) + "\nnext\n"
	_, log, lines := read(t, strings.NewReader(text), nil)
	if len(lines) != 2 || len(lines[0]) != maxLine || lines[1] != "next" {
		t.Errorf("got %d lines, the first of %d bytes", len(lines), len(lines[0]))
	}
	if len(log) != len(text) {
		t.Errorf("the log has %d bytes", len(log))
	}
}

func TestTail(t *testing.T) {
	var text strings.Builder
	var want []string
	for i := range 1000 {
		text.WriteString("line " + strconv.Itoa(i) + "\n")
		want = append(want, "line "+strconv.Itoa(i))
	}
	c, _, lines := read(t, strings.NewReader(text.String()), nil)
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[1000-tailLines:], c.Tail()); diff != "" {
		t.Error(diff)
	}
}

// What has begun is in the tail while the guest hangs in the middle of a line, and
// Tail answers while somebody's function blocks.
func TestTailMeanwhile(t *testing.T) {
	r, w := io.Pipe()
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	began := time.Now()
	c := Read(r, io.Discard, Handlers{Line: func(string) {
		once.Do(func() {
			close(blocked)
			<-release
		})
	}})
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		_, _ = io.WriteString(w, "[    0.100000] one\n")
		_, _ = io.WriteString(w, "[    0.200000] begun")
	}()
	await(t, "the first line", blocked)
	if diff := cmp.Diff([]string{"[    0.100000] one"}, c.Tail()); diff != "" {
		t.Error(diff)
	}
	if h := c.Heard(); h.Before(began) {
		t.Errorf("heard at %v", h)
	}
	close(release)
	await(t, "writing", wrote)
	// A pipe's write returns when the other side has read, not when it is done.
	if _, err := w.Write(nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"[    0.100000] one", "[    0.200000] begun"}, c.Tail()); diff != "" {
		t.Error(diff)
	}
	w.Close()
	await(t, "the end", c.Done())
}

func TestMarkers(t *testing.T) {
	var got []string
	markers := map[string]func(string){
		"run-kernel: fatal: ": func(s string) { got = append(got, "fatal "+s) },
		"login:":              func(s string) { got = append(got, "login"+s) },
	}
	_, _, _ = read(t, strings.NewReader("[    1.000000] run-kernel: fatal: no \x1b[1mVIRTIO_FS\r\nguest login: \nrun-kernel: fatal\n"), markers)
	if diff := cmp.Diff([]string{"fatal no VIRTIO_FS", "login"}, got); diff != "" {
		t.Error(diff)
	}
}

type brokenLog struct{ err error }

func (l brokenLog) Write([]byte) (int, error) { return 0, l.err }

// A full disk doesn't stop the guest.
func TestLogError(t *testing.T) {
	full := errors.New("no space left on device")
	var lines []string
	c := Read(iotest.OneByteReader(strings.NewReader("one\ntwo\n")), brokenLog{full}, Handlers{Line: func(l string) { lines = append(lines, l) }})
	await(t, "the end", c.Done())
	if !errors.Is(c.LogErr(), full) || !slices.Equal(lines, []string{"one", "two"}) {
		t.Errorf("got %v, lines %q", c.LogErr(), lines)
	}
	c, _, _ = read(t, strings.NewReader("one\n"), nil)
	if c.LogErr() != nil {
		t.Errorf("got %v", c.LogErr())
	}
}

// A processor that stands still is told of, and is no crash.
func TestStall(t *testing.T) {
	for text, want := range map[string]string{
		"[   21.1] rcu: INFO: nothing\n[   21.2] rcu: \t1-...!: (0 ticks this GP)\n":                                                             "",
		"# echo 'rcu: INFO: rcu_sched detected stalls on CPUs/tasks:'\n":                                                                         "",
		"[    1.000000] x\nrcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n":                                                                "", // a program's
		"[   21.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n[   22.000000] rcu: INFO: rcu_preempt self-detected stall on CPU\n": "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
		"[   21.000000] rcu: INFO: rcu_preempt self-detected stall on CPU\n":                                                                     "rcu: INFO: rcu_preempt self-detected stall on CPU",
		"[   21.000000] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... } 21 jiffies s: 33 root: 0x2/.\n":                "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... } 21 jiffies s: 33 root: 0x2/.",
	} {
		c, _, _ := read(t, strings.NewReader(text), nil)
		if c.Stall() != want || closed(c.Stalled()) != (want != "") || c.Crash() != nil {
			t.Errorf("%q: got %q, crash %v", text, c.Stall(), c.Crash())
		}
	}
}

func TestCrashes(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       *Crash
	}{
		{"a good boot", `[    0.000000] Linux version 6.1.0 (gcc 12.2.0)
[    0.000000] Command line: panic=-1 oops=panic
[    0.400000] rcu: INFO: something else
[    1.100000] WARNING: CPU: 0 PID: 1 at init/main.c:1 foo+0x1/0x2
[    1.200000] BUG: this is nothing that the kernel says when it crashes
[    1.300000] Call Trace:
[    1.400000] usb 1-1: Oops it did it again
`, nil},
		{"panic", `[    1.520104] sysrq: Trigger a crash
[    1.520411] Kernel panic - not syncing: sysrq triggered crash
[    1.520743] CPU: 1 PID: 76 Comm: sh Not tainted 6.1.0 #1
[    1.526501] Kernel Offset: disabled
[    1.526745] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---
`, &Crash{Message: "Kernel panic - not syncing: sysrq triggered crash", Panic: true}},
		{
			"no root", "[    2.100000] VFS: Unable to mount root fs on unknown-block(0,0)\n[    2.200000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
			&Crash{Message: "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", Panic: true},
		},
		{"oops, x86", `[   12.345678] BUG: kernel NULL pointer dereference, address: 0000000000000000
[   12.345700] #PF: supervisor write access in kernel mode
[   12.345720] #PF: error_code(0x0002) - not-present page
[   12.345740] PGD 0 P4D 0
[   12.345760] Oops: 0002 [#1] PREEMPT SMP
`, &Crash{Message: "BUG: kernel NULL pointer dereference, address: 0000000000000000"}},
		{"oops, then panic", `[   12.100000][  T102] BUG: unable to handle page fault for address: ffffffffdeadbeef
[   12.200000][  T102] Oops: 0002 [#1] PREEMPT SMP
[   12.300000][  T102] Kernel panic - not syncing: Fatal exception
`, &Crash{Message: "Kernel panic - not syncing: Fatal exception", Panic: true, Cause: "BUG: unable to handle page fault for address: ffffffffdeadbeef"}},
		{
			"a second oops and panic", "[ 1.000000] Kernel panic - not syncing: first\n[ 1.100000] BUG: KASAN: x\n[ 1.200000] Kernel panic - not syncing: second\n",
			&Crash{Message: "Kernel panic - not syncing: first", Panic: true},
		},
		{"KASAN", `[    3.101000] ==================================================================
[    3.102000] BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0x42/0x60
[    3.103000] Write of size 1 at addr ffff888005b0e07b by task insmod/85
`, &Crash{Message: "BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0x42/0x60"}},
		{"soft lockup", "[   52.100000] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:76]\n", &Crash{Message: "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:76]"}},
		{"hard lockup", "[   52.100000] NMI watchdog: Watchdog detected hard LOCKUP on cpu 1\n", &Crash{Message: "NMI watchdog: Watchdog detected hard LOCKUP on cpu 1"}},
		{"hard lockup, newer", "[   52.100000] watchdog: CPU5: Watchdog detected hard LOCKUP on cpu 5\n", &Crash{Message: "watchdog: CPU5: Watchdog detected hard LOCKUP on cpu 5"}},
		{
			"hung task", "[  245.100000] INFO: task kworker/0:1:12 blocked for more than 120 seconds.\n[  245.200000]       Not tainted 6.1.0 #1\n",
			&Crash{Message: "INFO: task kworker/0:1:12 blocked for more than 120 seconds."},
		},
		{
			"kernel BUG", "[    4.100000] ------------[ cut here ]------------\n[    4.200000] kernel BUG at mm/slub.c:381!\n[    4.300000] invalid opcode: 0000 [#1] PREEMPT SMP\n",
			&Crash{Message: "kernel BUG at mm/slub.c:381!"},
		},
		{"divide", "[    4.100000] divide error: 0000 [#1] PREEMPT SMP\n", &Crash{Message: "divide error: 0000 [#1] PREEMPT SMP"}},
		{"stack segment", "[    4.100000] stack segment: 0000 [#1] SMP\n", &Crash{Message: "stack segment: 0000 [#1] SMP"}},
		{
			"protection fault, 6.1", "[    4.100000] general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP\n",
			&Crash{Message: "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP"},
		},
		{
			"protection fault, 6.12", "[    4.100000] Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP\n",
			&Crash{Message: "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP"},
		},
		{"arm64", `[    5.103000] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000
[    5.104000] Mem abort info:
[    5.105000]   ESR = 0x0000000096000044
[    5.106000] Internal error: Oops: 0000000096000044 [#1] PREEMPT SMP
`, &Crash{Message: "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000"}},
		{
			"arm64 BUG", "[    5.100000] kernel BUG at drivers/misc/lkdtm/bugs.c:105!\n[    5.200000] Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP\n",
			&Crash{Message: "kernel BUG at drivers/misc/lkdtm/bugs.c:105!"},
		},
		{"arm64 abort", "[    5.100000] Internal error: synchronous external abort: 96000210 [#1] SMP\n", &Crash{Message: "Internal error: synchronous external abort: 96000210 [#1] SMP"}},
		{
			"riscv", "[    5.100000] Unable to handle kernel paging request at virtual address ff60000000000000\n[    5.200000] Oops [#1]\n",
			&Crash{Message: "Unable to handle kernel paging request at virtual address ff60000000000000"},
		},
		{"riscv, illegal instruction", "[    5.100000] Oops - illegal instruction [#1]\n", &Crash{Message: "Oops - illegal instruction [#1]"}},
		{"riscv, only the count", "[    5.100000] Oops [#1]\n", &Crash{Message: "Oops [#1]"}},
		{"no times", "Linux version 6.1.0\r\nKernel panic - not syncing: no init found\r\n", &Crash{Message: "Kernel panic - not syncing: no init found", Panic: true}},
		{"level and caller", "<0>[    1.000000][    C1] Kernel panic - not syncing: x\n", &Crash{Message: "Kernel panic - not syncing: x", Panic: true}},
		{"coloured", "\x1b[31m[    1.000000] Kernel panic - not syncing: x\x1b[0m\n", &Crash{Message: "Kernel panic - not syncing: x", Panic: true}},
		{"no end", "[    1.000000] Kernel panic - not syncing: x", &Crash{Message: "Kernel panic - not syncing: x", Panic: true}},
		// What programs write on the console.
		{"quoted", `[    0.000000] Linux version 6.1.0
test: expecting "Kernel panic - not syncing"
see [    1.000000] Kernel panic - not syncing: x
ok 1 # Kernel panic - not syncing: x
[1] Kernel panic - not syncing: a footnote
[x.y] Oops: 0002 [#1]
`, nil},
		{"without a time among those with", "[    0.000000] Linux version 6.1.0\nKernel panic - not syncing: printf\nBUG: KASAN: printf\n", nil},
		{"in a message", "[    0.000000] foo: Kernel panic - not syncing: x\n", nil},
	} {
		con, _, _ := read(t, strings.NewReader(c.text), nil)
		if diff := cmp.Diff(c.want, con.Crash()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if closed(con.Crashed()) != (c.want != nil) || closed(con.Panicked()) != (c.want != nil && c.want.Panic) {
			t.Errorf("%s: crashed %v, panicked %v", c.name, closed(con.Crashed()), closed(con.Panicked()))
		}
	}
}

// A program may quote a panic and go on; when the guest has reset itself, it
// didn't.
func TestDeath(t *testing.T) {
	const panics = "[    2.000000][    C1] Kernel panic - not syncing: x\n"
	for _, c := range []struct {
		name, text string
		want       *Crash
	}{
		{"a panic", panics, &Crash{Message: "Kernel panic - not syncing: x", Panic: true}},
		{"in a program's line", "[    0.100000] Linux\nloading 10% " + panics, &Crash{Message: "Kernel panic - not syncing: x", Panic: true}},
		{
			"after an oops", "[    1.000000] BUG: KASAN: y\n# " + panics,
			&Crash{Message: "Kernel panic - not syncing: x", Panic: true, Cause: "BUG: KASAN: y"},
		},
		{"an oops", "[    1.000000] BUG: KASAN: y\n", &Crash{Message: "BUG: KASAN: y"}},
		{"none", "[    1.000000] reboot: Restarting system\n# [    1.100000] x\n", nil},
	} {
		con, _, _ := read(t, strings.NewReader(c.text), nil)
		if diff := cmp.Diff(c.want, con.Death()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// Who waits for a crash finds its line in the tail.
func TestCrashMeanwhile(t *testing.T) {
	r, w := io.Pipe()
	c := Read(r, io.Discard, Handlers{})
	go func() { _, _ = io.WriteString(w, "[    1.000000] BUG: KASAN: x\n") }()
	await(t, "the oops", c.Crashed())
	if closed(c.Panicked()) || len(c.Tail()) != 1 {
		t.Errorf("tail %q", c.Tail())
	}
	go func() { _, _ = io.WriteString(w, "[    1.100000] Kernel panic - not syncing: y\n") }()
	await(t, "the panic", c.Panicked())
	if diff := cmp.Diff(&Crash{Message: "Kernel panic - not syncing: y", Panic: true, Cause: "BUG: KASAN: x"}, c.Crash()); diff != "" {
		t.Error(diff)
	}
	w.CloseWithError(errors.New("gone"))
	await(t, "the end", c.Done())
}
