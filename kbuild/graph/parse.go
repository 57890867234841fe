// SPDX-License-Identifier: GPL-3.0-only

package graph

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// firstSlots is how many slots the table has at first, a power of two. A kernel with
// everything in it has 40,000 files.
const firstSlots = 1 << 16

var seed = maphash.MakeSeed()

// newInterner returns one that knows paths by their place in the list.
func newInterner(build string, paths []string) *interner {
	in := &interner{build: build, paths: paths[:len(paths):len(paths)], numbers: make(map[string]uint32, len(paths))}
	for i, p := range paths {
		in.numbers[p] = uint32(i)
	}
	slots := make([]atomic.Pointer[interned], firstSlots)
	in.table.Store(&slots)
	return in
}

func (in *interner) strings() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.paths
}

// number returns the number of a path, absolute or relative to the build directory.
func (in *interner) number(raw []byte) uint32 {
	hash := maphash.Bytes(seed, raw)
	slots := *in.table.Load()
	mask := uint64(len(slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		e := slots[i].Load()
		if e == nil {
			return in.add(hash, string(raw))
		}
		if e.hash == hash && e.raw == string(raw) {
			return e.number
		}
	}
}

func (in *interner) add(hash uint64, raw string) uint32 {
	in.mu.Lock()
	defer in.mu.Unlock()
	slots := *in.table.Load()
	// Another goroutine may have been faster, or have made another table.
	i, e := find(slots, hash, raw)
	if e != nil {
		return e.number
	}
	path := raw
	if !filepath.IsAbs(path) {
		path = filepath.Join(in.build, path)
	} else {
		path = filepath.Clean(path)
	}
	number, ok := in.numbers[path]
	if !ok {
		number = uint32(len(in.paths))
		in.paths = append(in.paths, path)
		in.numbers[path] = number
	}
	slots[i].Store(&interned{hash, raw, number})
	if in.raw++; in.raw > len(slots)/2 {
		larger := make([]atomic.Pointer[interned], 4*len(slots))
		for j := range slots {
			if e := slots[j].Load(); e != nil {
				i, _ := find(larger, e.hash, e.raw)
				larger[i].Store(e)
			}
		}
		in.table.Store(&larger)
	}
	return number
}

// find returns the entry of a path, or else the slot for it.
func find(slots []atomic.Pointer[interned], hash uint64, raw string) (uint64, *interned) {
	mask := uint64(len(slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		e := slots[i].Load()
		if e == nil || e.hash == hash && e.raw == raw {
			return i, e
		}
	}
}

// A parser reads .cmd files, one after the other.
type parser struct {
	in  *interner
	set []uint64 // bits of the numbers of the present target's files
}

func (p *parser) note(path []byte) uint32 {
	n := p.in.number(path)
	for int(n/64) >= len(p.set) {
		p.set = append(p.set, 0)
	}
	p.set[n/64] |= 1 << (n % 64)
	return n
}

// encode returns the numbers that were noted as a target keeps them, and forgets them.
func (p *parser) encode() []byte {
	var list []byte
	last := 0
	for i, word := range p.set {
		for word != 0 {
			n := i*64 + bits.TrailingZeros64(word)
			word &= word - 1
			list = binary.AppendUvarint(list, uint64(n-last))
			last = n
		}
		p.set[i] = 0
	}
	return list
}

var (
	savedPrefix  = []byte("savedcmd_")
	cmdPrefix    = []byte("cmd_") // before Linux 6.3
	sourcePrefix = []byte("source_")
	depsPrefix   = []byte("deps_")
	listsHeaders = []byte(" -Wp,-M") // -MMD or -MD
	assign       = []byte(" := ")
	more         = []byte(" \\")
)

// parse reads the .cmd file of a target. What fixdep writes is the command, the source,
// and the list of what it read, one a line; other targets have only their command.
func (p *parser) parse(data []byte, name string) *target {
	t := &target{}
	first, rest, complete := bytes.Cut(data, []byte{'\n'})
	if !bytes.HasPrefix(first, savedPrefix) && !bytes.HasPrefix(first, cmdPrefix) {
		return t // empty, or not a file of this kind
	}
	_, command, ok := bytes.Cut(first, assign)
	if !ok || !complete {
		return t
	}
	t.whole = true
	listed, in := false, false
	for len(rest) > 0 {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		switch {
		case in && len(line) > 4 && line[0] == ' ' && line[2] == ' ':
			// "    $(wildcard include/config/SMP) \": an option.
		case in && len(line) > 2 && line[0] == ' ':
			path := bytes.TrimSuffix(line[2:], more)
			if len(path) > 0 && path[0] != '$' {
				p.note(path)
			}
		case in:
			in = false
		case bytes.HasPrefix(line, sourcePrefix):
			if _, path, ok := bytes.Cut(line, assign); ok && len(path) > 0 {
				t.source = p.note(path) + 1
			}
		case bytes.HasPrefix(line, depsPrefix):
			in, listed, t.whole = true, true, false
		case listed && len(line) > 3 && line[0] == '$' && line[len(line)-1] == ':':
			t.whole = true // "$(deps_init/main.o):", the last line
		}
	}
	if !listed {
		// What a command names, it reads: headers that a script makes something from. A
		// compiler's command has a list with it.
		t.whole = t.source == 0 && !bytes.Contains(command, listsHeaders)
		for word := range bytes.FieldsSeq(command) {
			if reads(word) && string(word) != name {
				p.note(word)
			}
		}
	}
	t.files = p.encode()
	return t
}

// reads says whether a word of a command may be the name of a source file.
func reads(word []byte) bool {
	for _, ext := range []string{".h", ".c", ".S"} {
		if len(word) > len(ext) && strings.HasSuffix(string(word), ext) {
			return !bytes.ContainsAny(word, "$'\"`=<>|;()")
		}
	}
	return false
}
