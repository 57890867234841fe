// SPDX-License-Identifier: GPL-3.0-only

package decode

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/elffile"
)

// maxSection bounds a section that must be unpacked, in bytes.
const maxSection = 4 << 30

// A File is vmlinux, a module or an object. Its methods are safe for concurrent use.
type File struct {
	path string
	data []byte // mapped
	elf  *elf.File
	base []uint64 // of each section, as addresses are counted here

	mu      sync.Mutex
	names   map[string][]symbol
	bounds  []uint64 // where symbols of code begin, sorted
	symsErr error
	info    *info
	infoErr error
}

// A symbol is one that may be code.
type symbol struct {
	addr, size uint64
	last       uint64 // end of its section; 0 unless the file is relocatable
	source     string // of a local one: its source file, without directories
}

// Open maps a file. It doesn't look at the symbols and the debug information yet.
func Open(path string) (_ *File, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() <= 0 || st.Size() > math.MaxInt {
		return nil, fmt.Errorf("%s is no ELF file", path)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	file := &File{path: path, data: data}
	err = file.guard(func() (err error) {
		file.elf, err = elffile.NewFile(bytes.NewReader(data))
		return err
	})
	if err == nil {
		err = file.place()
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Close gives the memory back. No other method may be called then.
func (f *File) Close() error {
	data := f.data
	f.data = nil
	if data == nil {
		return nil
	}
	return unix.Munmap(data)
}

// Path is the file's name, as Open was given it.
func (f *File) Path() string { return f.path }

// guard calls do, and returns an error where it panics: on a file that is damaged, or
// that somebody makes shorter while it is read.
func (f *File) guard(do func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", f.path, err)
		}
	}()
	return do()
}

// place gives each section its address. In a relocatable file all of them are at 0;
// here they follow each other.
func (f *File) place() error {
	f.base = make([]uint64, len(f.elf.Sections))
	next := uint64(1 << 12)
	for i, s := range f.elf.Sections {
		if f.elf.Type != elf.ET_REL {
			f.base[i] = s.Addr
			continue
		}
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if s.Size > 1<<40 {
			return fmt.Errorf("%s: section %s is too large", f.path, s.Name)
		}
		align := min(max(s.Addralign, 16), 1<<20)
		next = (next + align - 1) / align * align
		f.base[i] = next
		next += s.Size + 1 // an address behind the last function belongs to no other section
	}
	return nil
}

// contents returns what is in a section, unpacked.
func (f *File) contents(s *elf.Section) ([]byte, error) {
	switch {
	case s.Type == elf.SHT_NOBITS:
		return nil, nil
	case s.Size > maxSection:
		return nil, fmt.Errorf("section %s is too large", s.Name)
	case s.Flags&elf.SHF_COMPRESSED != 0 || strings.HasPrefix(s.Name, ".zdebug_"):
		return s.Data()
	case s.Offset > uint64(len(f.data)) || s.FileSize > uint64(len(f.data))-s.Offset:
		return nil, fmt.Errorf("section %s isn't in the file", s.Name)
	}
	return f.data[s.Offset : s.Offset+s.FileSize : s.Offset+s.FileSize], nil
}

// noteGNUBuildID is NT_GNU_BUILD_ID of elf.h.
const noteGNUBuildID = 3

// BuildID is the build id in hexadecimal digits; empty without any.
func (f *File) BuildID() string {
	var id string
	_ = f.guard(func() error { // what can't be read has none
		for _, s := range f.elf.Sections {
			if s.Type != elf.SHT_NOTE {
				continue
			}
			data, err := f.contents(s)
			if err != nil {
				continue
			}
			if id = buildID(data, f.elf); id != "" {
				break
			}
		}
		return nil
	})
	return id
}

// buildID looks for a build id among notes.
func buildID(notes []byte, file *elf.File) string {
	order := file.ByteOrder
	padded := func(n uint32) uint64 { return (uint64(n) + 3) &^ 3 }
	for len(notes) >= 12 {
		name, desc, kind := order.Uint32(notes), order.Uint32(notes[4:]), order.Uint32(notes[8:])
		notes = notes[12:]
		if padded(name)+uint64(desc) > uint64(len(notes)) {
			return ""
		}
		owner, value := string(notes[:name]), notes[padded(name):padded(name)+uint64(desc)]
		if kind == noteGNUBuildID && owner == "GNU\x00" {
			return hex.EncodeToString(value)
		}
		notes = notes[min(padded(name)+padded(desc), uint64(len(notes))):]
	}
	return ""
}

// maxBanner bounds the length of a banner.
const maxBanner = 4 << 10

// Banner is the line with which this kernel begins its log, "Linux version …"; empty
// for what is no vmlinux.
func (f *File) Banner() string {
	var banner string
	_ = f.guard(func() error { // what can't be read has none
		symbols, err := elffile.Symbols(f.elf)
		if err != nil {
			return err
		}
		for _, s := range symbols {
			if s.Name != "linux_banner" || int(s.Section) >= len(f.elf.Sections) {
				continue
			}
			section := f.elf.Sections[s.Section]
			data, err := f.contents(section)
			if err != nil {
				return err
			}
			at := s.Value - section.Addr
			if at >= uint64(len(data)) {
				return nil
			}
			data = data[at:min(at+maxBanner, uint64(len(data)))]
			text, _, ended := bytes.Cut(data, []byte{0})
			if ended {
				banner = strings.TrimSpace(string(text))
			}
			return nil
		}
		return nil
	})
	return banner
}

// load reads the symbols, once.
func (f *File) load() error {
	if f.names != nil || f.symsErr != nil {
		return f.symsErr
	}
	f.symsErr = f.guard(func() error {
		symbols, err := elffile.Symbols(f.elf)
		if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
			return err
		}
		names := make(map[string][]symbol)
		source := "" // stands before the local symbols of its object
		for _, s := range symbols {
			kind := elf.ST_TYPE(s.Info)
			if kind == elf.STT_FILE {
				source = s.Name
			}
			if int(s.Section) >= len(f.elf.Sections) || s.Section == elf.SHN_UNDEF || kind == elf.STT_SECTION || kind == elf.STT_FILE || unlisted(s.Name) {
				continue
			}
			section := f.elf.Sections[s.Section]
			if section.Flags&elf.SHF_EXECINSTR == 0 {
				continue
			}
			found := symbol{addr: s.Value, size: s.Size}
			if elf.ST_BIND(s.Info) == elf.STB_LOCAL {
				found.source = source
			}
			if f.elf.Type == elf.ET_REL {
				found.addr += f.base[s.Section]
				found.last = f.base[s.Section] + section.Size
			}
			names[s.Name] = append(names[s.Name], found)
			f.bounds = append(f.bounds, found.addr)
		}
		for _, s := range f.elf.Sections {
			if s.Flags&elf.SHF_EXECINSTR != 0 && f.elf.Type != elf.ET_REL {
				f.bounds = append(f.bounds, s.Addr+s.Size)
			}
		}
		slices.Sort(f.bounds)
		f.bounds = slices.Compact(f.bounds)
		f.names = names
		return nil
	})
	return f.symsErr
}

