// SPDX-License-Identifier: GPL-3.0-only

// Package elffile reads ELF files that may be hostile. debug/elf unpacks a compressed
// section whole, however large it becomes, also those with the names of sections and of
// symbols, which no tool compresses.
package elffile

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxTable bounds a section that is read whole, in bytes. The symbols of a kernel with
// everything in it take 100 MB.
const maxTable = 1 << 30

// Open is elf.Open, and refuses a file whose names of sections are compressed.
func Open(path string) (*elf.File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = checkNames(r)
	_ = r.Close()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return elf.Open(path)
}

// NewFile is elf.NewFile, and refuses a file whose names of sections are compressed.
func NewFile(r io.ReaderAt) (*elf.File, error) {
	if err := checkNames(r); err != nil {
		return nil, err
	}
	return elf.NewFile(r)
}

// Symbols are those of a file's symbol table.
func Symbols(f *elf.File) ([]elf.Symbol, error) {
	if table := f.SectionByType(elf.SHT_SYMTAB); table != nil {
		if err := check(table); err != nil {
			return nil, err
		}
		if int(table.Link) < len(f.Sections) {
			if err := check(f.Sections[table.Link]); err != nil {
				return nil, err
			}
		}
	}
	return f.Symbols()
}

// Data is what is in a section that no tool compresses.
func Data(s *elf.Section) ([]byte, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	return s.Data()
}

func check(s *elf.Section) error {
	switch {
	case s.ReaderAt == nil:
		return fmt.Errorf("section %s is compressed", s.Name)
	case s.Size > maxTable:
		return fmt.Errorf("section %s is too large", s.Name)
	}
	return nil
}

// checkNames looks at the header of the section with the names of sections. Whether the
// rest is in order, debug/elf says.
func checkNames(r io.ReaderAt) error {
	var ident [elf.EI_NIDENT]byte
	if _, err := r.ReadAt(ident[:], 0); err != nil {
		return nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(ident[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	read := func(at int64, v any) bool {
		return binary.Read(io.NewSectionReader(r, at, int64(binary.Size(v))), order, v) == nil
	}
	// header returns the flags, the size and the link of a section.
	var header func(i int64) (flags elf.SectionFlag, size uint64, link int64, ok bool)
	var names int64
	switch elf.Class(ident[elf.EI_CLASS]) {
	case elf.ELFCLASS64:
		var h elf.Header64
		if !read(0, &h) {
			return nil
		}
		names = int64(h.Shstrndx)
		header = func(i int64) (elf.SectionFlag, uint64, int64, bool) {
			var s elf.Section64
			ok := read(int64(h.Shoff)+i*int64(h.Shentsize), &s)
			return elf.SectionFlag(s.Flags), s.Size, int64(s.Link), ok
		}
	case elf.ELFCLASS32:
		var h elf.Header32
		if !read(0, &h) {
			return nil
		}
		names = int64(h.Shstrndx)
		header = func(i int64) (elf.SectionFlag, uint64, int64, bool) {
			var s elf.Section32
			ok := read(int64(h.Shoff)+i*int64(h.Shentsize), &s)
			return elf.SectionFlag(s.Flags), uint64(s.Size), int64(s.Link), ok
		}
	default:
		return nil
	}
	if names == int64(elf.SHN_XINDEX) {
		// With so many sections, the first one says it.
		_, _, names, _ = header(0)
	}
	flags, size, _, ok := header(names)
	switch {
	case !ok:
		return nil
	case flags&elf.SHF_COMPRESSED != 0:
		return errors.New("the names of its sections are compressed")
	case size > maxTable:
		return errors.New("the names of its sections are too large")
	}
	return nil
}
