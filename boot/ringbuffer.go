// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/internal/ansi"
)

// A ringBuffer is where printk keeps messages, of a 64-bit kernel since 5.10: see
// kernel/printk/printk_ringbuffer.h. It is the one that the kernel is linked with, and not
// that with which a large machine goes on later.
type ringBuffer struct {
	text, descriptors, infos kernelSymbol
}

// take remembers a symbol that is a part of the buffer.
func (b *ringBuffer) take(s kernelSymbol) {
	switch s.name {
	case "__log_buf":
		b.text = s
	case "_printk_rb_static_descs":
		b.descriptors = s
	case "_printk_rb_static_infos":
		b.infos = s
	}
}

const (
	maxRingBuffer = 8 << 20 // bytes
	lastMessages  = 20

	descriptorWords = 3  // of struct prb_desc: state_var, text_blk_lpos.begin and .next
	lengthOffset    = 16 // of text_len in struct printk_info, behind seq and ts_nsec
	blockHead       = 8  // bytes of struct prb_data_block before its text

	// States, in the two upper bits of state_var: enum desc_state.
	stateShift = 62
	committed  = 1
	finalized  = 2
)

// messages returns the last messages, with their times as the console has them. words
// reads memory of the guest.
func (b *ringBuffer) messages(order binary.ByteOrder, words func(address uint64, n int) []uint64) []string {
	read := func(s kernelSymbol) []byte {
		if s.size == 0 || s.size > maxRingBuffer {
			return nil
		}
		read := words(s.start, int(s.size/8))
		data := make([]byte, 8*len(read))
		for i, w := range read {
			order.PutUint64(data[8*i:], w)
		}
		return data
	}
	text, descriptors, infos := read(b.text), read(b.descriptors), read(b.infos)
	n := len(descriptors) / (8 * descriptorWords)
	if n == 0 || len(text) == 0 || len(infos) == 0 {
		return nil
	}
	infoSize := len(infos) / n
	type message struct {
		sequence, nanoseconds uint64
		text                  string
	}
	var found []message
	for i := range n {
		d := descriptors[8*descriptorWords*i:]
		state, begin, next := order.Uint64(d)>>stateShift, order.Uint64(d[8:]), order.Uint64(d[16:])
		info := infos[infoSize*i:]
		if state != committed && state != finalized || begin&1 != 0 || len(info) < lengthOffset+2 {
			continue // without text
		}
		size := uint64(len(text))
		at := begin % size
		if begin/size != (next-1)/size {
			at = 0 // a block that would go beyond the end is at the beginning
		}
		at += blockHead
		end := at + uint64(order.Uint16(info[lengthOffset:]))
		if end > size {
			continue
		}
		found = append(found, message{order.Uint64(info), order.Uint64(info[8:]), string(text[at:end])})
	}
	slices.SortFunc(found, func(a, b message) int { return cmp.Compare(a.sequence, b.sequence) })
	var lines []string
	for _, m := range found[max(0, len(found)-lastMessages):] {
		for line := range strings.SplitSeq(m.text, "\n") {
			lines = append(lines, fmt.Sprintf("[%5d.%06d] %s", m.nanoseconds/1e9, m.nanoseconds/1e3%1e6, ansi.Strip(line)))
		}
	}
	return lines
}
