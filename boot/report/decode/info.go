// SPDX-License-Identifier: GPL-3.0-only

package decode

import (
	"cmp"
	"debug/dwarf"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// A Place is where an address comes from in the source.
type Place struct {
	Function string // as the source names it; empty where the debug information has none
	File     string // as the compiler was given it, made absolute
	Line     int    // 0 when unknown
	Inlined  bool   // into the next place
}

// info is the debug information of a file.
type info struct {
	data   *dwarf.Data
	order  binary.ByteOrder
	spans  []span // of .debug_aranges, by their beginnings
	listed map[dwarf.Offset]bool
	others []span // of the units that .debug_aranges lacks, once they are needed
	units  map[dwarf.Offset]*unit
}

// A span is a piece of code of a unit.
type span struct {
	low, high uint64
	unit      dwarf.Offset // of its root entry
}

// A unit is a compilation unit with an address in question.
type unit struct {
	root      *dwarf.Entry
	files     []*dwarf.LineFile
	sequences []sequence
}

// A sequence is a piece of the line table without gaps.
type sequence struct {
	low, high uint64
	rows      []row
}

type row struct {
	addr uint64
	file *dwarf.LineFile
	line int
}

func newInfo(data *dwarf.Data, order binary.ByteOrder, sectionInfo, aranges []byte) (*info, error) {
	i := &info{data: data, order: order, listed: make(map[dwarf.Offset]bool), units: make(map[dwarf.Offset]*unit)}
	for len(aranges) > 0 {
		rest, err := i.readAranges(aranges, sectionInfo)
		if err != nil {
			return nil, err
		}
		aranges = rest
	}
	slices.SortFunc(i.spans, bySpan)
	return i, nil
}

func bySpan(a, b span) int { return cmp.Compare(a.low, b.low) }

var errAranges = errors.New(".debug_aranges is damaged")

// readAranges reads one set of address ranges, and returns what follows it. See
// section 6.1.2 of the DWARF 5 standard.
func (i *info) readAranges(b, sectionInfo []byte) (rest []byte, err error) {
	offsetSize, header := uint64(4), uint64(4)
	if len(b) < 4 {
		return nil, errAranges
	}
	length := uint64(i.order.Uint32(b))
	if length == 0xffffffff {
		if len(b) < 12 {
			return nil, errAranges
		}
		offsetSize, header, length = 8, 12, i.order.Uint64(b[4:])
	}
	if length > uint64(len(b))-header || length < 2+offsetSize+2 {
		return nil, errAranges
	}
	end := header + length
	rest = b[end:]
	b = b[:end]
	at := header + 2 // the version is 2 since DWARF 2
	offset := i.number(b[at:], offsetSize)
	at += offsetSize
	size, segment := uint64(b[at]), b[at+1]
	at += 2
	if size != 4 && size != 8 || segment != 0 {
		return rest, nil
	}
	root, ok := i.rootEntry(sectionInfo, offset)
	if !ok {
		return nil, errAranges
	}
	i.listed[root] = true
	at = (at + 2*size - 1) / (2 * size) * (2 * size)
	for ; at+2*size <= uint64(len(b)); at += 2 * size {
		low, length := i.number(b[at:], size), i.number(b[at+size:], size)
		if length > 0 {
			i.spans = append(i.spans, span{low, low + length, root})
		}
	}
	return rest, nil
}

func (i *info) number(b []byte, size uint64) uint64 {
	if size == 4 {
		return uint64(i.order.Uint32(b))
	}
	return i.order.Uint64(b)
}

// rootEntry is the offset of the first entry of the unit whose header is at offset.
func (i *info) rootEntry(data []byte, offset uint64) (root dwarf.Offset, ok bool) {
	if offset > uint64(len(data)) || len(data)-int(offset) < 16 {
		return 0, false
	}
	b := data[offset:]
	offsetSize, size := uint64(4), uint64(4)
	if i.order.Uint32(b) == 0xffffffff {
		offsetSize, size = 8, 12
	}
	version := i.order.Uint16(b[size:])
	size += 2 + offsetSize + 1
	if version >= 5 {
		size++
		if kind := b[size-offsetSize-2]; kind == unitSkeleton {
			size += 8 // its id
		}
	}
	return dwarf.Offset(offset + size), true
}

// unitSkeleton is DW_UT_skeleton.
const unitSkeleton = 0x04

// find returns the units that may have an address.
func (i *info) find(addr uint64) ([]dwarf.Offset, error) {
	if found := covering(i.spans, addr); len(found) > 0 {
		return found, nil
	}
	if i.others == nil {
		others, err := i.unlisted()
		if err != nil {
			return nil, err
		}
		i.others = others
	}
	return covering(i.others, addr), nil
}

// covering returns the units of the spans with an address, the one that begins last
// first. Spans hardly ever overlap.
func covering(spans []span, addr uint64) []dwarf.Offset {
	var found []dwarf.Offset
	end := sort.Search(len(spans), func(i int) bool { return spans[i].low > addr })
	for i, looked := end-1, 0; i >= 0 && looked < 64; i, looked = i-1, looked+1 {
		if s := spans[i]; addr < s.high && !slices.Contains(found, s.unit) {
			found = append(found, s.unit)
		}
	}
	return found
}

// unlisted returns the spans of the units that .debug_aranges lacks. clang doesn't write
// it.
func (i *info) unlisted() ([]span, error) {
	spans := []span{}
	r := i.data.Reader()
	for {
		e, err := r.Next()
		if err != nil {
			return nil, err
		}
		if e == nil {
			break
		}
		r.SkipChildren()
		if e.Tag != dwarf.TagCompileUnit && e.Tag != dwarf.TagSkeletonUnit || i.listed[e.Offset] {
			continue
		}
		ranges, err := i.data.Ranges(e)
		if err != nil {
			return nil, err
		}
		for _, r := range ranges {
			if r[1] > r[0] {
				spans = append(spans, span{r[0], r[1], e.Offset})
			}
		}
	}
	slices.SortFunc(spans, bySpan)
	return spans, nil
}

// unit reads the line table of a unit.
func (i *info) unit(offset dwarf.Offset) (*unit, error) {
	if u := i.units[offset]; u != nil {
		return u, nil
	}
	r := i.data.Reader()
	r.Seek(offset)
	root, err := r.Next()
	if err != nil {
		return nil, err
	}
	if root == nil {
		return nil, errors.New("a unit is missing")
	}
	u := &unit{root: root}
	lines, err := i.data.LineReader(root)
	if err != nil {
		return nil, err
	}
	if lines != nil {
		if err := u.read(lines); err != nil {
			return nil, err
		}
		u.files = lines.Files()
	}
	i.units[offset] = u
	return u, nil
}

// read takes a line table. Of several rows with the same address the last one counts, as
// it does for addr2line (add_line_info in bfd/dwarf2.c).
func (u *unit) read(lines *dwarf.LineReader) error {
	var rows []row
	var e dwarf.LineEntry
	for {
		switch err := lines.Next(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if !e.EndSequence {
			next := row{e.Address, e.File, e.Line}
			if n := len(rows); n > 0 && rows[n-1].addr == e.Address {
				rows[n-1] = next
			} else {
				rows = append(rows, next)
			}
			continue
		}
		if len(rows) > 0 {
			slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.addr, b.addr) })
			u.sequences = append(u.sequences, sequence{rows[0].addr, e.Address, rows})
		}
		rows = nil
	}
}

