// SPDX-License-Identifier: GPL-3.0-only

// Package leftover finds what a run has left behind: processes, sockets, mounts
// and files. It is for tests.
package leftover
