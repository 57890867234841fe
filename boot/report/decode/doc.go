// SPDX-License-Identifier: GPL-3.0-only

// Package decode turns the frames of a report into files and lines, with the functions
// that were inlined there. It reads the debug information of vmlinux, of modules and of
// objects: DWARF 2 to 5, compressed or not, of relocatable files as well.
//
// A File is one ELF file. A Build decodes whole reports with the files of one build.
//
// # How a frame finds its address
//
// A frame names a symbol, an offset in it, and the symbol's size: "foo+0x12/0x34 [mod]".
// So it doesn't matter where the kernel or the module was loaded. Where several symbols
// have the name, the size tells which one is meant; where it doesn't, nothing is decoded
// unless all of them have the same lines. A size that fits none of them says that the
// file belongs to another build.
//
// # What the lines are
//
// They are those of scripts/decode_stacktrace.sh, which asks addr2line -i: the line of
// the address as it was printed. For a caller that is the address to which the call
// returns, so its line may be that of the next statement. Only where a call is the last
// instruction of its function, which never returns, the line is that of the call: the
// address belongs to another function.
//
// Unlike the script, which only looks at the first symbol of a name, and at the first
// section of a module, this package chooses by size and by section.
//
// # What it costs
//
// A file is mapped, not read. Of its debug information only the units with an address
// in question are parsed: .debug_aranges tells them, or their root entries where a
// compiler has left that out.
package decode
