// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
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
	w      *Watcher
	reason string // may be empty
	every  time.Duration
	timer  *time.Timer
	files  map[string]stamp
}

// A stamp changes with the contents of a file. It has no inode number, which
// FUSE may make up anew, and not the time of the inode's change, which chmod
// sets.
type stamp struct{ modified, size int64 }

func newPoller(ctx context.Context, w *Watcher, reason string) (*poller, error) {
	p := &poller{w: w, reason: reason, every: w.o.Poll}
	if p.every <= 0 {
		p.every = pollInterval
	}
	w.extra = make(map[string]string)
	for _, path := range w.o.Extra {
		w.extra[path] = path
	}
	began := time.Now()
	if err := p.scan(ctx, nil); err != nil {
		return nil, err
	}
	p.timer = time.NewTimer(p.pause(began))
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

// look finds changes and says whether any matters.
func (w *Watcher) look(ctx context.Context) bool {
	began, matters := time.Now(), false
	err := w.poll.scan(ctx, func(path string) {
		if w.event(fsnotify.Event{Name: path, Op: fsnotify.Write}) {
			matters = true
		}
	})
	if err != nil && ctx.Err() == nil {
		w.err = err
	}
	w.poll.timer.Reset(w.poll.pause(began))
	return matters
}

// scan takes stock of the tree and reports, unless changed is nil, what differs
// from the last time.
func (p *poller) scan(ctx context.Context, changed func(path string)) error {
	files := make(map[string]stamp, len(p.files))
	dirs := make(map[string]bool)
	var unread []string // folders about which nothing is known this time
	err := filepath.WalkDir(p.w.o.Root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && path == p.w.o.Root && (changed == nil || errors.Is(err, fs.ErrNotExist)):
			return fmt.Errorf("watch the tree: %w", err)
		case err != nil:
			if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				unread = append(unread, path)
			}
			return nil
		case e.IsDir():
			if path != p.w.o.Root && (p.w.excluded(path) || generated(path)) {
				return fs.SkipDir
			}
			dirs[path] = true
		case !p.w.excluded(path) && !product(e.Name()):
			if st, err := e.Info(); err == nil {
				files[path] = stampOf(st)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for path := range p.w.extra {
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
	p.w.mu.Lock()
	p.w.dirs = dirs
	p.w.mu.Unlock()
	return nil
}

func stampOf(st fs.FileInfo) stamp { return stamp{st.ModTime().UnixNano(), st.Size()} }

// silentFS names the file system of a folder when that doesn't tell of all
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
