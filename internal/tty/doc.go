// SPDX-License-Identifier: GPL-3.0-only

// Package tty lends the user's terminal to a guest: raw mode, the size and its
// changes, keys that act on run-kernel itself, and the terminal's settings given
// back however run-kernel ends.
//
// A program that uses this package calls Main before anything else.
package tty
