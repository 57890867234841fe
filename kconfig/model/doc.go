// SPDX-License-Identifier: GPL-3.0-only

// Package model evaluates Kconfig trees as the kernel's own conf does, to the
// byte: values, .config files, and the warnings about them.
//
// A Model is a tree of Kconfig files with all that is inherited in it. A State
// is what the user has set, and the values that follow. Which of the differences
// between the conf of one kernel and the next hold is a Dialect, found in the
// tree's scripts/kconfig.
package model
