// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/internal/elffile"
)

// pvhEntry is the first C function of the PVH entry point, in
// arch/x86/platform/pvh/enlighten.c.
const pvhEntry = "xen_prepare_pvh"

// maxEntry is more than the size of any such function: the file may be broken.
const maxEntry = 1 << 20

// A sanitizer calls functions of its own, which use memory that there isn't yet at the PVH
// entry point.
type sanitizer struct {
	option string
	prefix string // of the names of what the compiler calls
	check  string // what its own memcpy and memset call
	harm   string
}

var sanitizers = []sanitizer{
	{"CONFIG_KASAN", "__asan_", "kasan_check_range", "would reset itself at its first instructions"},
	// Its counters are variables of each processor. Until these have their place, they
	// are counted down anywhere.
	{"CONFIG_KCSAN", "__tsan_", "", "would overwrite its own memory at its first instructions"},
}

// helpers are what the entry point may call of the kernel's library, where the compiler
// doesn't do it in place. They may call a sanitizer when the entry point doesn't.
var helpers = []string{"memcmp", "memcpy", "memset", "strcmp", "strncmp"}

// checkPVH says whether the PVH entry point of an x86 vmlinux calls a sanitizer, itself or by
// a helper. It finds nothing in a file without symbols.
func checkPVH(path string) error {
	f, err := elffile.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	// Most kernels have none of the names, and their symbols needn't be parsed.
	names := f.Section(".strtab")
	if names == nil {
		return nil
	}
	text, err := elffile.Data(names)
	if err != nil {
		return nil
	}
	for _, s := range sanitizers {
		if !bytes.Contains(text, []byte("\x00"+s.prefix)) || !s.isCalled(f) {
			continue
		}
		hint := "boot the bzImage of the same build: `make bzImage` makes arch/x86/boot/bzImage"
		if image := filepath.Join(filepath.Dir(path), "arch/x86/boot/bzImage"); exists(image) {
			hint = "boot the bzImage of the same build: " + image
		}
		return &ImageError{path, s.harm + ": " + s.option + "=y instruments its PVH entry point", hint}
	}
	return nil
}

// isCalled says whether the PVH entry point of a vmlinux calls the sanitizer, as far as that
// can be seen.
func (a *sanitizer) isCalled(f *elf.File) bool {
	symbols, err := elffile.Symbols(f)
	if err != nil {
		return false
	}
	functions := make(map[uint64]bool) // the sanitizer's, by address
	for _, s := range symbols {
		if strings.HasPrefix(s.Name, a.prefix) || s.Name == a.check && a.check != "" {
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
