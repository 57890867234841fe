// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A kernel that hangs: where, and what it still tells.
func TestHang(t *testing.T) {
	k := testKernel(t)
	main := newEdit(t, filepath.Join(k.source, "init/main.c"))
	line := strings.Count(main.original, "\n") + 4
	for name, body := range map[string]string{
		"spins":              "while (1)\ncpu_relax();",
		"without interrupts": "local_irq_disable(); while (1)\ncpu_relax();",
	} {
		t.Run(name, func(t *testing.T) {
			main.write(main.original + "static noinline int __init hang_here(void)\n{\nint once = 0;\n" + body + "\nreturn once;\n}\nlate_initcall(hang_here);\n")
			r := k.lab.expect(k.lab.run(k.flags("boot", "--boot-timeout=8s", "--", "true")...), statusTimeout)
			// The compiler may take the loop for a part of any of its lines.
			place := regexp.MustCompile(fmt.Sprintf(`(?m)^cpu    \d is in hang_here \(init/main\.c:(%d|%d|%d)\)`, line-1, line, line+1))
			if !place.MatchString(r.stderr) {
				t.Errorf("no place like %s is told: %s", place, r.stderr)
			}
		})
	}
	t.Run("panics before its console", func(t *testing.T) {
		const setup = "\tsetup_arch(&command_line);\n"
		main.write(strings.Replace(main.original, setup, "\tpanic(\"too early\");\n"+setup, 1))
		// It is seen long before the limit.
		r := k.lab.expect(k.lab.run(k.flags("boot", "--boot-timeout=1h", "--", "true")...), statusCrash)
		if !strings.Contains(r.stderr, "Kernel panic - not syncing: too early") || !strings.Contains(r.stderr, "Call Trace:") {
			t.Error(r.stderr)
		}
	})
	main.restore()
	// A kernel that works answers requests of the magic SysRq.
	r := k.lab.expect(k.lab.run(k.flags("boot", "--timeout=3s", "--", "sleep 1000")...), statusTimeout)
	if n := strings.Count(r.stderr, "\ncpu    "); n != 2 || !strings.Contains(r.stderr, "Show Blocked State") {
		t.Errorf("%d processors are told of, or the kernel doesn't answer: %s", n, r.stderr)
	}
}

// What a good turn didn't write to the log is news.
func TestLogNews(t *testing.T) {
	k := bootKernel(t)
	kmsg := func(text string) string { return "echo '<4>" + text + "' >/dev/kmsg" }
	test := func(command string, status int) result {
		t.Helper()
		return k.lab.expect(k.lab.run(k.flags("test", "--no-build", "--", command)...), status)
	}
	// What earlier runs of this test have learnt counts for nothing.
	_ = os.Remove(filepath.Join(k.build, ".run-kernel/baseline.log"))
	test(kmsg("mine: ready at 0xffff888003a10000"), 0)
	r := test(kmsg("mine: ready at 0xffff888004b20000")+"; "+kmsg("mine: slow down")+"; exit 1", 1)
	if !strings.Contains(r.stderr, "mine: slow down\n") || strings.Contains(r.stderr, "mine: ready") {
		t.Errorf("the news are %s", r.stderr)
	}
	// It wasn't good, so it stays news.
	if r := test(kmsg("mine: slow down"), 0); !strings.Contains(r.stderr, "mine: slow down\n") {
		t.Errorf("the news are %s", r.stderr)
	}
	if r := test(kmsg("mine: slow down"), 0); strings.Contains(r.stderr, "mine: slow down\n") {
		t.Errorf("the news are %s", r.stderr)
	}
	log := filepath.Join(k.build, ".run-kernel/console.log")
	r = k.lab.expect(k.boot("--dmesg-baseline", log, "--", kmsg("mine: odd")), 0)
	if !strings.Contains(r.stderr, "mine: odd\n") || strings.Contains(r.stderr, "mine: slow down") {
		t.Errorf("the news are %s", r.stderr)
	}
	if r := k.lab.expect(k.boot("--dmesg-baseline", "/dev/null", "--", "true"), statusUsage); !strings.Contains(r.stderr, "hint: ") {
		t.Error(r.stderr)
	}
}
