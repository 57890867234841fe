// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"sync"
	"time"
)

// pulseTime is how long a guest may take for an answer until its silence is told. Without
// KVM and on a busy host, one that lives takes a second.
const pulseTime = 2 * time.Second

// pingRequest asks the agent for nothing. It refuses what it doesn't know, which is an
// answer.
const pingRequest = "ping@run-kernel"

// A pulse tells whether a guest's agent answers. There is one question at a time: a guest
// that hangs answers none.
type pulse struct {
	mu       sync.Mutex
	asked    time.Time // when the question was put that is open; zero: none is
	answered chan struct{}
}

// silence returns how long the agent owes an answer, 0 if it gives one within limit.
func (p *pulse) silence(ask func(), limit time.Duration) time.Duration {
	p.mu.Lock()
	if p.asked.IsZero() {
		answered := make(chan struct{})
		p.asked, p.answered = time.Now(), answered
		go func() {
			ask()
			p.mu.Lock()
			p.asked = time.Time{}
			p.mu.Unlock()
			close(answered)
		}()
	}
	asked, answered := p.asked, p.answered
	p.mu.Unlock()
	select {
	case <-answered:
		return 0
	case <-time.After(time.Until(asked.Add(limit))):
		return time.Since(asked)
	}
}
