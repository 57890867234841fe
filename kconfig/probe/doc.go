// SPDX-License-Identifier: GPL-3.0-only

// Package probe runs the commands of $(shell) in Kconfig files, as many at once
// as there are processors, and keeps what they wrote on disk for as long as
// nothing that they use has changed.
package probe
