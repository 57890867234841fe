// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A reaper waits for every child of the first process: the ones it started
// itself and the orphans that the kernel hands it. os/exec can't be used beside
// it, since one waiter would take the status from the other.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan unix.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{waiting: make(map[int]chan unix.WaitStatus)}
	child := make(chan os.Signal, 1)
	signal.Notify(child, syscall.SIGCHLD)
	go func() {
		for range child {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
	// Start holds the lock from before the fork until the child is registered,
	// so that a child that ends at once isn't taken for an orphan.
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c, ok := r.waiting[pid]; ok {
			c <- status
			delete(r.waiting, pid)
		}
	}
}

// start starts a process and returns its id and a channel that gets its end.
func (r *reaper) start(path string, argv []string, attr *os.ProcAttr) (int, <-chan unix.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	c := make(chan unix.WaitStatus, 1)
	r.waiting[p.Pid] = c
	pid := p.Pid
	_ = p.Release()
	return pid, c, nil
}