// unlisted says whether the kernel's own table leaves a symbol out: local labels, and
// marks of where data begins in code. See is_ignored_symbol in scripts/kallsyms.c.
func unlisted(name string) bool {
	return name == "" || name[0] == '$' || strings.HasPrefix(name, ".L") || strings.HasPrefix(name, "L0")
}

// maxPadding is how many bytes may be between a function and the next one.
const maxPadding = 256

// Find returns the addresses of the symbols with a name that are as long as the kernel
// says, or of all with the name if size is 0. The kernel counts up to the next symbol.
func (f *File) Find(name string, size uint64) ([]uint64, error) { return f.find(name, size, 0) }

// find is Find; it looks for symbols of the size code unless that is 0.
func (f *File) find(name string, size, code uint64) ([]uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var addrs []uint64
	for _, s := range f.match(name, size, code) {
		addrs = append(addrs, s.addr)
	}
	slices.Sort(addrs)
	return slices.Compact(addrs), f.symsErr
}

// match returns the symbols that find looks for. A size that is exactly as the kernel
// counts it comes before the one that the symbol says, and this one before any that is
// possible: the kernel's table may lack the symbol behind, and in a module the last
// function of a section reaches to the next section.
func (f *File) match(name string, size, code uint64) []symbol {
	if f.load() != nil {
		return nil
	}
	var counted, said, possible []symbol
	for _, s := range f.names[name] {
		i := sort.Search(len(f.bounds), func(i int) bool { return f.bounds[i] > s.addr })
		switch {
		case code > 0 && s.size != code:
		case code > 0 || size == 0 || i < len(f.bounds) && f.bounds[i]-s.addr == size:
			counted = append(counted, s)
		case s.size == size:
			said = append(said, s)
		case s.size > 0 && s.size <= size && size-s.size < maxPadding, f.bound(s.addr + size), s.last > 0 && f.isLast(s) && s.size <= size:
			possible = append(possible, s)
		}
	}
	for _, found := range [][]symbol{counted, said} {
		if len(found) > 0 {
			return found
		}
	}
	return possible
}

