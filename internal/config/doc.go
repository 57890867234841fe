// SPDX-License-Identifier: GPL-3.0-only

// Package config holds run-kernel's configuration: one struct, filled from
// defaults, files, the environment and flags, of which the later win, and the
// origin of each value.
package config
