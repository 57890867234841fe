// SPDX-License-Identifier: GPL-3.0-only

// Package readonly makes directories of the host impossible to write for whoever
// serves them to a guest: the kernel itself refuses, so that not even a guest that
// breaks into the server gets further.
package readonly
