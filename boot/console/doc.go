// SPDX-License-Identifier: GPL-3.0-only

// Package console reads what a guest writes on its serial console: it keeps
// all of it in a file, the last lines in memory, and finds the kernel's reports
// of a crash.
package console
