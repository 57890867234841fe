// SPDX-License-Identifier: GPL-3.0-only

package console

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot/report"
)

func titlesOf(reports []report.Report) []string {
	var titles []string
	for _, r := range reports {
		titles = append(titles, r.Title)
	}
	return titles
}

const (
	warningA = `[    1.000000] ------------[ cut here ]------------
[    1.000001] WARNING: CPU: 0 PID: 77 at drivers/misc/a.c:12 warn_a+0x11/0x20
[    1.000002] CPU: 0 UID: 0 PID: 77 Comm: a Not tainted 6.12.1 #1
[    1.000003] RIP: 0010:warn_a+0x11/0x20
[    1.000004] ---[ end trace 0000000000000000 ]---
`
	rssB = "[    2.000000] BUG: Bad rss-counter state mm:0 type:MM_ANONPAGES val:1\n"
)

// A report is told once it is complete, be it by silence. Those since a mark are those
// that began after it.
func TestReports(t *testing.T) {
	r, w := io.Pipe()
	told := make(chan string, 10)
	c := Read(r, io.Discard, Handlers{Report: func(r report.Report) { told <- r.Title }})
	_, _ = io.WriteString(w, warningA)
	select {
	case title := <-told:
		if title != "WARNING in warn_a" {
			t.Errorf("told of %q", title)
		}
	case <-time.After(deadline):
		t.Fatal("not told of the warning")
	}
	if m := c.Mark(); m != int64(len(warningA)) {
		t.Errorf("read %d bytes", m)
	}
	mark := c.Mark()
	_, _ = io.WriteString(w, rssB)
	c.Settle(10*time.Millisecond, deadline)
	if diff := cmp.Diff([]string{"BUG: Bad rss-counter state"}, titlesOf(c.Reports(mark))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"WARNING in warn_a", "BUG: Bad rss-counter state"}, titlesOf(c.Reports(0))); diff != "" {
		t.Error(diff)
	}
	if got := c.Reports(c.Mark()); len(got) != 0 {
		t.Errorf("none has come since, and there are %q", titlesOf(got))
	}
	_ = w.Close()
	await(t, "the end", c.Done())
}

// Who shows the lines may be slower than the guest, which has written more by then.
func TestSettleWithASlowHandler(t *testing.T) {
	r, w := io.Pipe()
	c := Read(r, io.Discard, Handlers{Line: func(string) { time.Sleep(100 * time.Millisecond) }})
	_, _ = io.WriteString(w, "[    0.000000] Linux version 6.12.1\n")
	go func() { _, _ = io.WriteString(w, warningA) }()
	c.Settle(10*time.Millisecond, deadline)
	if diff := cmp.Diff([]string{"WARNING in warn_a"}, titlesOf(c.Reports(0))); diff != "" {
		t.Error(diff)
	}
	_ = w.Close()
	await(t, "the end", c.Done())
}

// A console's end completes a report.
func TestReportAtTheEnd(t *testing.T) {
	var told []string
	c := Read(strings.NewReader(warningA[:120]), io.Discard, Handlers{Report: func(r report.Report) { told = append(told, r.Title) }})
	await(t, "the end", c.Done())
	if diff := cmp.Diff([]string{"WARNING in corrupted"}, told); diff != "" {
		t.Error(diff)
	}
}

// A guest that complains without end doesn't fill our memory.
func TestManyReports(t *testing.T) {
	var log strings.Builder
	for i := range 10 * maxReports {
		fmt.Fprintf(&log, "[%5d.000000] BUG: Bad rss-counter state mm:0 type:MM_ANONPAGES val:1\n", i+1)
	}
	told := 0
	c := Read(strings.NewReader(log.String()), io.Discard, Handlers{Report: func(report.Report) { told++ }})
	await(t, "the end", c.Done())
	kept := c.Reports(0)
	if len(kept) != maxReports || told != 10*maxReports {
		t.Errorf("%d reports, told of %d", len(kept), told)
	}
	if last := kept[maxReports-1]; last.LastLine != 10*maxReports {
		t.Errorf("the last is in line %d", last.LastLine)
	}
}
