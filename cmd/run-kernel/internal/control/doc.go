// SPDX-License-Identifier: GPL-3.0-only

// Package control lets other processes of the same user act on a VM. The process
// that owns the VM serves SSH on a unix socket in the user's private directory, and
// passes channels on to the guest's agent.
//
// A file in the build directory is the lock, and says where the socket is. The
// kernel takes the lock from a process that ends, however it ends, so that none is
// left behind; and a container and its host, which share no sockets but may share a
// build directory, exclude each other.
package control
