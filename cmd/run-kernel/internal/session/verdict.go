// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"regexp"
	"slices"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/internal/config"
)

// A verdict says which reports of the kernel fail a command.
type verdict struct {
	fail  []string
	allow []*regexp.Regexp
}

// newVerdict returns the verdict that a configuration asks for, which has been checked.
func newVerdict(c config.Verdict) verdict {
	v := verdict{fail: c.Fail}
	for _, expr := range c.Allow {
		v.allow = append(v.allow, regexp.MustCompile(expr))
	}
	return v
}

// allows says whether the user lets a report pass by its title.
func (v verdict) allows(r *report.Report) bool {
	return slices.ContainsFunc(v.allow, func(e *regexp.Regexp) bool { return e.MatchString(r.Title) })
}

// failing returns those reports that fail a command.
func (v verdict) failing(reports []report.Report) []report.Report {
	var failing []report.Report
	for _, r := range reports {
		if slices.Contains(v.fail, r.Class.String()) && !v.allows(&r) {
			failing = append(failing, r)
		}
	}
	return failing
}

// Failing returns those reports that fail a command, as a configuration asks for it that
// has been checked.
func Failing(c config.Verdict, reports []report.Report) []report.Report {
	return newVerdict(c).failing(reports)
}

// failing returns the reports since the guest is up that fail a command, also those of
// which only the kernel's taint tells.
func (g *Guest) failing() []report.Report {
	return g.session.verdict.failing(slices.Concat(g.vm.Reports(), g.vm.Hidden()))
}

// crashed returns the crash of a guest that goes on, also one while it booted, unless
// the user lets it pass; nil without any.
func (g *Guest) crashed() *console.Crash {
	crash := g.vm.Crash()
	if crash == nil || crash.Panic {
		return crash
	}
	if r := g.vm.CrashReport(); r != nil && g.session.verdict.allows(r) {
		return nil
	}
	return crash
}
