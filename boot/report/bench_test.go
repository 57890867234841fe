// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"bytes"
	"strings"
	"testing"
)

func benchmark(b *testing.B, log []byte) {
	log = bytes.Repeat(log, max(1, (4<<20)/len(log)))
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		p := NewParser(nil)
		_, _ = p.Write(log)
		_ = p.Close()
	}
}

// BenchmarkReports reads nothing but reports, of each kind: the worst case of a log of Linux.
func BenchmarkReports(b *testing.B) {
	var log strings.Builder
	for _, test := range kindTests {
		log.WriteString(test.log + "\n")
	}
	benchmark(b, []byte(log.String()))
}

// BenchmarkBoot reads a log without reports.
func BenchmarkBoot(b *testing.B) {
	var log strings.Builder
	for i := range 1000 {
		log.WriteString("[    1.")
		log.WriteString("000000"[:3])
		log.WriteString("123] [    T1] pci 0000:00:01.0: BAR 0: assigned [mem 0xfebd0000-0xfebd0fff] and more")
		if i%7 == 0 {
			log.WriteString("\r")
		}
		log.WriteByte('\n')
	}
	benchmark(b, []byte(log.String()))
}

// BenchmarkNoise reads what no kernel writes.
func BenchmarkNoise(b *testing.B) {
	noise := make([]byte, 1<<20)
	state := uint32(1)
	for i := range noise {
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	benchmark(b, noise)
}
