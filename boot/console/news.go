// SPDX-License-Identifier: GPL-3.0-only

package console

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/internal/pattern"
)

const (
	// maxBaseline is how many lines a Baseline learns. A boot has some hundreds, a
	// kernel with all of its drivers some thousands.
	maxBaseline = 50_000
	// maxNews is how many new lines are told.
	maxNews = 1000
)

// A Baseline knows the lines of logs in which all was well.
type Baseline struct {
	seen  map[string]bool
	lines []string // in their order
}

// Learn adds the lines of a log: of a console, of dmesg, or what WriteTo has written.
func (b *Baseline) Learn(log io.Reader) error {
	return scanLines(log, func(_, line string) bool {
		b.add(line)
		return len(b.lines) < maxBaseline
	})
}

func (b *Baseline) add(line string) {
	if b.seen == nil {
		b.seen = make(map[string]bool)
	}
	if !b.seen[line] {
		b.seen[line] = true
		b.lines = append(b.lines, line)
	}
}

// Empty says whether it knows nothing.
func (b *Baseline) Empty() bool { return len(b.lines) == 0 }

// WriteTo writes what Learn reads.
func (b *Baseline) WriteTo(w io.Writer) (int64, error) {
	var text bytes.Buffer
	for _, line := range b.lines {
		text.WriteString(line)
		text.WriteByte('\n')
	}
	n, err := w.Write(text.Bytes())
	return int64(n), err
}

// News returns the lines of the kernel's in a log that the baseline doesn't know, in
// their order and each once. Times, addresses and large numbers make no difference. What
// the kernel reports of itself is left out: it's told as that.
func (b *Baseline) News(log []byte) ([]string, error) {
	reports, err := report.Parse(bytes.NewReader(log))
	if err != nil && !errors.Is(err, report.ErrTooMany) {
		return nil, err
	}
	number := int64(0)
	reported := func() bool {
		return slices.ContainsFunc(reports, func(r report.Report) bool { return r.FirstLine <= number && number <= r.LastLine })
	}
	var news []string
	told := make(map[string]bool)
	err = scanLines(bytes.NewReader(log), func(stamp, line string) bool {
		number++
		if stamp != "" && line != "" && !b.seen[line] && !told[line] && !reported() {
			told[line] = true
			news = append(news, stamp)
		}
		return len(news) < maxNews
	})
	return news, err
}

// scanLines calls f with each line of a log, as it is if it has the kernel's time, and
// without what differs from one boot to the next, until f returns false.
func scanLines(log io.Reader, f func(stamped, line string) bool) error {
	s := bufio.NewScanner(log)
	s.Buffer(nil, maxLine)
	s.Split(scanLongLines)
	for s.Scan() {
		line := clean(s.Bytes())
		var stamped string
		if stampOf.MatchString(line) {
			stamped = line
		}
		if !f(stamped, unvarying(line)) {
			return nil
		}
	}
	if err := s.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read a log: %w", err)
	}
	return nil
}

// scanLongLines is bufio.ScanLines that cuts a line instead of failing.
func scanLongLines(data []byte, atEOF bool) (int, []byte, error) {
	advance, token, err := bufio.ScanLines(data, atEOF)
	if advance == 0 && len(data) >= maxLine/2 {
		return len(data), data, nil
	}
	return advance, token, err
}

var (
	// stampOf is the level, the time and the caller of a line of the kernel's: see
	// info_print_prefix in kernel/printk/printk.c.
	stampOf = pattern.New(`^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?`)
	// otherStamp is what dmesg with --ctime, --human or --time-format=iso, the journal and
	// syslogd have in place of that.
	otherStamp = pattern.New(`^(?:\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] |\[ *\+\d+\.\d{6}\] |\[[A-Z][a-z]{2} ?\d{1,2} \d\d:\d\d\] ` +
		`|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S+ (?:\S+ kernel: )?|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ kernel: )(?:\[ *\d+\.\d+\] )?`)
	// varying is what differs from one boot to the next: dates and times, addresses and
	// hashed pointers, numbers with fractions, durations, sizes, and large ones.
	varying = pattern.New(`\b\d{4}-\d\d-\d\d\b|\d\d:\d\d:\d\d|\b0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\b\d+\.\d+|\d+[kK]B?\b|\b\d+ ?[mun]?s\b|\d{5,}`)
	// bannerOf begins the line that tells when and how often the kernel was built.
	bannerOf = pattern.New(`^Linux version .*`)
)

func unvarying(line string) string {
	if stamp := stampOf.FindString(line); stamp != "" {
		line = line[len(stamp):]
	} else {
		line = otherStamp.ReplaceAllString(line, "")
	}
	return varying.ReplaceAllString(bannerOf.ReplaceAllString(line, "Linux version"), "#")
}
