// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"
)

// pvhEntry is the first C function of the PVH entry point, in
// arch/x86/platform/pvh/enlighten.c.
const pvhEntry = "xen_prepare_pvh"

// maxEntry is more than the size of any such function: the file may be broken.
const maxEntry = 1 << 20

// kasan is what the names of the functions begin with that the compiler calls for KASAN.
const kasan = "__asan_"

// helpers are what the entry point may call of the kernel's library, where the compiler
// doesn't do it in place. They may call KASAN when the entry point doesn't.
var helpers = []string{"memcmp", "memcpy", "memset", "strcmp", "strncmp"}

// checkPVH says whether an x86 vmlinux would reset itself because its PVH entry point
// calls KASAN, itself or by a helper, before there is the memory which that uses. It finds nothing in a file
// without symbols.
func checkPVH(path string) error {
	if !callsKASAN(path) {
		return nil
	}
	hint := "boot the bzImage of the same build: `make bzImage` makes arch/x86/boot/bzImage"
	if image := filepath.Join(filepath.Dir(path), "arch/x86/boot/bzImage"); exists(image) {
		hint = "boot the bzImage of the same build: " + image
	}
	return &ImageError{path, "would reset itself at its first instructions: CONFIG_KASAN=y instruments its PVH entry point", hint}
}

// callsKASAN says whether the PVH entry point of a vmlinux calls KASAN, as far as that
// can be seen.
func callsKASAN(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	// Most kernels have none of the names, and their symbols needn't be parsed.
	names := f.Section(".strtab")
	if names == nil {
		return false
	}
	text, err := names.Data()
	if err != nil || !bytes.Contains(text, []byte("\x00"+kasan)) {
		return false
	}
	symbols, err := f.Symbols()
	if err != nil {
		return false
	}
	functions := make(map[uint64]bool) // KASAN's, by address
	for _, s := range symbols {
		// The latter is what its own memcpy and memset call.
		if strings.HasPrefix(s.Name, kasan) || s.Name == "kasan_check_range" {
			functions[s.Value] = true
		}
	}
	for _, s := range symbols {
		if slices.Contains(helpers, s.Name) && calls(codeOf(f, s), s.Value, functions) {
			functions[s.Value] = true
		}
	}
	for _, s := range symbols {
		// What is unlikely the compiler puts into a function of its own.
		if (s.Name == pvhEntry || s.Name == pvhEntry+".cold") && calls(codeOf(f, s), s.Value, functions) {
			return true
		}
	}
	return false
}

// codeOf returns a function's code; nil where it isn't in the file.
func codeOf(f *elf.File, s elf.Symbol) []byte {
	if int(s.Section) >= len(f.Sections) || s.Size > maxEntry {
		return nil
	}
	section := f.Sections[s.Section]
	if section.ReaderAt == nil {
		return nil // it is compressed, which no kernel's code is
	}
	code := make([]byte, s.Size)
	if _, err := section.ReadAt(code, int64(s.Value-section.Addr)); err != nil {
		return nil
	}
	return code
}

// calls says whether x86 code at address has a direct call of one of functions. It
// doesn't know where instructions begin: that other bytes make the address of one of few
// functions is as good as impossible.
func calls(code []byte, address uint64, functions map[uint64]bool) bool {
	const call, length = 0xe8, 5
	for i := 0; i+length <= len(code); i++ {
		if code[i] != call {
			continue
		}
		offset := int32(binary.LittleEndian.Uint32(code[i+1:]))
		if functions[address+uint64(i)+length+uint64(int64(offset))] {
			return true
		}
	}
	return false
}
