// SPDX-License-Identifier: GPL-3.0-only

// Package cycle is one pass: check .config, build, boot. It joins kconfig,
// kbuild and boot, which don't know each other.
package cycle
