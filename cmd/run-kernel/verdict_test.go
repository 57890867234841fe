// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"strings"
	"testing"
)

// splat has a guest's kernel print a warning, as if it were its own.
const splat = `for line in '------------[ cut here ]------------' 'WARNING: CPU: 0 PID: 77 at drivers/misc/mine.c:12 mine_probe+0x11/0x20' \
	'CPU: 0 PID: 77 Comm: sh Not tainted' 'RIP: 0010:mine_probe+0x11/0x20' 'Call Trace:' ' really_probe+0x10/0x20' '---[ end trace 0000000000000000 ]---'; do
	echo "<4>$line" >/dev/kmsg
done`

// What the kernel reports while the guest is up fails a command that has succeeded.
func TestKernelComplains(t *testing.T) {
	k := bootKernel(t)
	r := k.lab.expect(k.boot("--", splat), statusCrash)
	for _, want := range []string{
		"kernel WARNING in mine_probe (drivers/misc/mine.c:12)\n",
		"run-kernel: error: the guest's kernel reported a problem: WARNING in mine_probe (drivers/misc/mine.c:12)\n",
		"hint: --allow '^WARNING in mine_probe$' lets it pass",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%q isn't in %s", want, r.stderr)
		}
	}
	k.lab.expect(k.boot("--allow", "^WARNING in mine_probe$", "--", splat+"; exit 3"), 3)
	k.lab.expect(k.boot("--fail", "oops", "--fail", "panic", "--", splat), 0)
	k.lab.expect(k.lab.run(k.flags("test", "--no-build", "--", splat)...), 1)
	k.lab.expect(k.boot("--", "dmesg | grep -c WARNING; true"), 0)
	// The taint tells of a warning that the console hasn't shown.
	if r := k.lab.expect(k.boot("--", "echo 512 >/proc/sys/kernel/tainted"), statusCrash); !strings.Contains(r.stderr, "reported a problem: taint W: a warning, without a report on the console\n") {
		t.Error(r.stderr)
	}
	if r := k.lab.expect(k.boot("--fail", "bugs", "--", "true"), statusUsage); !strings.Contains(r.stderr, `"bugs" isn't one of panic, oops, `) {
		t.Error(r.stderr)
	}
	if r := k.lab.expect(k.boot("--allow", "(", "--", "true"), statusUsage); !strings.Contains(r.stderr, "verdict.allow: error parsing regexp") {
		t.Error(r.stderr)
	}
}