// bound says whether a symbol begins at an address.
func (f *File) bound(addr uint64) bool {
	_, found := slices.BinarySearch(f.bounds, addr)
	return found
}

// isLast says whether no symbol of its section follows a symbol. For the kernel, such a
// one reaches to wherever the next section's first one was put.
func (f *File) isLast(s symbol) bool {
	i := sort.Search(len(f.bounds), func(i int) bool { return f.bounds[i] > s.addr })
	return i == len(f.bounds) || f.bounds[i] >= s.last
}

// function is the function of a name and a size, as the kernel counts it; ok is false if
// there is none, or more than one.
func (f *File) function(name string, size uint64) (found Function, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, s := range f.match(name, size, 0) {
		own := Function{Name: name, Size: s.size, Source: s.source}
		if i > 0 && own != found {
			return Function{}, false
		}
		found, ok = own, true
	}
	return found, ok
}

// HasLines says whether the file has debug information.
func (f *File) HasLines() bool {
	for _, s := range f.elf.Sections {
		if (s.Name == ".debug_line" || s.Name == ".zdebug_line") && s.Size > 0 {
			return true
		}
	}
	return false
}

// debugData reads the sections of debug information.
func (f *File) debugData() (*info, error) {
	sections := make(map[string][]byte)
	for i, s := range f.elf.Sections {
		name, ok := strings.CutPrefix(s.Name, ".debug_")
		if !ok {
			name, ok = strings.CutPrefix(s.Name, ".zdebug_")
		}
		switch name {
		case "abbrev", "addr", "aranges", "info", "line", "line_str", "ranges", "rnglists", "str", "str_offsets":
		default:
			continue
		}
		if !ok {
			continue
		}
		data, err := f.contents(s)
		if err != nil {
			return nil, err
		}
		if f.elf.Type == elf.ET_REL {
			if data, err = f.relocate(i, data); err != nil {
				return nil, fmt.Errorf("section %s: %w", s.Name, err)
			}
		}
		sections[name] = data
	}
	d, err := dwarf.New(sections["abbrev"], nil, nil, sections["info"], sections["line"], nil, sections["ranges"], sections["str"])
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"addr", "line_str", "rnglists", "str_offsets"} {
		if data := sections[name]; data != nil {
			if err := d.AddSection(".debug_"+name, data); err != nil {
				return nil, err
			}
		}
	}
	return newInfo(d, f.elf.ByteOrder, sections["info"], sections["aranges"])
}
