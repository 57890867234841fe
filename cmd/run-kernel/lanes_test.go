// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"flag"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests that run run-kernel do so beside each other, as many as -parallel says. Those
// that build from the same source tree, or boot from the same build directory, wait for
// each other at its lock. Kernels are built before, by the first test that needs each.

// slots has a place for each test that may run at once. Go's own limit would count those
// that wait for a lock.
var slots chan struct{}

// makeSlots takes the limit over from package testing.
func makeSlots() error {
	flag.Parse()
	limit := flag.Lookup("test.parallel")
	n, err := strconv.Atoi(limit.Value.String())
	if err != nil {
		return err
	}
	slots = make(chan struct{}, n)
	return limit.Value.Set("1000")
}

// holdings are what each test has, its subtests included.
var holdings = struct {
	sync.Mutex
	of map[[2]string]bool
}{of: make(map[[2]string]bool)}

// testOf is the name of the test that a subtest is a part of.
func testOf(t *testing.T) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

// holds says whether the test has something.
func holds(t *testing.T, what string) bool {
	holdings.Lock()
	defer holdings.Unlock()
	return holdings.of[[2]string{testOf(t), what}]
}

// hold says whether the test has just come to have something, for the rest of it. It
// has it already if it, or the test that it is a part of, asked before.
func hold(t *testing.T, what string) bool {
	key := [2]string{testOf(t), what}
	holdings.Lock()
	defer holdings.Unlock()
	if holdings.of[key] {
		return false
	}
	holdings.of[key] = true
	t.Cleanup(func() {
		holdings.Lock()
		defer holdings.Unlock()
		delete(holdings.of, key)
	})
	return true
}

// parallel lets other tests run beside this one. A subtest leaves that to its test.
func parallel(t *testing.T) {
	t.Helper()
	if !strings.Contains(t.Name(), "/") && hold(t, "parallel") {
		t.Parallel()
	}
}

// enter waits until the test may run beside the others that do. It has its locks by
// then: who waits for one keeps nobody from running.
func enter(t *testing.T) {
	t.Helper()
	if hold(t, "slot") {
		slots <- struct{}{}
		t.Cleanup(func() { <-slots })
	}
}

// lock keeps other tests, also of other processes, out of a directory for the rest of
// the test.
func lock(t *testing.T, dir string) {
	t.Helper()
	parallel(t)
	if !hold(t, dir) {
		return
	}
	began := time.Now()
	unlock, err := flock(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	if waited := time.Since(began); waited > time.Second {
		t.Logf("waited %s for %s", waited.Round(time.Second), dir)
	}
}

// queues have a mutex for each directory: one test of this process at a time waits for its
// lock, and those of another process don't come after all of ours.
var queues sync.Map

// flock locks a directory, by a file beside it, until unlock.
func flock(dir string) (unlock func(), err error) {
	value, _ := queues.LoadOrStore(dir, new(sync.Mutex))
	queue := value.(*sync.Mutex)
	queue.Lock()
	f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	if err == nil {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			_ = f.Close()
		}
	}
	if err != nil {
		queue.Unlock()
		return nil, err
	}
	return func() {
		_ = f.Close()
		queue.Unlock()
	}, nil
}
