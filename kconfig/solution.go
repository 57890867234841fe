// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"fmt"
	"strings"
)

// A Solution makes requirements hold, as far as that is possible.
type Solution struct {
	File     *File     // with the settings
	Settings []Setting // in the order in which they are needed
	Refused  []Result  // that don't hold, optional ones included; each says why, and how sure that is
	// Strained are the symbols that are selected with the settings, and weren't
	// without, although what they depend on doesn't hold: conf warns of each.
	Strained []string
}

// A Verdict says how sure it is that a requirement can't hold.
type Verdict string

// The verdicts.
const (
	// Impossible: in no configuration that meets the other requirements. Two
	// independent ways to compute that agree.
	Impossible Verdict = "impossible"
	// Forced: only where a select forces a symbol past what it depends on.
	Forced Verdict = "forced"
	// NotFound: the search found no way, which proves nothing.
	NotFound Verdict = "not found"
	// Declined: it could be had; for an optional requirement that isn't worth it.
	Declined Verdict = "declined"
)

// A Setting gives a symbol a value.
type Setting struct {
	Symbol string `json:"symbol"`
	Value  string `json:"value"`         // as in .config
	For    string `json:"for,omitempty"` // the symbol that needs it; empty for what is asked for itself
	At     string `json:"at,omitempty"`  // file:line of what makes it needed
}

// Line is the line of a .config, without its end.
func (s Setting) Line() string {
	if s.Value == "n" {
		return "# CONFIG_" + s.Symbol + " is not set"
	}
	return "CONFIG_" + s.Symbol + "=" + s.Value
}

// A Step of a proof says why a symbol can't be what is wanted.
type Step struct {
	Symbol  string `json:"symbol"`
	Want    string `json:"want"`
	At      string `json:"at,omitempty"` // file:line where that is decided
	Text    string `json:"text"`
	Because []Step `json:"because,omitempty"` // why that can't be helped
}

// String is the step and what it rests on, a line each, indented by a tab for
// each level.
func (s Step) String() string {
	var b strings.Builder
	s.write(&b, "")
	return strings.TrimSuffix(b.String(), "\n")
}

// relation is a value behind a symbol: "=y", or " >= 8".
func relation(want string) string {
	if strings.ContainsAny(want[:min(1, len(want))], "<>!") {
		return " " + want
	}
	return "=" + want
}

func (s Step) write(b *strings.Builder, indent string) {
	b.WriteString(indent)
	if s.At != "" {
		b.WriteString(s.At + ": ")
	}
	fmt.Fprintf(b, "%s%s: %s\n", s.Symbol, relation(s.Want), s.Text)
	for _, next := range s.Because {
		next.write(b, indent+"\t")
	}
}
