// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
)

var (
	// gcc, clang, sparse and the assembler: file:line[:column]: severity: message.
	compilerLine = pattern.New(`^([^\s:][^:]*):(\d+)(?::(\d+))?: (?:fatal )?(error|warning|note|Error|Warning|Info): (.*)$`)
	// Their drivers: gcc: error: unrecognized command-line option.
	driverLine = pattern.New(`^((?:\S*/)?(?:[\w.]+-)*(?:gcc|g\+\+|cc1|cc1plus|clang|collect2|as|rustc)(?:-[\d.]+)?): (?:fatal )?(error|warning): (.*)$`)
	// rustc: the place is in the next line.
	rustLine   = pattern.New(`^(error|warning)(?:\[E\d+\])?: (.*)$`)
	rustPlace  = pattern.New(`^ *--> ([^\s:]+):(\d+):(\d+)$`)
	rustTotals = pattern.New(`^(?:aborting due to .*|\d+ warnings? emitted.*|could not compile .*)$`)
	// dtc: file:line.column-line.column: Warning (check): message.
	dtcLine  = pattern.New(`^([^\s:]+\.dts[io]?):(\d+)\.(\d+)[-\d.]*: (Warning|ERROR) \(\w+\): (.*)$`)
	dtcError = pattern.New(`^(?:Error|FATAL ERROR): ([^\s:]+\.dts[io]?):(\d+)\.(\d+)[-\d.]* (.*)$`)
	// Kconfig: file:line:severity: message, or without a severity.
	kconfigLine = pattern.New(`^([^\s:]*(?:Kconfig|\.config)[^\s:]*):(\d+): ?(?:(error|warning): )?([^\s].*)$`)
	kconfigMore = pattern.New(`^[^\s:]*Kconfig[^\s:]*:\d+:\t`)
	unmetLine   = pattern.New(`^WARNING: (unmet direct dependencies .*)$`)
	// The linker: [ld: ]object or file:(.section+offset): message.
	linkerLine = pattern.New(`^(?:\S*ld(?:\.\w+)?: )?(?:([^\s:]+\.[coS]):)?(?:(?:([^\s:]+):(\d+): )|(?:\([^)]+\): ))(undefined reference to .*|multiple definition of .*)$`)
	linkerTool = pattern.New(`^(\S*\bld(?:\.\w+)?): (?:error: )?(.*)$`)
	lldPlace   = pattern.New(`^>>> (?:referenced by|defined at) \S+ \(([^\s:()]+):(\d+)\)$`)
	// modpost and objtool.
	modpostLine = pattern.New(`^(ERROR|WARNING): modpost: (.*)$`)
	objtoolLine = pattern.New(`^(\S+\.o): (warning|error): objtool: (.*)$`)
	// make: the rule that failed, or a makefile's error.
	makeLine     = pattern.New(`^make(?:\[\d+\])?: \*\*\* (.*)$`)
	makeRule     = pattern.New(`^(?:\[[^]]*\] (?:Error \d+|Terminated|Interrupt|Killed)|Waiting for unfinished jobs.*|Deleting (?:intermediate )?file .*)$`)
	makefileLine = pattern.New(`^([^\s:]+):(\d+): \*\*\* (.*)$`)

	// gcc, before a diagnostic on a function that is inlined.
	inlinedFrom = pattern.New(`^    inlined from .* at ([^\s:]+):(\d+):(\d+)[,:]$`)

	excerptLine = pattern.New(`^\d+ *\|`)
)

