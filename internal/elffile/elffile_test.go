// SPDX-License-Identifier: GPL-3.0-only

package elffile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Sections of the file that the tests make.
const (
	symtab = 1 + iota
	strtab
	shstrtab
	sections
)

// file makes one with a symbol. What is compressed says that it is 1 TB of zeros.
func file(t *testing.T, class elf.Class, order binary.ByteOrder, compressed int) []byte {
	t.Helper()
	const names, strings = "\x00.symtab\x00.strtab\x00.shstrtab\x00", "\x00hello\x00"
	var out bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&out, order, v); err != nil {
			t.Fatal(err)
		}
	}
	data := elf.ELFDATA2LSB
	if order.String() == binary.BigEndian.String() {
		data = elf.ELFDATA2MSB
	}
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(class), byte(data), byte(elf.EV_CURRENT)}
	wide := class == elf.ELFCLASS64
	head, entry := 52, 40
	contents := [sections][]byte{}
	if wide {
		head, entry = 64, 64
		put([]elf.Sym64{{}, {Name: 1, Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC)}})
	} else {
		put([]elf.Sym32{{}, {Name: 1, Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC)}})
	}
	contents[symtab], contents[strtab], contents[shstrtab] = bytes.Clone(out.Bytes()), []byte(strings), []byte(names)
	if compressed > 0 {
		out.Reset()
		if wide {
			put(elf.Chdr64{Type: uint32(elf.COMPRESS_ZLIB), Size: 1 << 40})
		} else {
			put(elf.Chdr32{Type: uint32(elf.COMPRESS_ZLIB), Size: 1 << 31})
		}
		contents[compressed] = bytes.Clone(out.Bytes())
	}
	out.Reset()
	offset := head
	for _, c := range contents {
		offset += len(c)
	}
	if wide {
		put(elf.Header64{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: uint64(offset), Ehsize: 64, Shentsize: 64, Shnum: sections, Shstrndx: shstrtab})
	} else {
		put(elf.Header32{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_386), Version: 1, Shoff: uint32(offset), Ehsize: 52, Shentsize: 40, Shnum: sections, Shstrndx: shstrtab})
	}
	for _, c := range contents {
		out.Write(c)
	}
	offset = head
	for i, c := range contents {
		s := elf.Section64{Off: uint64(offset), Size: uint64(len(c)), Type: uint32(elf.SHT_STRTAB)}
		switch i {
		case 0:
			s.Type = uint32(elf.SHT_NULL)
		case symtab:
			s.Type, s.Link, s.Name = uint32(elf.SHT_SYMTAB), strtab, 1
		case strtab:
			s.Name = 9
		case shstrtab:
			s.Name = 17
		}
		if i > 0 && i == compressed {
			s.Flags = uint64(elf.SHF_COMPRESSED)
		}
		if wide {
			put(s)
		} else {
			put(elf.Section32{Name: s.Name, Type: s.Type, Flags: uint32(s.Flags), Off: uint32(s.Off), Size: uint32(s.Size), Link: s.Link})
		}
		offset += len(c)
	}
	if out.Len() != offset+sections*entry {
		t.Fatal("the file isn't what its header says")
	}
	return out.Bytes()
}

// What no tool compresses isn't unpacked: nobody knows how large it would be.
func TestCompressed(t *testing.T) {
	for _, class := range []elf.Class{elf.ELFCLASS64, elf.ELFCLASS32} {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			for compressed, want := range map[int]string{0: "", symtab: "section .symtab is compressed", strtab: "section .strtab is compressed", shstrtab: "the names of its sections are compressed"} {
				data := file(t, class, order, compressed)
				path := filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
				opened, openErr := Open(path)
				if openErr == nil {
					_ = opened.Close()
				}
				f, err := NewFile(bytes.NewReader(data))
				if (openErr == nil) != (err == nil) {
					t.Errorf("%s: Open: %v, NewFile: %v", class, openErr, err)
				}
				var symbols []elf.Symbol
				if err == nil {
					symbols, err = Symbols(f)
				}
				switch {
				case want == "" && (err != nil || len(symbols) != 1 || symbols[0].Name != "hello"):
					t.Errorf("%s, %s: got %v, %v", class, order, symbols, err)
				case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
					t.Errorf("%s, %s: got %v, want %s", class, order, err, want)
				}
				if compressed == strtab {
					if _, err := Data(f.Sections[strtab]); err == nil {
						t.Error("it was unpacked")
					}
				}
			}
		}
	}
}

// What is no ELF file is debug/elf's to refuse.
func TestNoELF(t *testing.T) {
	for _, text := range []string{"", "#!/bin/sh\n", "\x7fELF", "\x7fELF\x02\x01\x01" + strings.Repeat("\xff", 100)} {
		if f, err := NewFile(strings.NewReader(text)); err == nil {
			t.Errorf("%q: got %v", text, f)
		}
	}
}