// row returns the row of an address.
func (u *unit) row(addr uint64) (row, bool) {
	for _, s := range u.sequences {
		if addr < s.low || addr >= s.high {
			continue
		}
		n := sort.Search(len(s.rows), func(i int) bool { return s.rows[i].addr > addr })
		return s.rows[n-1], true
	}
	return row{}, false
}

// A scope is a function, or one that was inlined, on the way to an address.
type scope struct {
	entry  *dwarf.Entry
	parent int // index of the function around it; -1 for none
	length uint64
}

// scopes returns the functions of a unit that have an address, each behind the one that
// it was inlined into, and the index of the innermost one: of which the piece around the
// address is the shortest, as addr2line chooses (lookup_address_in_function_table).
func (i *info) scopes(u *unit, addr uint64) (list []scope, innermost int, err error) {
	innermost = -1
	r := i.data.Reader()
	r.Seek(u.root.Offset)
	if _, err := r.Next(); err != nil || !u.root.Children {
		return nil, -1, err
	}
	// The function of each level of entries.
	levels := []int{-1}
	for len(levels) > 0 {
		e, err := r.Next()
		if err != nil {
			return nil, -1, err
		}
		if e == nil {
			break
		}
		if e.Tag == 0 {
			levels = levels[:len(levels)-1]
			continue
		}
		inside := levels[len(levels)-1]
		skip := false
		switch e.Tag {
		case dwarf.TagSubprogram, dwarf.TagInlinedSubroutine:
			length, err := i.around(e, addr)
			if err != nil {
				return nil, -1, err
			}
			if length == 0 {
				// A function that others are inlined into has all of their code.
				skip = e.Tag == dwarf.TagSubprogram
				break
			}
			list = append(list, scope{e, inside, length})
			inside = len(list) - 1
			if innermost < 0 || length <= list[innermost].length {
				innermost = inside
			}
		case dwarf.TagLexDwarfBlock, dwarf.TagNamespace, dwarf.TagModule, dwarf.TagClassType, dwarf.TagStructType:
			// Structures of Rust have functions.
			skip = inside < 0 && (e.Tag == dwarf.TagClassType || e.Tag == dwarf.TagStructType) && !isRust(u)
		default:
			skip = true
		}
		if !e.Children {
			continue
		}
		if skip {
			r.SkipChildren()
			continue
		}
		levels = append(levels, inside)
	}
	return list, innermost, nil
}

