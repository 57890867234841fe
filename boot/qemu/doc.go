// SPDX-License-Identifier: GPL-3.0-only

// Package qemu describes a virtual machine as values and turns them into
// qemu's command line, finds the program and the accelerator, and speaks QMP.
//
// Machine.Args is a pure function: what it needs to know of the host is in
// the Machine. The descriptors that qemu inherits appear in it by number.
package qemu
