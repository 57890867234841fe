// SPDX-License-Identifier: GPL-3.0-only

package decode

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
)

// An action is what a relocation does to the place that it names.
type action struct {
	width int // in bytes
	op    op
}

// An op is how a relocation's value gets into its place.
type op int

// The ops of relocations.
const (
	opSet op = iota // the whole width
	opAdd
	opSub
	opSet6 // the lower six bits
	opSub6
	opSetLEB // a ULEB128, which stays as long as it is
	opSubLEB
)

// relocations are the ones that compilers and assemblers use in debug information, by
// machine. riscv counts distances in code by pairs of addition and subtraction, since its
// linker may shorten code. See each architecture's ELF supplement.
var relocations = map[elf.Machine]map[uint32]action{
	elf.EM_X86_64: {
		uint32(elf.R_X86_64_64): {8, opSet}, uint32(elf.R_X86_64_32): {4, opSet}, uint32(elf.R_X86_64_32S): {4, opSet},
	},
	elf.EM_386: {uint32(elf.R_386_32): {4, opSet}},
	elf.EM_AARCH64: {
		uint32(elf.R_AARCH64_ABS64): {8, opSet}, uint32(elf.R_AARCH64_ABS32): {4, opSet}, uint32(elf.R_AARCH64_ABS16): {2, opSet},
	},
	elf.EM_ARM: {uint32(elf.R_ARM_ABS32): {4, opSet}},
	elf.EM_RISCV: {
		uint32(elf.R_RISCV_32): {4, opSet}, uint32(elf.R_RISCV_64): {8, opSet},
		uint32(elf.R_RISCV_ADD8): {1, opAdd}, uint32(elf.R_RISCV_ADD16): {2, opAdd}, uint32(elf.R_RISCV_ADD32): {4, opAdd}, uint32(elf.R_RISCV_ADD64): {8, opAdd},
		uint32(elf.R_RISCV_SUB8): {1, opSub}, uint32(elf.R_RISCV_SUB16): {2, opSub}, uint32(elf.R_RISCV_SUB32): {4, opSub}, uint32(elf.R_RISCV_SUB64): {8, opSub},
		uint32(elf.R_RISCV_SET6): {1, opSet6}, uint32(elf.R_RISCV_SUB6): {1, opSub6},
		uint32(elf.R_RISCV_SET8): {1, opSet}, uint32(elf.R_RISCV_SET16): {2, opSet}, uint32(elf.R_RISCV_SET32): {4, opSet},
		rRISCVSetULEB128: {1, opSetLEB}, rRISCVSubULEB128: {1, opSubLEB},
	},
	elf.EM_PPC64: {uint32(elf.R_PPC64_ADDR64): {8, opSet}, uint32(elf.R_PPC64_ADDR32): {4, opSet}},
	elf.EM_S390:  {uint32(elf.R_390_64): {8, opSet}, uint32(elf.R_390_32): {4, opSet}},
}

// They are younger than debug/elf's list.
const (
	rRISCVSetULEB128 = 60
	rRISCVSubULEB128 = 61
)

var errRelocation = errors.New("a relocation isn't in its section")

