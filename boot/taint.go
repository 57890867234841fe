// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/report"
)

// complaints are the bits of the kernel's taint that say that something went wrong; the
// others are about modules and the user's doings. See
// Documentation/admin-guide/tainted-kernels.rst.
var complaints = []struct {
	bit   uint
	class report.Class
	title string
}{
	{5, report.Corruption, "taint B: a bad page, without a report on the console"},
	{7, report.Oops, "taint D: an oops or BUG, without a report on the console"},
	{9, report.Warning, "taint W: a warning, without a report on the console"},
	{14, report.Hang, "taint L: a soft lockup, without a report on the console"},
}

// A taint is what the guest's kernel says of itself.
type taint struct {
	mu      sync.Mutex
	known   bool // when the agent answered
	up, now uint64
}

// begin takes the agent's first answer. An agent of an older run-kernel tells nothing.
func (t *taint) begin(answer []byte) {
	var s guest.Synced
	t.mu.Lock()
	defer t.mu.Unlock()
	if ssh.Unmarshal(answer, &s) == nil && s.Known {
		t.known, t.up, t.now = true, s.Taint, s.Taint
	}
}

// update takes a later one.
func (t *taint) update(answer []byte) {
	var s guest.Synced
	t.mu.Lock()
	defer t.mu.Unlock()
	if ssh.Unmarshal(answer, &s) == nil && s.Known {
		t.now = s.Taint
	}
}

// restart takes what the kernel said at a later time for the first answer.
func (t *taint) restart(taint uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up = taint
}

// fresh returns a report for each complaint since the first answer, or the last restart.
func (t *taint) fresh() []report.Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known {
		return nil
	}
	var reports []report.Report
	for _, c := range complaints {
		if (t.now&^t.up)>>c.bit&1 != 0 {
			reports = append(reports, report.Report{Title: c.title, Class: c.class})
		}
	}
	return reports
}
