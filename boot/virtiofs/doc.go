// SPDX-License-Identifier: GPL-3.0-only

// Package virtiofs shares directories of the host with a guest: it finds a
// virtiofsd of either generation (the C one that came with qemu until 7.2, and
// the Rust one), starts one daemon a share, and sees to it that a read-only
// share can't be written whatever the guest, or the daemon, does.
package virtiofs
