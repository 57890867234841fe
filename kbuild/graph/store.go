// SPDX-License-Identifier: GPL-3.0-only

package graph

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
)

// magic begins the file; its last letter is the version of what follows.
const magic = "run-kernel graph 1"

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// errUnreadable says that a file is not a whole graph of this version.
var errUnreadable = errors.New("not a graph of this version")

// Load reads what Save has kept of a build directory. Without such a file, or with one that
// is damaged or of another directory, it returns an empty graph: Update reads it all again.
func Load(path, build string) *Graph {
	data, err := os.ReadFile(path)
	if err != nil {
		return New(build)
	}
	g, err := decode(data, build)
	if err != nil {
		return New(build)
	}
	return g
}

// enough is how many changed targets make it worth to write the file again: reading them
// once more takes some milliseconds.
const enough = 64

// Save keeps the graph in a file, unless the one that is there is nearly as good.
func (g *Graph) Save(path string) error {
	if g.changed < min(enough, len(g.targets)) {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".graph-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(g.encode())
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		g.changed = 0
	}
	return err
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (g *Graph) encode() []byte {
	b := appendString([]byte(magic), g.build)
	b = binary.AppendUvarint(b, uint64(len(g.files)))
	for _, f := range g.files {
		b = appendString(b, f)
	}
	b = binary.AppendUvarint(b, uint64(len(g.dirs)))
	for dir, state := range g.dirs {
		b = binary.AppendVarint(appendString(b, dir), state.mtime)
		b = binary.AppendUvarint(b, uint64(len(state.subs)))
		for _, s := range state.subs {
			b = appendString(b, s)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(g.targets)))
	for name, t := range g.targets {
		b = binary.AppendUvarint(appendString(b, name), uint64(t.source))
		b = binary.AppendVarint(binary.AppendVarint(b, t.stamp.mtime), t.stamp.size)
		whole := byte(0)
		if t.whole {
			whole = 1
		}
		b = append(binary.AppendUvarint(b, uint64(t.took)), whole)
		b = append(binary.AppendUvarint(b, uint64(len(t.files))), t.files...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
}

// A decoder reads what encode wrote. Once something is amiss, all that it returns is zero.
type decoder struct {
	data []byte
	text string // the same as data
	bad  bool
}

func (d *decoder) skip(n int) {
	d.data, d.text = d.data[n:], d.text[n:]
}

// fail makes all that is read from now on nothing.
func (d *decoder) fail() { d.bad, d.data, d.text = true, nil, "" }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.skip(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.skip(n)
	return v
}

// count returns a number of things, each of which takes a byte at least.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte {
	n := d.count()
	b := d.data[:n:n]
	d.skip(n)
	return b
}

func (d *decoder) string() string {
	n := d.count()
	s := d.text[:n]
	d.skip(n)
	return s
}

func decode(data []byte, build string) (*Graph, error) {
	end := len(data) - crc32.Size
	if end < len(magic) || string(data[:len(magic)]) != magic ||
		binary.LittleEndian.Uint32(data[end:]) != crc32.Checksum(data[:end], crcTable) {
		return nil, errUnreadable
	}
	// The names share one string, instead of being one each.
	d := &decoder{data: data[:end], text: string(data[:end])}
	d.skip(len(magic))
	g := New(d.string())
	if g.build != build {
		return nil, errUnreadable
	}
	g.files = make([]string, d.count())
	for i := range g.files {
		g.files[i] = d.string()
	}
	for range d.count() {
		dir := d.string()
		state := dirState{mtime: d.varint()}
		if n := d.count(); n > 0 {
			state.subs = make([]string, n)
		}
		for i := range state.subs {
			state.subs[i] = d.string()
		}
		g.dirs[dir] = state
	}
	n := d.count()
	g.targets = make(map[string]*target, n)
	list := make([]target, n)
	for i := range list {
		t := &list[i]
		name := d.string()
		t.source = uint32(d.uvarint())
		t.stamp = stamp{d.varint(), d.varint()}
		t.took = uint32(d.uvarint())
		t.whole = d.count() == 1
		t.files = d.bytes()
		if int(t.source) > len(g.files) {
			d.bad = true
		}
		g.targets[name] = t
	}
	if d.bad {
		return nil, errUnreadable
	}
	return g, nil
}
