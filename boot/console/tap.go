// SPDX-License-Identifier: GPL-3.0-only

package console

import (
	"io"
	"sync"
)

const (
	// backlog is how much of what came before a tap gets, in bytes: some screens.
	backlog = 16 << 10
	// tapSize is how much waits for who is slow to read. The guest waits for
	// nobody.
	tapSize = 1 << 20
)

// lostText stands where a reader was too slow.
const lostText = "\r\n[… some of the console is missing here …]\r\n"

// A Tap reads along what the guest writes, as it is, beginning with a little of
// what came before. There may be many. A read waits; at the end of the console,
// or once the tap is closed, it is io.EOF.
type Tap struct {
	console *Console

	mu     sync.Mutex
	more   *sync.Cond
	buf    []byte
	closed bool
}

// Tap returns a new reader of the console.
func (c *Console) Tap() *Tap {
	t := &Tap{console: c}
	t.more = sync.NewCond(&t.mu)
	c.mu.Lock()
	defer c.mu.Unlock()
	t.buf = append(t.buf, c.recent...)
	if c.ended {
		t.closed = true
	} else {
		c.taps[t] = true
	}
	return t
}

// Read implements io.Reader.
func (t *Tap) Read(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.buf) == 0 {
		if t.closed {
			return 0, io.EOF
		}
		t.more.Wait()
	}
	n := copy(p, t.buf)
	t.buf = t.buf[n:]
	return n, nil
}

// Close ends the tap.
func (t *Tap) Close() error {
	t.console.mu.Lock()
	delete(t.console.taps, t)
	t.console.mu.Unlock()
	t.end()
	return nil
}

func (t *Tap) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.more.Broadcast()
}

func (t *Tap) write(data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf)+len(data) > tapSize {
		t.buf = append(t.buf[:0:0], lostText...)
	}
	t.buf = append(t.buf, data...)
	t.more.Broadcast()
}

// tee gives all taps what has come. The last of it is kept for those to come.
func (c *Console) tee(data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent = append(c.recent, data...)
	if over := len(c.recent) - backlog; over > 0 {
		c.recent = append(c.recent[:0], c.recent[over:]...)
	}
	for t := range c.taps {
		t.write(data)
	}
}

// endTaps tells all taps that there is no more.
func (c *Console) endTaps() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for t := range c.taps {
		t.end()
	}
	clear(c.taps)
}
