// SPDX-License-Identifier: GPL-3.0-only

// Package kmake reads Kbuild files as far as it takes to count what a build compiles.
//
// It knows variables, conditionals, includes, and those of make's functions that work on
// words. It runs nothing: $(shell …) and $(call …) expand to nothing. So the result is an
// estimate; of what is built from a configuration, it misses what such a function names,
// and what make does before and after its walk through the directories.
package kmake