// relocate returns the contents of section index with its relocations applied.
func (f *File) relocate(index int, data []byte) ([]byte, error) {
	cloned := false
	for _, s := range f.elf.Sections {
		if s.Type != elf.SHT_RELA && s.Type != elf.SHT_REL || int(s.Info) != index {
			continue
		}
		actions, ok := relocations[f.elf.Machine]
		if !ok {
			return nil, fmt.Errorf("no relocations are known of %v", f.elf.Machine)
		}
		table, err := f.contents(s)
		if err != nil {
			return nil, err
		}
		if int(s.Link) >= len(f.elf.Sections) {
			return nil, errRelocation
		}
		symbols, err := f.contents(f.elf.Sections[s.Link])
		if err != nil {
			return nil, err
		}
		if !cloned {
			data, cloned = bytes.Clone(data), true
		}
		if err := f.apply(data, table, symbols, s.Type == elf.SHT_RELA, actions); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// apply applies a table of relocations.
func (f *File) apply(data, table, symbols []byte, addends bool, actions map[uint32]action) error {
	order, wide := f.elf.ByteOrder, f.elf.Class == elf.ELFCLASS64
	size := 8
	switch {
	case wide && addends:
		size = 24
	case wide:
		size = 16
	case addends:
		size = 12
	}
	for ; len(table) >= size; table = table[size:] {
		var offset, addend uint64
		var symbol, kind uint32
		if wide {
			offset = order.Uint64(table)
			info := order.Uint64(table[8:])
			symbol, kind = uint32(info>>32), uint32(info)
			if addends {
				addend = order.Uint64(table[16:])
			}
		} else {
			offset = uint64(order.Uint32(table))
			info := order.Uint32(table[4:])
			symbol, kind = info>>8, info&0xff
			if addends {
				addend = uint64(int64(int32(order.Uint32(table[8:]))))
			}
		}
		a, ok := actions[kind]
		if !ok {
			if kind == 0 {
				continue // nothing, of every architecture
			}
			return fmt.Errorf("relocation %d of %v isn't known", kind, f.elf.Machine)
		}
		if offset > uint64(len(data)) || uint64(a.width) > uint64(len(data))-offset {
			return errRelocation
		}
		value, err := f.symbolValue(symbols, symbol)
		if err != nil {
			return err
		}
		place := data[offset:]
		if !addends {
			addend = f.get(place, a.width)
		}
		f.act(place, a, value+addend)
	}
	return nil
}

// symbolValue is the address of the symbol with a number.
func (f *File) symbolValue(symbols []byte, number uint32) (uint64, error) {
	order := f.elf.ByteOrder
	var value uint64
	var section uint16
	if f.elf.Class == elf.ELFCLASS64 {
		at := uint64(number) * 24
		if at+24 > uint64(len(symbols)) {
			return 0, errRelocation
		}
		section, value = order.Uint16(symbols[at+6:]), order.Uint64(symbols[at+8:])
	} else {
		at := uint64(number) * 16
		if at+16 > uint64(len(symbols)) {
			return 0, errRelocation
		}
		section, value = order.Uint16(symbols[at+14:]), uint64(order.Uint32(symbols[at+4:]))
	}
	// A section of debug information has no address: what is there is its offset.
	if int(section) < len(f.base) {
		value += f.base[section]
	}
	return value, nil
}

func (f *File) get(place []byte, width int) (value uint64) {
	order := f.elf.ByteOrder
	switch width {
	case 1:
		return uint64(place[0])
	case 2:
		return uint64(order.Uint16(place))
	case 4:
		return uint64(order.Uint32(place))
	case 8:
		return order.Uint64(place)
	}
	return 0
}

func (f *File) put(place []byte, width int, value uint64) {
	order := f.elf.ByteOrder
	switch width {
	case 1:
		place[0] = byte(value)
	case 2:
		order.PutUint16(place, uint16(value))
	case 4:
		order.PutUint32(place, uint32(value))
	case 8:
		order.PutUint64(place, value)
	}
}

func (f *File) act(place []byte, a action, value uint64) {
	switch a.op {
	case opSet:
		f.put(place, a.width, value)
	case opAdd:
		f.put(place, a.width, f.get(place, a.width)+value)
	case opSub:
		f.put(place, a.width, f.get(place, a.width)-value)
	case opSet6:
		place[0] = place[0]&0xc0 | byte(value)&0x3f
	case opSub6:
		place[0] = place[0]&0xc0 | (place[0]-byte(value))&0x3f
	case opSetLEB, opSubLEB:
		var old uint64
		n := 0
		for n < len(place) && n < 10 {
			old |= uint64(place[n]&0x7f) << (7 * n)
			n++
			if place[n-1]&0x80 == 0 {
				break
			}
		}
		if a.op == opSubLEB {
			value = old - value
		}
		for i := range n {
			more := place[i] & 0x80
			place[i] = byte(value)&0x7f | more
			value >>= 7
		}
	}
}
