// SPDX-License-Identifier: GPL-3.0-only

// Package prepare does what comes before a boot: the requirements of .config, the
// fix, the build, and the options of the guest. It joins kconfig, kbuild and boot,
// which don't know each other.
package prepare
