// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pollInterval is the usual time between two looks at the tree.
	pollInterval = 2 * time.Second

	// pollShare bounds what looking costs: after one that took long, the next
	// waits for so many times that.
	pollShare = 4
)

// A poller looks for changes on file systems that don't tell of them. It
// compares the time and size of every file.
type poller struct {
	o      *Options
	reason string // may be empty
	every  time.Duration
	c      chan batch
	end    context.CancelFunc
	files  map[string]stamp

	mu      sync.Mutex
	covered map[string]bool // directories of the tree
}

// A stamp changes with the contents of a file. It has no inode number, which
// FUSE may make up anew, and not the time of the inode's change, which chmod
// sets.
type stamp struct{ modified, size int64 }

func newPoller(ctx context.Context, o *Options, reason string) (*poller, error) {
	p := &poller{o: o, reason: reason, every: o.Poll, c: make(chan batch)}
	if p.every <= 0 {
		p.every = pollInterval
	}
	began := time.Now()
	if err := p.scan(ctx, nil); err != nil {
		return nil, err
	}
	ctx, p.end = context.WithCancel(ctx)
	go p.run(ctx, p.pause(began))
	return p, nil
}

func (p *poller) pause(began time.Time) time.Duration {
	return max(p.every, pollShare*time.Since(began))
}

func (p *poller) String() string {
	s := fmt.Sprintf("looking for changes every %v", p.every)
	if p.reason == "" {
		return s
	}
	return fmt.Sprintf("%s does not tell of changes: %s", p.reason, s)
}

func (p *poller) batches() <-chan batch { return p.c }

func (p *poller) dirs() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.covered)
}

func (p *poller) polling() string { return p.String() }

func (p *poller) close() { p.end() }

// renew has nothing to do: the next look sees all.
func (p *poller) renew() error { return nil }

// run looks for changes until it is closed.
func (p *poller) run(ctx context.Context, pause time.Duration) {
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		began := time.Now()
		b := p.look(ctx)
		if ctx.Err() == nil && b.any() {
			select {
			case p.c <- b:
			case <-ctx.Done():
				return
			}
		}
		if b.err != nil {
			return
		}
		pause = p.pause(began)
	}
}

// look returns what has changed since it looked last.
func (p *poller) look(ctx context.Context) batch {
	var b batch
	b.err = p.scan(ctx, func(path string) {
		if slices.Contains(p.o.Extra, path) {
			b.changes = append(b.changes, fileChange{path: path, extra: true})
		}
		if !p.o.excluded(path) && below(path, p.o.Root) {
			b.changes = append(b.changes, fileChange{path: path})
		}
	})
	return b
}

// scan takes stock of the tree and reports, unless changed is nil, what differs
// from the last time.
func (p *poller) scan(ctx context.Context, changed func(path string)) error {
	files := make(map[string]stamp, len(p.files))
	dirs := make(map[string]bool)
	var unread []string // directories about which nothing is known this time
	err := filepath.WalkDir(p.o.Root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && path == p.o.Root && (changed == nil || errors.Is(err, fs.ErrNotExist)):
			return fmt.Errorf("watch the tree: %w", err)
		case err != nil:
			if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				unread = append(unread, path)
			}
			return nil
		case e.IsDir():
			if path != p.o.Root && (p.o.excluded(path) || generated(path)) {
				return fs.SkipDir
			}
			dirs[path] = true
		case !p.o.excluded(path) && !product(e.Name()):
			if st, err := e.Info(); err == nil {
				files[path] = stampOf(st)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, path := range p.o.Extra {
		if st, err := os.Stat(path); err == nil {
			files[path] = stampOf(st)
		}
	}
	for path, s := range p.files {
		for _, dir := range unread {
			if _, ok := files[path]; !ok && below(path, dir) {
				files[path] = s
			}
		}
	}
	if changed != nil {
		for path, s := range files {
			if old, ok := p.files[path]; !ok || old != s {
				changed(path)
			}
		}
		for path := range p.files {
			if _, ok := files[path]; !ok {
				changed(path)
			}
		}
	}
	p.files = files
	p.mu.Lock()
	p.covered = dirs
	p.mu.Unlock()
	return nil
}

func stampOf(st fs.FileInfo) stamp { return stamp{st.ModTime().UnixNano(), st.Size()} }

// silentFS names the file system of a directory when that doesn't tell of all
// changes: those that another machine makes, or the other side of a hypervisor.
// It is empty for others.
func silentFS(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "" // the watcher will say what is wrong
	}
	return silentType(int64(st.Type))
}

func silentType(magic int64) string {
	// Some are negative in a 32-bit Type.
	switch uint32(magic) {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.FUSE_SUPER_MAGIC:
		return "FUSE"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "SMB"
	case unix.CEPH_SUPER_MAGIC:
		return "Ceph"
	case unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC:
		return "AFS"
	case unix.CODA_SUPER_MAGIC:
		return "Coda"
	case 0x786f4256: // vboxsf, see fs/vboxsf/super.c
		return "vboxsf"
	}
	return ""
}
