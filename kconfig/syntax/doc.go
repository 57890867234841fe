// SPDX-License-Identifier: GPL-3.0-only

// Package syntax parses the Kconfig language with its macros.
//
// The language is that of Documentation/kbuild/kconfig-language.rst and
// kconfig-macro-language.rst in the kernel's tree. The tree that Parse returns
// is what was written: nothing is inherited, simplified or evaluated, and each
// entry and each property knows its place.
package syntax
