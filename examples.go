// SPDX-License-Identifier: GPL-3.0-only

// Package runkernel holds the examples, for `run-kernel init` to write.
package runkernel

import "embed"

// Examples are the files of the directory examples.
//
//go:embed examples
var Examples embed.FS
