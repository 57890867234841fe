// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A notifier is told of changes by inotify(7).
type notifier struct {
	o         *Options
	fs        *fsnotify.Watcher
	c         chan batch
	done      chan struct{}     // closed to end run
	ended     chan struct{}     // closed by run's end
	extra     map[string]string // what Options.Extra says, by the path that events have
	extraDirs map[string]bool   // the directories of those

	mu      sync.Mutex
	watched map[string]bool // directories of the tree
}

func newNotifier(o *Options) (*notifier, error) {
	n := &notifier{o: o, c: make(chan batch)}
	return n, n.listen()
}

// listen asks the kernel for events of all that matters.
func (n *notifier) listen() error {
	f, err := fsnotify.NewWatcher()
	if err != nil {
		return n.explain(err)
	}
	n.fs = f
	n.mu.Lock()
	n.watched = make(map[string]bool)
	n.mu.Unlock()
	n.extra, n.extraDirs = make(map[string]string), make(map[string]bool)
	for _, path := range n.o.Extra {
		if err := n.addExtra(path); err != nil {
			return errors.Join(fmt.Errorf("watch %s: %w", path, err), f.Close())
		}
	}
	if _, err := n.add(n.o.Root, false); err != nil {
		return errors.Join(err, f.Close())
	}
	n.done, n.ended = make(chan struct{}), make(chan struct{})
	go n.run(f, n.done, n.ended)
	return nil
}

// run takes events in and delivers what they come to. It is done with each before
// it looks at the next: fsnotify gives an event the name that its watch has when it
// is read, so that the watches of a renamed directory must have gone by then.
func (n *notifier) run(f *fsnotify.Watcher, done <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	for {
		var b batch
		select {
		case e, ok := <-f.Events:
			if !ok {
				b.err = fmt.Errorf("watch the tree: %w", fsnotify.ErrClosed)
			} else {
				n.event(e, &b)
			}
		case err := <-f.Errors:
			switch {
			case errors.Is(err, fsnotify.ErrEventOverflow):
				b.rescan = true
			case !errors.Is(err, unix.EINVAL): // a watch that was gone before it was removed
				b.err = fmt.Errorf("watch the tree: %w", err)
			}
		case <-done:
			return
		}
		if !b.any() {
			continue
		}
		select {
		case n.c <- b:
		case <-done:
			return
		}
		if b.err != nil {
			return
		}
	}
}

func (n *notifier) batches() <-chan batch { return n.c }

func (n *notifier) dirs() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.watched)
}

func (n *notifier) polling() string { return "" }

func (n *notifier) close() {
	select {
	case <-n.done:
	default:
		close(n.done)
	}
	<-n.ended
	_ = n.fs.Close() // it is of no more use
}

// renew watches all anew. Directories may have come, gone and changed their names
// while nobody looked: starting over is the only way to be sure of the names.
func (n *notifier) renew() error {
	n.close()
	return n.listen()
}

// addExtra watches the directory of a file, rather than the file: a save often
// replaces it. Where the file is a link, so is its target.
func (n *notifier) addExtra(path string) error {
	paths := []string{path}
	if target, err := filepath.EvalSymlinks(path); err == nil && target != path {
		paths = append(paths, target)
	}
	for _, p := range paths {
		n.extra[p] = path
		dir := filepath.Dir(p)
		n.extraDirs[dir] = true
		if err := n.fs.Add(dir); err != nil {
			return n.explain(err)
		}
	}
	return nil
}

// event adds what fsnotify saw to a batch.
func (n *notifier) event(e fsnotify.Event, b *batch) {
	if e.Name == "" || e.Op == fsnotify.Chmod && !touched(e.Name) {
		return
	}
	away := e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)
	if away && e.Name == n.o.Root {
		if !exists(n.o.Root) {
			b.err = fmt.Errorf("watch the tree: %s was removed or renamed", n.o.Root)
		}
		b.rescan = true // another took its name
		return
	}
	n.eventOfExtra(e, b)
	if n.o.excluded(e.Name) || !below(e.Name, n.o.Root) {
		return
	}
	if e.Has(fsnotify.Create) {
		if st, err := os.Lstat(e.Name); err == nil && st.IsDir() {
			n.newDir(e.Name, b)
			return
		}
	}
	if away {
		n.removeBelow(e.Name)
	}
	b.changes = append(b.changes, fileChange{path: e.Name, made: e.Has(fsnotify.Create) && !moved(e)})
}

// touched says whether a file has just got the present as the time of its last
// change, as touch gives it, and make goes by. Another mode or owner leaves it.
func touched(path string) bool {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	inode, ok := st.Sys().(*syscall.Stat_t)
	return ok && inode.Mtim == inode.Ctim
}

// moved says that a file was not made but got its name by a rename, and may
// have replaced another. The event tells that only in its text.
func moved(e fsnotify.Event) bool { return strings.Contains(e.String(), " ← ") }

