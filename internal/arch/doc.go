// SPDX-License-Identifier: GPL-3.0-only

// Package arch is the one table of processor architectures: what the kernel, qemu,
// Go, ELF files and distributions call each, and how a guest of it is started.
// Nothing else in run-kernel may decide by an architecture's name: what differs is
// a field of its row. A new architecture is a new row in table.go, and the
// requirements of its console in kconfig/profile.
package arch
