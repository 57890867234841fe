// SPDX-License-Identifier: GPL-3.0-only

package syntax

import "strings"

// An Error says where a Kconfig file can't be understood, and why.
type Error struct {
	Pos     Pos
	Problem string
	Chain   []Pos // the source statements that led there, innermost first
	Refusal bool  // the files themselves say so, by $(error-if): conf refuses, too
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Pos.String() + ": " + e.Problem)
	for _, p := range e.Chain {
		b.WriteString("\n\tsourced from " + p.String())
	}
	return b.String()
}
