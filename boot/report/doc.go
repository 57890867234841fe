// SPDX-License-Identifier: GPL-3.0-only

// Package report finds what a Linux kernel prints on its console when something is
// wrong: panics, oopses, warnings, the reports of the sanitizers, of lockdep, of
// stalls and leaks. It tells how far each report reaches, what class it is of, which
// function is to blame, and gives it a title that doesn't change between two
// occurrences.
//
// A Parser takes a console piece by piece, as it comes; Parse takes a whole log. Both
// keep a bounded amount of memory.
//
// # What counts as the kernel's
//
// Programs write to the console as well, and quote reports. Once one message had a
// time before it (CONFIG_PRINTK_TIME), lines without one aren't the kernel's. The kernel
// doesn't wait until a program has ended its line, so a time may stand in the middle
// of one; such a message counts if it isn't older than others, and if the kernel goes
// on with the report. A message that was printed before, at the same time with the
// same text, is a copy of the log: dmesg or syslogd made it.
//
// Where processors print at the same time, CONFIG_PRINTK_CALLER keeps their reports
// apart.
//
// # How it works
//
// line.go cuts a line into messages and takes away their prefixes. kinds.go is the
// table of headlines: to teach the parser a new one, add a row. parser.go collects the
// messages of each open report, with shape.go's help to see where it ends, and
// frame.go reads the call traces. When a report is complete, title.go names it, for
// which guilty.go looks for the function to blame and machinery.go knows which
// functions never are.
package report
