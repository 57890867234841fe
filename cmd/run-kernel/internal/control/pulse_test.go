// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pulse
		var asked atomic.Int32
		answer := make(chan struct{})
		silence := func() time.Duration {
			return p.silence(func() { asked.Add(1); <-answer }, 2*time.Second)
		}
		go func() { answer <- struct{}{} }()
		if s := silence(); s != 0 {
			t.Errorf("a guest that answers is silent for %s", s)
		}
		// It hangs: one question is open, however often somebody looks.
		if s := silence(); s != 2*time.Second {
			t.Errorf("silent for %s", s)
		}
		time.Sleep(3 * time.Second)
		if s := silence(); s != 5*time.Second {
			t.Errorf("silent for %s", s)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("it was asked %d times", n)
		}
		// It comes back.
		answer <- struct{}{}
		synctest.Wait()
		go func() { answer <- struct{}{} }()
		if s := silence(); s != 0 {
			t.Errorf("silent for %s", s)
		}
	})
}
