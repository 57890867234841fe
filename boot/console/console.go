// SPDX-License-Identifier: GPL-3.0-only

package console

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/internal/ansi"
)

const (
	tailLines = 40
	// maxLine bounds what is kept of a line; the file has all of it.
	maxLine = 4096
	// maxLockups bounds what Lockups returns.
	maxLockups = 16
)

// Handlers are called with what comes, one at a time. Each may be nil.
type Handlers struct {
	Line func(string) // each line, without control characters
	// Markers are called with what follows the marker in a line that contains it.
	Markers map[string]func(line string)
	Report  func(report.Report) // each complete report
}

// A Console collects a guest's console output.
type Console struct {
	log      io.Writer
	handlers Handlers
	reports  reports

	mu      sync.Mutex
	line    []byte   // begun, not ended
	tail    []string // the last lines
	heard   time.Time
	busy    bool // what came is being handled
	crash   *Crash
	stall   string
	lockups []string // a headline for each report of a processor that stands still
	suspect *Crash   // a panic, or a program that quotes one
	timed   bool     // the kernel's messages have their time
	recent  []byte   // the last that came, for taps to come
	taps    map[*Tap]bool
	ended   bool // for taps to come

	crashed chan struct{} // closed with the first crash
	panicC  chan struct{} // closed with the first panic
	stalled chan struct{} // closed with the first stall
	done    chan struct{}
	logErr  error
}

// Read starts to read r until its end. Everything goes to log as well.
func Read(r io.Reader, log io.Writer, handlers Handlers) *Console {
	c := &Console{
		log: log, handlers: handlers, heard: time.Now(), taps: make(map[*Tap]bool),
		crashed: make(chan struct{}), panicC: make(chan struct{}), stalled: make(chan struct{}), done: make(chan struct{}),
	}
	c.reports.start(handlers.Report)
	go c.read(r)
	return c
}

func (c *Console) read(r io.Reader) {
	defer close(c.done)
	defer c.endTaps()
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			// A full disk must not stop the guest: keep reading, report it once.
			if _, err := c.log.Write(buf[:n]); err != nil && c.logErr == nil {
				c.logErr = err
			}
			c.handle(true)
			c.tee(buf[:n])
			c.feed(buf[:n])
			c.reports.feed(buf[:n])
			c.handle(false)
		}
		if err != nil {
			if len(c.line) > 0 {
				c.endLine()
			}
			c.reports.end()
			return
		}
	}
}

// handle notes that what came is being handled from now on, or has been. What comes
// meanwhile has to wait.
func (c *Console) handle(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.heard = busy, time.Now()
}

func (c *Console) feed(data []byte) {
	for len(data) > 0 {
		part, rest, ended := bytes.Cut(data, []byte("\n"))
		c.mu.Lock()
		if room := maxLine - len(c.line); room > 0 {
			c.line = append(c.line, part[:min(room, len(part))]...)
		}
		c.mu.Unlock()
		if ended {
			c.endLine()
		}
		data = rest
	}
}

// endLine handles a complete line. It calls others' functions without the lock:
// they may block, and Tail must not.
func (c *Console) endLine() {
	c.mu.Lock()
	line := clean(c.line)
	c.line = c.line[:0]
	if line != "" {
		c.tail = append(c.tail, line)
	}
	if len(c.tail) > tailLines {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-tailLines:]...)
	}
	c.mu.Unlock()
	if line == "" {
		return
	}
	if c.handlers.Line != nil {
		c.handlers.Line(line)
	}
	for marker, found := range c.handlers.Markers {
		if _, rest, ok := strings.Cut(line, marker); ok {
			found(rest)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if crash, ok := parseCrash(behind(line)); ok && crash.Panic {
		c.suspect = &crash
	}
	message, timed := cutPrefix(line)
	if c.timed && !timed {
		return // a program's, not the kernel's
	}
	c.timed = c.timed || timed
	if lockupLine.MatchString(message) && len(c.lockups) < maxLockups {
		c.lockups = append(c.lockups, message)
	}
	if c.stall == "" && stallLine.MatchString(message) {
		c.stall = message
		close(c.stalled)
	}
	crash, ok := parseCrash(message)
	if !ok {
		return
	}
	switch {
	case c.crash == nil:
		close(c.crashed)
	case crash.Panic && !c.crash.Panic:
		crash.Cause = c.crash.Message
	default:
		return
	}
	c.crash = &crash
	if crash.Panic {
		close(c.panicC)
	}
}

// Crashed is closed when the kernel reports an oops or a panic.
func (c *Console) Crashed() <-chan struct{} { return c.crashed }

// Panicked is closed when the kernel reports a panic.
func (c *Console) Panicked() <-chan struct{} { return c.panicC }

// Stalled is closed when the kernel reports that a processor stands still. That is
// no crash: where the host is to blame, which may be busy, the guest may go on.
func (c *Console) Stalled() <-chan struct{} { return c.stalled }

// Stall is the first such report; empty without any.
func (c *Console) Stall() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stall
}

// Lockups are the headlines of the reports that a processor stands still: soft and
// hard lockups, and stalls of RCU. There are at most a few.
func (c *Console) Lockups() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lockups)
}

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

// Death is the panic that ended a guest which is known to have reset itself, nil
// when there was none: as Crash, but a message in the middle of a line counts as
// well, which a program that goes on may have quoted.
func (c *Console) Death() *Crash {
	crash := c.Crash()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.suspect == nil || crash != nil && crash.Panic {
		return crash
	}
	death := *c.suspect
	if crash != nil {
		death.Cause = crash.Message
	}
	return &death
}

// Heard is when the guest last wrote something; before that, when Read began. As long
// as a handler blocks, nobody knows whether it writes, and it is now.
func (c *Console) Heard() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy {
		return time.Now()
	}
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
// characters, no blanks at its end. Of what was written over only the last text
// stays.
func clean(line []byte) string {
	text := strings.TrimRight(string(line), "\r")
	text = ansi.Strip(text[strings.LastIndexByte(text, '\r')+1:])
	return strings.TrimRight(strings.ReplaceAll(text, "\t", " "), " ")
}