// parseDiagnostic recognises the first line of a diagnostic.
func parseDiagnostic(line string) (event.Diagnostic, bool) {
	if m := compilerLine.FindStringSubmatch(line); m != nil {
		return event.Diagnostic{File: m[1], Line: number(m[2]), Column: number(m[3]), Severity: severity(m[4]), Message: m[5]}, true
	}
	if m := modpostLine.FindStringSubmatch(line); m != nil {
		return event.Diagnostic{Severity: severity(m[1]), Message: "modpost: " + m[2]}, true
	}
	if m := objtoolLine.FindStringSubmatch(line); m != nil {
		return event.Diagnostic{File: m[1], Severity: severity(m[2]), Message: "objtool: " + m[3]}, true
	}
	if m := linkerLine.FindStringSubmatch(line); m != nil {
		d := event.Diagnostic{File: m[1], Severity: event.Error, Message: m[4]}
		if m[2] != "" {
			d.File, d.Line = m[2], number(m[3])
		}
		return d, true
	}
	if m := kconfigLine.FindStringSubmatch(line); m != nil && !kconfigMore.MatchString(line) {
		d := event.Diagnostic{File: m[1], Line: number(m[2]), Severity: severity(m[3]), Message: m[4]}
		if m[3] == "" {
			d.Severity = event.Error
		}
		return d, true
	}
	if m := unmetLine.FindStringSubmatch(line); m != nil {
		return event.Diagnostic{Severity: event.Warn, Message: "kconfig: " + m[1]}, true
	}
	if m := makeLine.FindStringSubmatch(line); m != nil {
		if makeRule.MatchString(m[1]) {
			return event.Diagnostic{}, false
		}
		return event.Diagnostic{Severity: event.Error, Message: "make: " + strings.TrimSuffix(m[1], ".  Stop.")}, true
	}
	if m := makefileLine.FindStringSubmatch(line); m != nil {
		return event.Diagnostic{File: m[1], Line: number(m[2]), Severity: event.Error, Message: strings.TrimSuffix(m[3], ".  Stop.")}, true
	}
	if m := linkerTool.FindStringSubmatch(line); m != nil && !strings.Contains(m[2], "in function") {
		d := event.Diagnostic{Severity: event.Error, Message: "ld: " + m[2]}
		if strings.HasPrefix(m[2], "warning: ") {
			d.Severity, d.Message = event.Warn, "ld: "+strings.TrimPrefix(m[2], "warning: ")
		}
		return d, true
	}
	if m := driverLine.FindStringSubmatch(line); m != nil {
		return event.Diagnostic{Severity: severity(m[2]), Message: filepath.Base(m[1]) + ": " + m[3]}, true
	}
	if m := dtcLine.FindStringSubmatch(line); m != nil {
		return event.Diagnostic{File: m[1], Line: number(m[2]), Column: number(m[3]), Severity: severity(m[4]), Message: m[5]}, true
	}
	if m := dtcError.FindStringSubmatch(line); m != nil {
		return event.Diagnostic{File: m[1], Line: number(m[2]), Column: number(m[3]), Severity: event.Error, Message: m[4]}, true
	}
	if m := rustLine.FindStringSubmatch(line); m != nil && !rustTotals.MatchString(m[2]) {
		return event.Diagnostic{Severity: severity(m[1]), Message: m[2]}, true
	}
	return event.Diagnostic{}, false
}

// parsePlace finds the place of a diagnostic in a line that follows its first.
func parsePlace(line string) (file string, n, column int, ok bool) {
	if m := rustPlace.FindStringSubmatch(line); m != nil {
		return m[1], number(m[2]), number(m[3]), true
	}
	if m := lldPlace.FindStringSubmatch(line); m != nil {
		return m[1], number(m[2]), 0, true
	}
	return "", 0, 0, false
}

// isExpansion recognises gcc's note on where a macro is used.
func isExpansion(d event.Diagnostic) bool {
	return d.Severity == event.Note && strings.HasPrefix(d.Message, "in expansion of macro ")
}

// isContext recognises the lines that compilers print before a diagnostic.
func isContext(line string) bool {
	return strings.HasPrefix(line, "In file included from ") || strings.HasPrefix(line, "                 from ") ||
		strings.HasPrefix(line, "In function ") || inlinedFrom.MatchString(line) ||
		strings.Contains(line, ": In function ") || strings.Contains(line, ": in function ") ||
		strings.HasSuffix(line, ": At top level:") || strings.HasSuffix(line, ": Assembler messages:")
}

// isDetail recognises the lines that follow a diagnostic: an excerpt of the
// source, a caret, an explanation.
func isDetail(line string) bool {
	return strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") || strings.HasPrefix(line, ">>> ") ||
		excerptLine.MatchString(line) || kconfigMore.MatchString(line)
}

func severity(word string) event.Severity {
	switch strings.ToLower(word) {
	case "error":
		return event.Error
	case "warning":
		return event.Warn
	}
	return event.Note
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}
