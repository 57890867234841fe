// SPDX-License-Identifier: GPL-3.0-only

// Package tree reads the Kconfig files of a kernel's source tree in the
// environment that the kernel's Makefile gives to conf.
package tree