// eventOfExtra does what event does, for Options.Extra and their directories.
func (n *notifier) eventOfExtra(e fsnotify.Event, b *batch) {
	if path, ok := n.extra[e.Name]; ok {
		b.changes = append(b.changes, fileChange{path: path, extra: true})
		if e.Has(fsnotify.Create) {
			if err := n.addExtra(path); err != nil { // it may be another link now
				b.lose(err)
			}
		}
		return
	}
	if !n.extraDirs[e.Name] || e.Has(fsnotify.Write) || n.watched[e.Name] {
		return // the last is up to what watches the tree
	}
	// The watch goes by inode: it doesn't follow the name.
	_ = n.fs.Remove(e.Name)
	for p, path := range n.extra {
		if filepath.Dir(p) != e.Name {
			continue
		}
		if err := n.fs.Add(e.Name); err != nil {
			if n.watched[filepath.Dir(e.Name)] {
				continue // its return will be seen
			}
			b.lose(fmt.Errorf("watch %s: its directory was removed or renamed", path))
		}
		b.changes = append(b.changes, fileChange{path: path, extra: true})
	}
}

// newDir takes in a directory that was made or renamed, and what is in it.
func (n *notifier) newDir(dir string, b *batch) {
	files, err := n.add(dir, true)
	if err != nil {
		b.lose(err)
	}
	for _, f := range files {
		if path, ok := n.extra[f]; ok {
			b.changes = append(b.changes, fileChange{path: path, extra: true})
		} else if !n.o.excluded(f) {
			b.changes = append(b.changes, fileChange{path: f, found: true})
		}
	}
}

// removeBelow drops the watches of a directory that is gone, and of all in it: they
// go by inode, and would report a renamed directory's files under its old name.
func (n *notifier) removeBelow(dir string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.watched[dir] {
		return // a file, as nearly always
	}
	for p := range n.watched {
		if below(p, dir) {
			// The kernel has removed that of a deleted directory itself.
			_ = n.fs.Remove(p)
			delete(n.watched, p)
		}
	}
}

// add watches a directory and all below it, and lists, when asked, the files that
// are in them: they were made before the watch and would be missed.
func (n *notifier) add(root string, list bool) ([]string, error) {
	var files []string
	var g errgroup.Group
	g.SetLimit(8)
	leaves := leavesOf(root)
	var walk func(dir string) error
	walk = func(dir string) error {
		// First the watch, then the contents: what comes in between is seen twice
		// rather than never.
		if err := n.fs.Add(dir); err != nil {
			if unwatchable(err) && dir != n.o.Root {
				return nil
			}
			return err
		}
		var entries []fs.DirEntry
		if list || !leaves.has(dir) {
			var err error
			if entries, err = os.ReadDir(dir); err != nil && !unwatchable(err) {
				return err
			}
		}
		n.mu.Lock()
		n.watched[dir] = true
		n.mu.Unlock()
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case e.IsDir():
				if n.o.excluded(path) || generated(path) {
					continue
				}
				// In this goroutine when the others are busy: a limit must not
				// block those that would make room.
				if !g.TryGo(func() error { return walk(path) }) {
					if err := walk(path); err != nil {
						return err
					}
				}
			case list:
				n.mu.Lock()
				files = append(files, path)
				n.mu.Unlock()
			}
		}
		return nil
	}
	g.Go(func() error { return walk(root) })
	if err := g.Wait(); err != nil {
		return files, n.explain(err)
	}
	return files, nil
}

// unwatchable says that a directory is gone, or that make can't read it either.
func unwatchable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, fs.ErrPermission)
}

// explain explains an error of inotify.
func (n *notifier) explain(err error) error {
	directories := 0
	if errors.Is(err, unix.ENOSPC) {
		// The user wants to raise the limit once, not again and again.
		_ = filepath.WalkDir(n.o.Root, func(path string, e fs.DirEntry, err error) error {
			switch {
			case e == nil || !e.IsDir():
			case path != n.o.Root && (n.o.excluded(path) || generated(path)):
				return fs.SkipDir
			default:
				directories++
			}
			return nil
		})
	}
	return watchError(err, directories)
}

// A LimitError says that the kernel has no more watches for this user.
type LimitError struct {
	err         error
	name        string // of the sysctl
	value       string
	directories int // of the tree, each of which needs a watch; 0 when that isn't what is short
	needed      int
}

func (e *LimitError) Error() string {
	text := fmt.Sprintf("watch the tree: %v: %s is %s for all programs of a user", e.err, e.name, e.value)
	if e.directories > 0 {
		text += fmt.Sprintf(", and the tree alone needs %d", e.directories)
	}
	return text
}

func (e *LimitError) Unwrap() error { return e.err }

// Hint is the command that raises the limit.
func (e *LimitError) Hint() string {
	return fmt.Sprintf("sudo sysctl %s=%d", e.name, e.needed)
}

// watchError explains an error of inotify in a tree of so many directories.
func watchError(err error, directories int) error {
	name, needed := "", 0
	switch {
	case errors.Is(err, unix.ENOSPC):
		// What many distributions have; a watch costs memory only when it is used.
		name, needed = "fs.inotify.max_user_watches", 524288
	case errors.Is(err, unix.EMFILE):
		name, needed = "fs.inotify.max_user_instances", 1024
	default:
		return fmt.Errorf("watch the tree: %w", err)
	}
	text := "unknown"
	if value, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/")); err == nil {
		text = strings.TrimSpace(string(value))
		if n, err := strconv.Atoi(text); err == nil {
			needed = max(needed, 2*n, n+2*directories)
		}
	}
	return &LimitError{err: err, name: name, value: text, directories: directories, needed: needed}
}
