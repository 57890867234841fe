// SPDX-License-Identifier: GPL-3.0-only

// Package doctor examines a host: what of that which building, booting and
// watching a kernel takes is there, what is missing, for what, and the command
// that installs it.
package doctor
