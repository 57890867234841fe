// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"bytes"
	"fmt"
	"os"
	"sync"
)

// What is kept of a log. A guest writes megabytes in a second when it wants to; how
// it started and how it ended is what people look for.
const (
	LogHead = 16 << 20 // bytes of the beginning
	LogTail = 16 << 20 // bytes of the end, at least; up to twice as many
)

// A Log is a file that keeps the head and the tail of what is written to it, with a
// line between them that says how much was left out. At any time it can be read as
// one file, and is at most LogHead + 2*LogTail bytes long, and a line. It grows at
// its end; each time that the tail has become twice as long as it must be, the
// older half is taken out, which `tail -f` reports as "file truncated" before it
// goes on from the start.
type Log struct {
	f          *os.File
	head, tail int64 // limits

	mu   sync.Mutex
	size int64 // of the file
	gap  int64 // where the head ends; 0: nothing was left out
	mark int64 // length of the line behind it
	out  int64 // bytes that were left out
}

// CreateLog makes a log, as Create makes a file.
func CreateLog(path string) (*Log, error) { return createLog(path, LogHead, LogTail) }

func createLog(path string, head, tail int64) (*Log, error) {
	f, err := Create(path)
	if err != nil {
		return nil, err
	}
	return &Log{f: f, head: head, tail: tail}, nil
}

// Name is the path of the file.
func (l *Log) Name() string { return l.f.Name() }

// Close closes the file.
func (l *Log) Close() error { return l.f.Close() }

// Write appends p.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	written := 0
	for len(p) > 0 {
		room := l.limit() - l.size
		if room <= 0 {
			if err := l.drop(); err != nil {
				return written, err
			}
			continue
		}
		n, err := l.f.WriteAt(p[:min(room, int64(len(p)))], l.size)
		l.size += int64(n)
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// limit is how long the file may become before something is taken out.
func (l *Log) limit() int64 {
	if l.gap == 0 {
		return l.head + 2*l.tail
	}
	return l.gap + l.mark + 2*l.tail
}

// drop takes the older half of the tail out. The newer one is written in its place
// before the file is cut, so that at no time anything else is missing.
func (l *Log) drop() error {
	if l.gap == 0 {
		l.gap = l.head
		if i, err := l.lineEnd(l.head-maxLine, l.head); err != nil {
			return err
		} else if i > 0 {
			l.gap = i
		}
	}
	tail := make([]byte, l.tail)
	if _, err := l.f.ReadAt(tail, l.size-l.tail); err != nil {
		return err
	}
	if i := bytes.IndexByte(tail[:min(int64(maxLine), l.tail)], '\n'); i >= 0 {
		tail = tail[i+1:]
	}
	l.out += l.size - l.gap - l.mark - int64(len(tail))
	lines := "" // the head ends with a whole line, unless there is none
	if l.gap == l.head {
		lines = "\n"
	}
	mark := lines + fmt.Sprintf("[run-kernel: … %d bytes left out …]\n", l.out)
	text := append([]byte(mark), tail...)
	if _, err := l.f.WriteAt(text, l.gap); err != nil {
		return err
	}
	l.mark, l.size = int64(len(mark)), l.gap+int64(len(text))
	return l.f.Truncate(l.size)
}

// maxLine is how far a line's end is looked for, so that no half line stays.
const maxLine = 64 << 10

// lineEnd returns where the last line ends between two offsets; 0: nowhere.
func (l *Log) lineEnd(from, to int64) (int64, error) {
	from = max(from, 0)
	part := make([]byte, to-from)
	if _, err := l.f.ReadAt(part, from); err != nil {
		return 0, err
	}
	i := bytes.LastIndexByte(part, '\n')
	if i < 0 {
		return 0, nil
	}
	return from + int64(i) + 1, nil
}
