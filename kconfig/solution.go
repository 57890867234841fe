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
	Refused  []Result  // that can't hold, wishes included; each has its proof
}

// A Setting gives a symbol a value.
type Setting struct {
	Symbol string `json:"symbol"`
	Value  string `json:"value"`         // as in .config
	For    string `json:"for,omitempty"` // the symbol that needs it; empty for what is asked for itself
	At     string `json:"at,omitempty"`  // file:line of what makes it needed
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

func (s Step) write(b *strings.Builder, indent string) {
	b.WriteString(indent)
	if s.At != "" {
		b.WriteString(s.At + ": ")
	}
	fmt.Fprintf(b, "%s=%s: %s\n", s.Symbol, s.Want, s.Text)
	for _, next := range s.Because {
		next.write(b, indent+"\t")
	}
}
