// SPDX-License-Identifier: GPL-3.0-only

// Package bounds computes what the symbols of a Kconfig tree can be in any
// configuration at all.
//
// It is the second opinion on what can't be had. The solver in package solver
// searches for edits and may overlook a way; what it finds no way to is only called
// impossible when this package, which shares no code with it, agrees. The values of
// a symbol are bounded from those of the symbols that it depends on, each on its
// own: what is out of bounds is out of reach, while what is within may still be.
package bounds
