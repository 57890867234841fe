// SPDX-License-Identifier: GPL-3.0-only

// Package kconfig reads and writes the kernel's .config files, knows what a
// guest requires of one, and changes it so that it meets the requirements.
//
// # Profiles
//
// The requirements are annotated configuration fragments, embedded from
// profile/, one file a group. The first paragraph of a file describes the
// group. The comment above an option says why it is required, and after
// "Without:" what happens without it. An option without a reason has that of
// the option before it in the same paragraph. A comment that begins with "#:"
// holds annotations:
//
//	optional  not met is no failure: not every kernel has it
//	m         a module will do
//	exact     what is =m may not be built in
//	min       the number is the least that will do
//	min:64    so, and 64 is what is set where it is less
//	before:V  the kernel knows the option until before version V
//	seen      what is said to happen without the option was seen in a guest
//	          without it (see scripts/symptoms); else it's to be expected
//	x86 …     only for the architectures named
//
// Values may contain ${variables}.
package kconfig
