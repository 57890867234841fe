// SPDX-License-Identifier: GPL-3.0-only

// Package boot runs a kernel in a VM: it shares the userland, starts qemu,
// waits until the guest's agent answers, runs commands in the guest, and tells
// how the guest ended.
package boot
