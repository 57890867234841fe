// SPDX-License-Identifier: GPL-3.0-only

package console

import (
	"slices"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/boot/report"
)

const (
	// maxReports is how many reports of a guest are kept: the last ones, since those
	// before a command don't count for it.
	maxReports = 200
	// silence is when a report is complete after which nothing comes.
	silence = 500 * time.Millisecond
)

// reports are what the kernel has reported.
type reports struct {
	tell func(report.Report)

	telling sync.Mutex // held while tell runs; taken before mu
	mu      sync.Mutex
	parser  *report.Parser
	read    int64           // bytes
	found   []report.Report // complete, the last maxReports of them
	untold  []report.Report
	timer   *time.Timer // ends an open report after some silence
}

func (r *reports) start(tell func(report.Report)) {
	r.tell = tell
	r.parser = report.NewParser(func(found *report.Report) {
		r.found = append(r.found, *found)
		if over := len(r.found) - maxReports; over > 0 {
			r.found = append(r.found[:0], r.found[over:]...)
		}
		r.untold = append(r.untold, *found)
	})
	r.timer = time.AfterFunc(silence, func() { r.do(r.parser.Flush) })
}

// feed takes what the console has read.
func (r *reports) feed(data []byte) {
	r.do(func() {
		_, _ = r.parser.Write(data) // never fails
		r.read += int64(len(data))
		if r.parser.Open() {
			r.timer.Reset(silence)
		}
	})
}

// end completes the reports at the console's end.
func (r *reports) end() {
	r.do(func() { _ = r.parser.Close() }) // never fails
	r.timer.Stop()
}

// do runs f alone, and then tells of the reports that it has completed, without the
// lock that readers of the reports take.
func (r *reports) do(f func()) {
	r.telling.Lock()
	defer r.telling.Unlock()
	r.mu.Lock()
	f()
	untold := r.untold
	r.untold = nil
	r.mu.Unlock()
	if r.tell != nil {
		for _, found := range untold {
			r.tell(found)
		}
	}
}

// Settle waits until the console has been silent for a while, for at most limit: what
// the guest has written may not have been read yet.
func (c *Console) Settle(quiet, limit time.Duration) {
	over := time.After(limit)
	for {
		rest := quiet - time.Since(c.Heard())
		if rest <= 0 {
			return
		}
		select {
		case <-time.After(rest):
		case <-c.done:
			return
		case <-over:
			return
		}
	}
}

// Mark returns how many bytes the console has read so far.
func (c *Console) Mark() int64 {
	c.reports.mu.Lock()
	defer c.reports.mu.Unlock()
	return c.reports.read
}

// Reports returns what the kernel has reported since a mark, 0 being the beginning.
// A report that goes on is taken for complete.
func (c *Console) Reports(since int64) []report.Report {
	c.reports.do(c.reports.parser.Flush)
	c.reports.mu.Lock()
	defer c.reports.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.reports.found), func(r report.Report) bool { return r.Offset < since })
}
