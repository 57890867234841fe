// SPDX-License-Identifier: GPL-3.0-only

// Package graph tells what a saved file rebuilds. It reads the .cmd files that the
// kernel's build writes beside each target (scripts/basic/fixdep.c and cmd_and_savecmd in
// scripts/Kbuild.include), which list what a target was made from, and keeps what they say
// in one compact file.
//
// A Graph knows what the last build read. It doesn't know what make's rules name without
// recording it: Makefiles, Kconfig files, scripts, and the inputs of some generated files.
package graph
