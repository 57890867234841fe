// SPDX-License-Identifier: GPL-3.0-only

package report_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/boot/report"
)

// logs returns the test's own logs, one behind the other.
func logs(tb testing.TB) []byte {
	paths, err := filepath.Glob("testdata/*.log")
	if err != nil {
		tb.Fatal(err)
	}
	var all []byte
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

func benchmark(b *testing.B, log []byte) {
	log = bytes.Repeat(log, max(1, (4<<20)/max(1, len(log))))
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		p := report.NewParser(nil)
		_, _ = p.Write(log)
		_ = p.Close()
	}
}

// BenchmarkReports reads nothing but reports: the worst case of a log of Linux.
func BenchmarkReports(b *testing.B) { benchmark(b, logs(b)) }

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
