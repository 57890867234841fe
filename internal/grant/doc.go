// SPDX-License-Identifier: GPL-3.0-only

// Package grant has what of its host a guest is granted: directories, disks and
// ports. Each has one type, from the flag to qemu's arguments, and one form as
// text.
package grant
