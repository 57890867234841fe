// SPDX-License-Identifier: GPL-3.0-only

// Package control lets other processes of the same user act on a VM. The
// process that owns the VM serves SSH on an abstract unix socket, whose name
// comes from the build directory, and passes channels on to the guest's agent.
//
// The name is a lock as well: it can be bound once, and it vanishes with its
// owner, so that neither a stale socket nor a stale lock can be left.
package control
