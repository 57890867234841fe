// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/internal/config"
)

func TestVerdict(t *testing.T) {
	reports := []report.Report{
		{Title: "WARNING in foo", Class: report.Warning},
		{Title: "possible deadlock in bar", Class: report.Lockdep},
		{Title: "BUG: MAX_LOCKDEP_ENTRIES too low!", Class: report.Limit},
		{Title: "memory leak in foo", Class: report.Leak},
	}
	defaults := config.Default().Verdict
	for name, c := range map[string]struct {
		verdict config.Verdict
		want    []string
	}{
		"by default":   {defaults, []string{"WARNING in foo", "possible deadlock in bar", "memory leak in foo"}},
		"one class":    {config.Verdict{Fail: []string{"lockdep"}}, []string{"possible deadlock in bar"}},
		"no class":     {config.Verdict{}, nil},
		"some allowed": {config.Verdict{Fail: defaults.Fail, Allow: []string{"^WARNING", "leak"}}, []string{"possible deadlock in bar"}},
		"all allowed":  {config.Verdict{Fail: defaults.Fail, Allow: []string{"."}}, nil},
	} {
		var got []string
		for _, r := range newVerdict(c.verdict).failing(reports) {
			got = append(got, r.Title)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The configuration, which knows no reports, has the names of their classes.
func TestReportClasses(t *testing.T) {
	var names []string
	for _, class := range report.Classes() {
		names = append(names, class.String())
	}
	if diff := cmp.Diff(names, config.ReportClasses); diff != "" {
		t.Error(diff)
	}
}
