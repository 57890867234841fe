// SPDX-License-Identifier: GPL-3.0-only

// Package guest is what run-kernel runs inside the VM: the first process, which
// brings up the userland, and the agent, an SSH server on a virtio-serial port,
// through which the host runs commands. Both live in one process, so that no
// second program has to be loaded before the guest answers.
package guest
