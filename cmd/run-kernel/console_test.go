// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"io"
	"testing"
	"time"
)

// As long as a pager takes nothing, the guest isn't silent: what it has written would be
// cut off.
func TestHeardBySlowReader(t *testing.T) {
	guest, typed := io.Pipe()
	pager, printed := io.Pipe()
	h := &heard{r: guest}
	h.last.Store(time.Now().UnixNano())
	go func() { _, _ = io.Copy(printed, h) }()
	defer typed.Close()
	if _, err := typed.Write([]byte("log")); err != nil {
		t.Fatal(err)
	}
	for h.waiting.Load() {
		time.Sleep(time.Millisecond)
	}
	silent := make(chan struct{})
	go func() {
		h.awaitSilence(t.Context(), time.Nanosecond)
		close(silent)
	}()
	select {
	case <-silent:
		t.Error("what nobody has taken yet is left out")
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := io.ReadFull(pager, make([]byte, len("log"))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-silent:
	case <-time.After(time.Minute):
		t.Error("it waits on")
	}
}
