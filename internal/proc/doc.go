// SPDX-License-Identifier: GPL-3.0-only

// Package proc runs child processes that cannot outlive run-kernel.
//
// A child started here leads a process group of its own and has a guard as its
// parent: this same executable, started again under another name. The guard
// holds one end of a socket whose other end only run-kernel has. When that end
// closes, for whatever reason (SIGKILL included), the guard kills the child's
// group and every other descendant. A parent-death signal would not do: it
// follows the thread that forked, reaches only the direct child and is lost
// when the child changes its credentials.
//
// A program that uses this package calls Main before anything else.
package proc
