// SPDX-License-Identifier: GPL-3.0-only

// Package kbuild works on a kernel tree and its build directory: it finds them,
// runs make, always in the same environment, collects what the compiler says,
// and chooses the image to boot.
package kbuild
