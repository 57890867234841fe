// SPDX-License-Identifier: GPL-3.0-only

// Package pattern has regular expressions that are compiled when they are first
// used. run-kernel's program is the guest's init and the guard of each child as
// well, which have no use for them: compiled at its start they took a sixth of
// the time from the init's exec to its first line.
package pattern

import (
	"regexp"
	"sync"
)

// A Pattern is a regular expression in the syntax of package regexp.
type Pattern struct{ compile func() *regexp.Regexp }

// New returns the pattern for expr. One that doesn't parse panics when it is
// first used.
func New(expr string) *Pattern {
	return &Pattern{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
}

// MatchString is as regexp.Regexp has it.
func (p *Pattern) MatchString(s string) bool { return p.compile().MatchString(s) }

// FindString is as regexp.Regexp has it.
func (p *Pattern) FindString(s string) string { return p.compile().FindString(s) }

// FindStringIndex is as regexp.Regexp has it.
func (p *Pattern) FindStringIndex(s string) []int { return p.compile().FindStringIndex(s) }

// FindStringSubmatch is as regexp.Regexp has it.
func (p *Pattern) FindStringSubmatch(s string) []string { return p.compile().FindStringSubmatch(s) }

// ReplaceAllString is as regexp.Regexp has it.
func (p *Pattern) ReplaceAllString(s, replacement string) string {
	return p.compile().ReplaceAllString(s, replacement)
}

// FindSubmatch is as regexp.Regexp has it.
func (p *Pattern) FindSubmatch(b []byte) [][]byte { return p.compile().FindSubmatch(b) }

// FindAllStringSubmatch is as regexp.Regexp has it.
func (p *Pattern) FindAllStringSubmatch(s string, n int) [][]string {
	return p.compile().FindAllStringSubmatch(s, n)
}
