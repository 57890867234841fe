// SPDX-License-Identifier: GPL-3.0-only

package console

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	tailLines = 40
	// maxLine bounds what is kept of a line; the file has all of it.
	maxLine = 4096
)

// A Console collects a guest's console output.
type Console struct {
	log    io.Writer
	onLine func(string)

	mu      sync.Mutex
	line    []byte   // begun, not ended
	tail    []string // the last lines
	heard   time.Time
	crash   *Crash
	markers map[string]func(line string)

	crashed chan struct{} // closed with the first crash
	panicC  chan struct{} // closed with the first panic
	done    chan struct{}
	logErr  error
}

// Read starts to read r until its end. Everything goes to log, and each line,
// without control characters, to onLine unless that is nil. A line that contains one of the markers is reported with
// what follows the marker.
func Read(r io.Reader, log io.Writer, onLine func(string), markers map[string]func(line string)) *Console {
	c := &Console{
		log: log, onLine: onLine, heard: time.Now(), markers: markers,
		crashed: make(chan struct{}), panicC: make(chan struct{}), done: make(chan struct{}),
	}
	go c.read(r)
	return c
}

func (c *Console) read(r io.Reader) {
	defer close(c.done)
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			// A full disk must not stop the guest: keep reading, report it once.
			if _, err := c.log.Write(buf[:n]); err != nil && c.logErr == nil {
				c.logErr = err
			}
			c.feed(buf[:n])
		}
		if err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.line) > 0 {
				c.endLine()
			}
			return
		}
	}
}

func (c *Console) feed(data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = time.Now()
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		part := data
		if i >= 0 {
			part = data[:i]
		}
		if room := maxLine - len(c.line); room > 0 {
			c.line = append(c.line, part[:min(room, len(part))]...)
		}
		if i < 0 {
			return
		}
		c.endLine()
		data = data[i+1:]
	}
}

// endLine handles a complete line; c.mu is held.
func (c *Console) endLine() {
	line := clean(c.line)
	c.line = c.line[:0]
	if line == "" {
		return
	}
	c.tail = append(c.tail, line)
	if len(c.tail) > tailLines {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-tailLines:]...)
	}
	if c.onLine != nil {
		c.onLine(line)
	}
	for marker, found := range c.markers {
		if i := strings.Index(line, marker); i >= 0 {
			found(line[i+len(marker):])
		}
	}
	crash, ok := parseCrash(line)
	if !ok {
		return
	}
	if c.crash == nil {
		close(c.crashed)
	}
	wasPanic := c.crash != nil && c.crash.Panic
	if c.crash == nil || crash.Panic && !wasPanic {
		if c.crash != nil {
			crash.Cause = c.crash.Message
		}
		c.crash = &crash
	}
	if crash.Panic && !wasPanic {
		close(c.panicC)
	}
}

// Crashed is closed when the kernel reports an oops or a panic.
func (c *Console) Crashed() <-chan struct{} { return c.crashed }

// Panicked is closed when the kernel reports a panic.
func (c *Console) Panicked() <-chan struct{} { return c.panicC }

// Done is closed when the console has ended.
func (c *Console) Done() <-chan struct{} { return c.done }

// Crash is the worst crash so far; nil without any.
func (c *Console) Crash() *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crash == nil {
		return nil
	}
	crash := *c.crash
	return &crash
}

// Heard is when the guest last wrote something; before that, when Read began.
func (c *Console) Heard() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

// Tail returns the last lines, without control characters.
func (c *Console) Tail() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	tail := append([]string(nil), c.tail...)
	if line := clean(c.line); line != "" {
		tail = append(tail, line)
	}
	return tail
}

// LogErr is the first error of writing to the log; valid when Done is closed.
func (c *Console) LogErr() error { return c.logErr }

// clean makes a line fit for any terminal: no escape sequences, no control
// characters, no blanks at its end.
func clean(line []byte) string {
	var b strings.Builder
	text := strings.ToValidUTF8(string(line), "?")
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; {
		case ch == 0x1b:
			i += escapeLen(text[i:]) - 1
		case ch == '\t':
			b.WriteByte(' ')
		case ch >= 0x20 && ch != 0x7f:
			b.WriteByte(ch)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// escapeLen is the length of the escape sequence that s begins with: CSI
// sequences of ECMA-48, else two bytes.
func escapeLen(s string) int {
	if len(s) < 2 || s[1] != '[' {
		return min(2, len(s))
	}
	for i := 2; i < len(s); i++ {
		if s[i] >= 0x40 && s[i] <= 0x7e {
			return i + 1
		}
	}
	return len(s)
}
