// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"testing"

	"github.com/metaspace/run-kernel/boot/report"
)

func TestReportError(t *testing.T) {
	warning := report.Report{Title: "WARNING in a's b", File: "drivers/a.c", Line: 12, Headline: "WARNING: CPU: 0"}
	for _, c := range []struct {
		reports     []report.Report
		error, hint string
	}{
		{
			[]report.Report{warning},
			"the guest's kernel reported a problem: WARNING in a's b (drivers/a.c:12)",
			`--allow '^WARNING in a'\''s b$' lets it pass; run-kernel report finds all of them in the console's log`,
		},
		{
			[]report.Report{{Title: "memory leak in foo", Headline: "unreferenced object"}, warning, warning},
			"the guest's kernel reported a problem: memory leak in foo, and 2 more",
			"--allow '^memory leak in foo$' lets it pass; run-kernel report finds all of them in the console's log",
		},
		{
			[]report.Report{{Title: "taint W: a warning"}},
			"the guest's kernel reported a problem: taint W: a warning",
			"--allow '^taint W: a warning$' lets it pass",
		},
	} {
		err := &ReportError{Reports: c.reports}
		if err.Error() != c.error || err.Hint() != c.hint {
			t.Errorf("got %q, %q; want %q, %q", err.Error(), err.Hint(), c.error, c.hint)
		}
	}
}
