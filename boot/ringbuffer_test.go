// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A buffer of 64 bytes with 4 descriptors, whose text has wrapped.
func TestRingBuffer(t *testing.T) {
	order := binary.LittleEndian
	const textAt, descriptorsAt, infosAt, infoSize = 0x1000, 0x2000, 0x3000, 88
	text := make([]byte, 64)
	descriptors := make([]byte, 4*24)
	infos := make([]byte, 4*infoSize)
	put := func(i int, state, begin, next, sequence, nanoseconds uint64, message string) {
		order.PutUint64(descriptors[24*i:], state<<62|uint64(i))
		order.PutUint64(descriptors[24*i+8:], begin)
		order.PutUint64(descriptors[24*i+16:], next)
		if state == 3 {
			return // reusable: without text
		}
		info := infos[infoSize*i:]
		order.PutUint64(info, sequence)
		order.PutUint64(info[8:], nanoseconds)
		order.PutUint16(info[16:], uint16(len(message)))
		at := int(begin % 64)
		if begin/64 != (next-1)/64 {
			at = 0
		}
		copy(text[at+8:], message+"garbage"[:max(0, 8-len(message)%8-1)])
	}
	put(0, finalized, 64+24, 64+48, 7, 1_500_000_000, "two\nli\x1b[1mnes")
	put(1, finalized, 64+48, 128+16, 8, 2_000_001_000, "wrapped")
	put(2, committed, 128+16, 128+24, 9, 12_000_000_000, "")
	put(3, 3, 64, 64+8, 6, 0, "")
	words := func(address uint64, n int) []uint64 {
		data := map[uint64][]byte{textAt: text, descriptorsAt: descriptors, infosAt: infos}[address]
		var words []uint64
		for i := range min(n, len(data)/8) {
			words = append(words, order.Uint64(data[8*i:]))
		}
		return words
	}
	var b ringBuffer
	b.take(kernelSymbol{"__log_buf", textAt, 64})
	b.take(kernelSymbol{"_printk_rb_static_descs", descriptorsAt, 4 * 24})
	if got := b.messages(order, words); got != nil {
		t.Errorf("without infos: %q", got)
	}
	b.take(kernelSymbol{"_printk_rb_static_infos", infosAt, 4 * infoSize})
	want := []string{"[    1.500000] two", "[    1.500000] lines", "[    2.000001] wrapped", "[   12.000000] "}
	if diff := cmp.Diff(want, b.messages(order, words)); diff != "" {
		t.Error(diff)
	}
	// Garbage gives no messages, and no panic.
	for i := range descriptors {
		descriptors[i] = byte(i * 37)
	}
	for i := range infos {
		infos[i] = 0xff
	}
	if got := b.messages(order, words); got != nil {
		t.Errorf("of garbage: %q", got)
	}
}
