// SPDX-License-Identifier: GPL-3.0-only

package console_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot/console"
)

const goodLog = "SeaBIOS (version 1.16.2)\r\n" +
	"[    0.000000] Linux version 6.1.0 (me@here) #7\r\n" +
	"[    0.010203][    T0] tsc: Detected 2599.998 MHz processor\r\n" +
	"[    0.300000] mine: ready at 0xffff888003a10000, value 1\r\n" +
	"[    0.350000] rtc_cmos 00:03: setting system clock to 2026-11-29T15:10:04 UTC (1795965004)\r\n" +
	"[    0.400000] Freeing initrd memory: 13956K\r\n" +
	"a program says 1\r\n"

func TestNews(t *testing.T) {
	var b console.Baseline
	if err := b.Learn(strings.NewReader(goodLog)); err != nil {
		t.Fatal(err)
	}
	news := func(log string) []string {
		t.Helper()
		lines, err := b.News([]byte(log))
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	again := strings.NewReplacer(" 0.300000", "10.412345", "3a10000", "4b20000", "2599.998", "2600.012", "13956K", "960K", "15:10:04", "15:10:31", "5004", "5031", "#7", "#8 Sun").Replace(goodLog)
	if got := news(again); got != nil {
		t.Errorf("the same log has news: %q", got)
	}
	changed := strings.Replace(again, "value 1", "value 2", 1) +
		"another program\r\n[    1.000000] mine: slow\r\n[    1.100000] mine: slow\r\n<4>[    1.2] ACPI: odd\r\n"
	want := []string{"[   10.412345] mine: ready at 0xffff888004b20000, value 2", "[    1.000000] mine: slow", "<4>[    1.2] ACPI: odd"}
	if diff := cmp.Diff(want, news(changed)); diff != "" {
		t.Error(diff)
	}

	// A report is none, and what follows it is.
	warning := "[    2.000000] ------------[ cut here ]------------\r\n[    2.000001] WARNING: CPU: 0 PID: 1 at init/main.c:934 start_kernel+0x4e/0x5c1\r\n" +
		"[    2.000002] CPU: 0 PID: 1 Comm: swapper Not tainted 6.1.192 #17\r\n[    2.000003] RIP: 0010:start_kernel+0x4e/0x5c1\r\n[    2.000004] Call Trace:\r\n" +
		"[    2.000005]  <TASK>\r\n[    2.000006]  ? rest_init+0xcd/0xdb\r\n[    2.000007]  </TASK>\r\n[    2.000008] ---[ end trace 0000000000000000 ]---\r\n"
	if diff := cmp.Diff([]string{"[    3.000000] mine: after it"}, news(again+warning+"[    3.000000] mine: after it\r\n")); diff != "" {
		t.Error(diff)
	}

	// What was written is read again, and so is another log.
	var kept bytes.Buffer
	if _, err := b.WriteTo(&kept); err != nil {
		t.Fatal(err)
	}
	b = console.Baseline{}
	if err := b.Learn(&kept); err != nil {
		t.Fatal(err)
	}
	if err := b.Learn(strings.NewReader(changed)); err != nil {
		t.Fatal(err)
	}
	if got := news(again + changed); got != nil {
		t.Errorf("nothing is new, and news are %q", got)
	}
}

// A log of one line without an end, or of noise, is read in bounded memory.
func TestNewsOfNoise(t *testing.T) {
	var b console.Baseline
	noise := strings.Repeat("[    1.0] \x00\xff\x1b[31m", 1<<18)
	if err := b.Learn(strings.NewReader(noise)); err != nil {
		t.Error(err)
	}
	if lines, err := b.News([]byte(noise)); err != nil || len(lines) > 0 {
		t.Errorf("%d lines are new, %v", len(lines), err)
	}
}

// A log to compare with may have other times than the console's: those of dmesg -T, -H and
// --time-format=iso, of the journal, or of syslogd.
func TestNewsAgainstOtherTimes(t *testing.T) {
	const log = "[    0.300000] mine: ready\n[    1.300000] mine: done\n"
	for name, prefix := range map[string]string{
		"dmesg": "[    9.000000] ", "dmesg -r": "<6>[    9.000000] ", "dmesg -T": "[Sun Nov  1 12:00:00 2026] ", "dmesg -H": "[  +0.000012] ", "dmesg -H, minutes": "[Nov30 14:42] ",
		"ISO": "2026-11-29T07:44:32,123456+01:00 ", "journal": "Nov 29 12:00:00 host kernel: ", "syslog": "Nov  9 12:00:00 host kernel: [    9.000000] ", "none": "",
	} {
		var b console.Baseline
		if err := b.Learn(strings.NewReader(prefix + "mine: ready\n" + prefix + "mine: done\n")); err != nil {
			t.Fatal(err)
		}
		if news, err := b.News([]byte(log + "[    2.300000] mine: slow\n")); err != nil || len(news) != 1 {
			t.Errorf("%s: %q, %v", name, news, err)
		}
	}
}
