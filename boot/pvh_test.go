// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A function is a symbol of a vmlinux, with its code.
type function struct {
	name string
	code []byte
	size uint64 // that the symbol says; 0: the right one
}

// Addresses and sizes of what writeVmlinux makes.
const (
	textAddress  = 0xffffffff81000000
	functionSize = 16 // that of each function
)

// callAt is a function of nops, and of one call at offset to the function with an
// index, from the function with the index own.
func callAt(own, offset, index int) []byte {
	code := bytes.Repeat([]byte{0x90}, functionSize)
	code[offset] = 0xe8
	target := int32(index*functionSize - own*functionSize - offset - 5)
	binary.LittleEndian.PutUint32(code[offset+1:], uint32(target))
	return code
}

// writeVmlinux writes an ELF file with functions.
func writeVmlinux(t *testing.T, path string, functions []function) {
	t.Helper()
	const sectionNames = "\x00.text\x00.symtab\x00.strtab\x00.shstrtab\x00"
	name := func(s string) uint32 { return uint32(strings.Index(sectionNames, "\x00"+s+"\x00") + 1) }
	var text, symbols bytes.Buffer
	table := "\x00"
	put := func(b *bytes.Buffer, v any) {
		if err := binary.Write(b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	put(&symbols, elf.Sym64{})
	for i, f := range functions {
		put(&symbols, elf.Sym64{
			Name: uint32(len(table)), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: 1,
			Value: textAddress + uint64(i*functionSize), Size: cmp.Or(f.size, functionSize),
		})
		table += f.name + "\x00"
		text.Write(f.code)
	}
	var out bytes.Buffer
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	header := elf.Header64{
		Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Ehsize: 64, Shentsize: 64, Shnum: 5, Shstrndx: 4,
	}
	offset := uint64(64)
	sections := []elf.Section64{{}}
	add := func(s elf.Section64, size int) {
		s.Off, s.Size = offset, uint64(size)
		sections = append(sections, s)
		offset += uint64(size)
	}
	add(elf.Section64{Name: name(".text"), Type: uint32(elf.SHT_PROGBITS), Addr: textAddress}, text.Len())
	add(elf.Section64{Name: name(".symtab"), Type: uint32(elf.SHT_SYMTAB), Link: 3, Entsize: elf.Sym64Size}, symbols.Len())
	add(elf.Section64{Name: name(".strtab"), Type: uint32(elf.SHT_STRTAB)}, len(table))
	add(elf.Section64{Name: name(".shstrtab"), Type: uint32(elf.SHT_STRTAB)}, len(sectionNames))
	header.Shoff = offset
	put(&out, header)
	out.Write(text.Bytes())
	out.Write(symbols.Bytes())
	out.WriteString(table + sectionNames)
	put(&out, sections)
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCheckPVH(t *testing.T) {
	nops := bytes.Repeat([]byte{0x90}, functionSize)
	// The functions are the sanitizer's, the entry point, and another.
	for _, test := range []struct {
		name      string
		functions []function
		want      string
	}{
		{"KASAN", []function{{"__asan_load4_noabort", nops, 0}, {pvhEntry, callAt(1, 3, 0), 0}}, "CONFIG_KASAN=y"},
		{"backwards", []function{{pvhEntry, callAt(0, 0, 1), 0}, {"__asan_report_load4_noabort", nops, 0}}, "CONFIG_KASAN=y"},
		{"KCSAN", []function{{"__tsan_read4", nops, 0}, {pvhEntry, callAt(1, 3, 0), 0}}, "overwrite its own memory at its first instructions: CONFIG_KCSAN=y"},
		{"KCSAN elsewhere", []function{{"__tsan_read4", nops, 0}, {pvhEntry, nops, 0}, {"start_kernel", callAt(2, 3, 0), 0}}, ""},
		{"the last bytes", []function{{"__asan_load4_noabort", nops, 0}, {pvhEntry, callAt(1, functionSize-5, 0), 0}}, "CONFIG_KASAN=y"},
		{"the unlikely part", []function{{"__asan_load4_noabort", nops, 0}, {pvhEntry, nops, 0}, {pvhEntry + ".cold", callAt(2, 1, 0), 0}}, "CONFIG_KASAN=y"},
		{"an exempt entry point", []function{{"__asan_load4_noabort", nops, 0}, {pvhEntry, nops, 0}, {"start_kernel", callAt(2, 3, 0), 0}}, ""},
		{"another callee", []function{{"__asan_load4_noabort", nops, 0}, {pvhEntry, callAt(1, 3, 2), 0}, {"memcmp", nops, 0}}, ""},
		{"by memcmp", []function{{"__asan_loadN", nops, 0}, {pvhEntry, callAt(1, 3, 2), 0}, {"memcmp", callAt(2, 8, 0), 0}}, "CONFIG_KASAN=y"},
		{"by KASAN's memset", []function{{"__asan_load1", nops, 0}, {pvhEntry, callAt(1, 3, 2), 0}, {"memset", callAt(2, 8, 3), 0}, {"kasan_check_range", nops, 0}}, "CONFIG_KASAN=y"},
		{"a function that isn't called", []function{{"__asan_load1", nops, 0}, {pvhEntry, callAt(1, 3, 2), 0}, {"xen_pvh_init", callAt(2, 8, 0), 0}}, ""},
		{"no PVH", []function{{"__asan_load4_noabort", nops, 0}, {"start_kernel", callAt(1, 3, 0), 0}}, ""},
		{"no sanitizer", []function{{"memset", nops, 0}, {pvhEntry, callAt(1, 3, 0), 0}}, ""},
		{"a size beyond all bounds", []function{{"__asan_load4_noabort", nops, 0}, {pvhEntry, callAt(1, 3, 0), 1 << 60}}, ""},
		{"no symbols", nil, ""},
	} {
		path := filepath.Join(t.TempDir(), "vmlinux")
		writeVmlinux(t, path, test.functions)
		err := checkKernel(path, "x86_64")
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

// The message names the bzImage of the same build, where there is one.
func TestCheckPVHNamesTheImage(t *testing.T) {
	dir := t.TempDir()
	path, image := filepath.Join(dir, "vmlinux"), filepath.Join(dir, "arch/x86/boot/bzImage")
	nops := bytes.Repeat([]byte{0x90}, functionSize)
	writeVmlinux(t, path, []function{{"__asan_load4_noabort", nops, 0}, {pvhEntry, callAt(1, 3, 0), 0}})
	hint := func() string {
		t.Helper()
		e, ok := checkKernel(path, "x86_64").(*ImageError)
		if !ok {
			t.Fatal("not an ImageError")
		}
		return e.Hint()
	}
	if got := hint(); !strings.Contains(got, "make bzImage") {
		t.Errorf("without one: got %q", got)
	}
	if err := os.MkdirAll(filepath.Dir(image), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := hint(); !strings.HasSuffix(got, image) {
		t.Errorf("with one: got %q", got)
	}
}

// A kernel is from anywhere, and may say that its code is compressed.
func TestCompressedCode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vmlinux")
	head := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(elf.COMPRESS_ZLIB)), functionSize*2)
	writeVmlinux(t, path, []function{{"__asan_load4_noabort", head, 0}, {pvhEntry, callAt(1, 8, 0), 0}})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const sections, size, text, flags = 5, 64, 1, 8
	binary.LittleEndian.PutUint64(data[len(data)-(sections-text)*size+flags:], uint64(elf.SHF_EXECINSTR|elf.SHF_COMPRESSED))
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkKernel(path, "x86_64"); err != nil {
		t.Error(err)
	}
	s, err := openSymbols(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.returnsTo(textAddress + functionSize) {
		t.Error("its code was read")
	}
}

// Nobody knows how large a compressed table of symbols is.
func TestCompressedSymbols(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vmlinux")
	writeVmlinux(t, path, []function{{"__asan_load4_noabort", bytes.Repeat([]byte{0x90}, functionSize), 0}, {pvhEntry, callAt(1, 3, 0), 0}})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The first table of names is said to be compressed, to what its first words say.
	const sections, size, names, flags, offset = 5, 64, 3, 8, 24
	header := data[len(data)-(sections-names)*size:]
	binary.LittleEndian.PutUint64(header[flags:], uint64(elf.SHF_COMPRESSED))
	var zeros bytes.Buffer
	w := zlib.NewWriter(&zeros)
	_, _ = w.Write([]byte("\x00__asan_load4_noabort\x00" + pvhEntry + "\x00"))
	_, _ = w.Write(make([]byte, 64<<20))
	_ = w.Close()
	packed := binary.LittleEndian.AppendUint64(nil, uint64(elf.COMPRESS_ZLIB))
	packed = binary.LittleEndian.AppendUint64(packed, 64<<20)
	packed = append(binary.LittleEndian.AppendUint64(packed, 1), zeros.Bytes()...)
	binary.LittleEndian.PutUint64(header[offset:], uint64(len(data)))
	binary.LittleEndian.PutUint64(header[offset+8:], uint64(len(packed)))
	if err := os.WriteFile(path, append(data, packed...), 0o644); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := checkPVH(path); err != nil {
		t.Errorf("checkPVH: %v", err)
	}
	if s, err := openSymbols(path); err == nil {
		s.close()
		t.Error("its symbols were read")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("that took %d bytes", n)
	}
}
