// SPDX-License-Identifier: GPL-3.0-only

// Package lines names the frames of reports to file and line, by the build directory of
// the kernel that made them: its vmlinux, its modules, and, where these have no debug
// information, its objects, which it compiles once more beside the build. It also finds
// the line at fault in the source, with its neighbours.
package lines
