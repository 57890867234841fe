// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/internal/elffile"
)

// symbols are the functions of a kernel, by their addresses.
type symbols struct {
	file      *elf.File
	functions []kernelSymbol
	moved     uint64 // by KASLR
	log       ringBuffer
	text      []section
	machine   elf.Machine
	order     binary.ByteOrder
}

type kernelSymbol struct {
	name        string
	start, size uint64
}

type section struct {
	io.ReaderAt
	start, size uint64
}

// A Location is a place in a function of the kernel.
type Location struct {
	Function string
	Offset   uint64 // from the function's start
	Size     uint64 // of the function
}

// openSymbols reads a vmlinux, which stays open until close.
func openSymbols(path string) (*symbols, error) {
	vmlinux, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := readSymbols(vmlinux)
	if err != nil {
		_ = vmlinux.Close()
		return nil, err
	}
	return s, nil
}

func (s *symbols) close() { _ = s.file.Close() }

func readSymbols(vmlinux *elf.File) (*symbols, error) {
	table, err := elffile.Symbols(vmlinux)
	if err != nil {
		return nil, fmt.Errorf("symbols: %w", err)
	}
	s := &symbols{file: vmlinux, machine: vmlinux.Machine, order: vmlinux.ByteOrder}
	executable := func(e *elf.Section) bool {
		return e.Flags&elf.SHF_EXECINSTR != 0 && e.Type == elf.SHT_PROGBITS && e.ReaderAt != nil // that of a compressed one is nil
	}
	for _, e := range vmlinux.Sections {
		if executable(e) {
			s.text = append(s.text, section{e.ReaderAt, e.Addr, e.Size})
		}
	}
	for _, e := range table {
		symbol := kernelSymbol{e.Name, e.Value, e.Size}
		s.log.take(symbol)
		kind := elf.ST_TYPE(e.Info)
		switch {
		case int(e.Section) >= len(vmlinux.Sections), !executable(vmlinux.Sections[e.Section]):
		case kind != elf.STT_FUNC && kind != elf.STT_NOTYPE, e.Name == "", strings.HasPrefix(e.Name, "$"), strings.HasPrefix(e.Name, ".L"):
			// Assembler entry points have no type; mapping symbols of arm64 and riscv, and
			// local labels, are none.
		default:
			s.functions = append(s.functions, symbol)
		}
	}
	slices.SortStableFunc(s.functions, func(a, b kernelSymbol) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.size, b.size))
	})
	// The size of one that tells none is up to the next.
	for i := len(s.functions) - 2; i >= 0; i-- {
		f, next := &s.functions[i], &s.functions[i+1]
		if f.size == 0 && next.start > f.start {
			f.size = next.start - f.start
		}
	}
	return s, nil
}

// at returns the function that an address is in.
func (s *symbols) at(address uint64) (Location, bool) {
	i, _ := slices.BinarySearchFunc(s.functions, address, func(f kernelSymbol, a uint64) int {
		if f.start <= a {
			return -1
		}
		return 1
	})
	if i == 0 {
		return Location{}, false
	}
	f := s.functions[i-1]
	if address-f.start >= f.size {
		return Location{}, false
	}
	return Location{f.name, address - f.start, f.size}, true
}

// returnsTo says whether a function returns to an address: whether the instruction
// before it is a call.
func (s *symbols) returnsTo(address uint64) bool {
	for _, t := range s.text {
		if address <= t.start || address > t.start+t.size {
			continue
		}
		var before [8]byte
		n := min(uint64(len(before)), address-t.start)
		if _, err := t.ReadAt(before[len(before)-int(n):], int64(address-t.start-n)); err != nil {
			return false
		}
		return isCall(s.machine, s.order, before)
	}
	return false
}

// isCall says whether code ends with a call.
func isCall(machine elf.Machine, order binary.ByteOrder, code [8]byte) bool {
	switch machine {
	case elf.EM_X86_64:
		// call rel32; call r64; call [r64+disp8]; call [r64+disp32] and [rip+disp32].
		indirect := func(at int) bool { return code[at] == 0xff && code[at+1]>>3&7 == 2 }
		return code[3] == 0xe8 || indirect(6) || indirect(5) || indirect(2)
	case elf.EM_AARCH64:
		word := order.Uint32(code[4:])
		return word&0xfc000000 == 0x94000000 || word&0xfffffc1f == 0xd63f0000 // bl, blr
	case elf.EM_RISCV:
		word := order.Uint32(code[4:])
		const ra = 1 << 7
		jump := word&0x7f == 0x6f || word&0x7f == 0x67                             // jal, jalr
		return jump && word&0xf80 == ra || order.Uint16(code[6:])&0xf07f == 0x9002 // c.jalr
	}
	return true
}

// Where x86 puts a kernel, and in what steps, when it randomizes that: see
// arch/x86/boot/compressed/kaslr.c and arch/x86/include/asm/page_64_types.h.
const (
	kernelBase  = 0xffffffff80000000
	kernelRange = 1 << 30
	kernelAlign = 2 << 20

	// fewReturns is how many return addresses may fit by chance.
	fewReturns = 4
)

// slide finds how far KASLR has moved an x86 kernel, by addresses that it was seen with:
// most return addresses fit at one distance only. It is 0 where none stands out.
func (s *symbols) slide(seen []uint64) uint64 {
	if s.machine != elf.EM_X86_64 {
		return 0
	}
	var best, second int
	var distance uint64
	for d := uint64(0); d < kernelRange; d += kernelAlign {
		n := 0
		for _, a := range seen {
			if a >= kernelBase+d && s.returnsTo(a-d) {
				n++
			}
		}
		if n > best {
			best, second, distance = n, best, d
		} else if n > second {
			second = n
		}
	}
	if best < fewReturns || best < 2*second {
		return 0
	}
	return distance
}