// langRust is DW_LANG_Rust.
const langRust = 0x1c

func isRust(u *unit) bool {
	language, _ := u.root.Val(dwarf.AttrLanguage).(int64)
	return language == langRust
}

// around is the length of the piece of an entry's code that has an address; 0 without.
func (i *info) around(e *dwarf.Entry, addr uint64) (uint64, error) {
	ranges, err := i.data.Ranges(e)
	if err != nil {
		return 0, err
	}
	var length uint64
	for _, r := range ranges {
		if r[0] <= addr && addr < r[1] && (length == 0 || r[1]-r[0] < length) {
			length = r[1] - r[0]
		}
	}
	return length, nil
}

// places returns where an address comes from, innermost first; nothing when that isn't
// known.
func (i *info) places(addr uint64) ([]Place, error) {
	units, err := i.find(addr)
	if err != nil {
		return nil, err
	}
	for _, offset := range units {
		u, err := i.unit(offset)
		if err != nil {
			return nil, err
		}
		at, ok := u.row(addr)
		if !ok || at.file == nil {
			continue
		}
		list, n, err := i.scopes(u, addr)
		if err != nil {
			return nil, err
		}
		places := []Place{{File: at.file.Name, Line: at.line}}
		for ; n >= 0; n = list[n].parent {
			place := &places[len(places)-1]
			if place.Function, err = i.function(list[n].entry); err != nil {
				return nil, err
			}
			if list[n].parent < 0 {
				break
			}
			place.Inlined = true
			places = append(places, u.call(list[n].entry))
		}
		return places, nil
	}
	return nil, nil
}

// call is the place from which an inlined function is called.
func (u *unit) call(inlined *dwarf.Entry) Place {
	number, _ := inlined.Val(dwarf.AttrCallFile).(int64)
	line, _ := inlined.Val(dwarf.AttrCallLine).(int64)
	if number < 0 || number >= int64(len(u.files)) || u.files[number] == nil {
		return Place{}
	}
	return Place{File: u.files[number].Name, Line: int(line)}
}

// maxOrigins bounds how far a function's name is looked for.
const maxOrigins = 8

// function is the name of a function.
func (i *info) function(e *dwarf.Entry) (string, error) {
	name := ""
	for range maxOrigins {
		if linkage, ok := e.Val(dwarf.AttrLinkageName).(string); ok && strings.HasPrefix(linkage, "_R") {
			return demangle.Filter(linkage), nil // of Rust
		}
		if own, ok := e.Val(dwarf.AttrName).(string); ok && name == "" {
			name = own
		}
		origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			origin, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset)
		}
		if !ok {
			break
		}
		r := i.data.Reader()
		r.Seek(origin)
		next, err := r.Next()
		if err != nil {
			return "", err
		}
		if next == nil {
			break
		}
		e = next
	}
	return name, nil
}

// Places returns where an address comes from, innermost first; nothing when the file
// doesn't know. In a relocatable file the address is one that Find has returned, plus
// an offset.
func (f *File) Places(addr uint64) (places []Place, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err = f.guard(func() error {
		if f.info == nil && f.infoErr == nil {
			f.info, f.infoErr = f.debugData()
		}
		if f.infoErr != nil {
			return f.infoErr
		}
		places, err = f.info.places(addr)
		return err
	})
	return places, err
}
