// SPDX-License-Identifier: GPL-3.0-only

package report_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/metaspace/run-kernel/boot/report"
)

const divideLog = `[    0.000000] Linux version 6.12.1
[    7.341002] Oops: divide error: 0000 [#1] PREEMPT SMP
[    7.341300] CPU: 0 UID: 0 PID: 88 Comm: insmod Not tainted 6.12.1 #3
[    7.341622] RIP: 0010:ratio_show+0x1f/0x40 [ratio]
[    7.341940] Code: 0f 1f 44 00 00 <f7> 3d
[    7.342251] Call Trace:
[    7.342555]  <TASK>
[    7.342850]  dev_attr_show+0x19/0x60
[    7.343156]  sysfs_kf_seq_show+0xa1/0x100
[    7.343460]  </TASK>
[    7.343757] ---[ end trace 0000000000000000 ]---
`

func ExampleParse() {
	reports, err := report.Parse(strings.NewReader(divideLog))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range reports {
		fmt.Printf("lines %d to %d: %s (%s)\n", r.FirstLine, r.LastLine, r.Title, r.Class)
		for _, f := range r.Frames() {
			fmt.Printf("  %s+%#x\n", f.Function, f.Offset)
		}
	}
	// Output:
	// lines 2 to 11: divide error in ratio_show (oops)
	//   ratio_show+0x1f
	//   dev_attr_show+0x19
	//   sysfs_kf_seq_show+0xa1
}

func ExampleParser() {
	p := report.NewParser(func(r *report.Report) { fmt.Println("complete:", r.Title) })
	p.Begin = func(r *report.Report) { fmt.Println("begins:", r.Headline) }
	for line := range strings.Lines(divideLog) { // as they come from a console
		_, _ = io.WriteString(p, line)
	}
	_ = p.Close()
	// Output:
	// begins: Oops: divide error: 0000 [#1] PREEMPT SMP
	// complete: divide error in ratio_show
}
