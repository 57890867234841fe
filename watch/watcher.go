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
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Options say what to watch.
type Options struct {
	Root   string   // the source tree; absolute, without links
	Extra  []string // files elsewhere, or ignored ones, that matter: .config, fragments
	Ignore []string // files and folders that don't: a build directory below Root, shares that a guest writes

	Quiet time.Duration // how long nothing must change until a set is settled
	Max   time.Duration // how long a set may wait for that

	StateDir string // for what the rules of .gitignore need in a tree without git; may be empty
}

// A Set is what changed in one burst.
type Set struct {
	Paths  []string // absolute, sorted
	Rescan bool     // events were lost: anything may have changed
	Err    error    // what will not be seen any more, such as a folder beyond a limit; nil mostly
}

// lockFactor is by how much a git operation may outlast Options.Max.
const lockFactor = 10

// A Watcher reports settled sets of changes.
type Watcher struct {
	o       Options
	fs      *fsnotify.Watcher
	ignored *ignorer
	extra   map[string]bool
	changes chan Set
	done    chan struct{}
	gitLock string

	mu   sync.Mutex
	dirs map[string]bool // that are watched

	// Of the goroutine that reads events.
	pending map[string]bool
	rescan  bool
	first   time.Time // of the pending changes
	err     error
}

// New starts to watch. It returns when each change from then on will be seen.
func New(ctx context.Context, o Options) (*Watcher, error) {
	f, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, watchError(err, 0)
	}
	w := &Watcher{
		o: o, fs: f, extra: make(map[string]bool), dirs: make(map[string]bool), changes: make(chan Set), done: make(chan struct{}),
		pending: make(map[string]bool), gitLock: gitLock(o.Root), ignored: newIgnorer(o.Root, o.StateDir),
	}
	// Their folders are watched, not they: a save often replaces the file.
	dirs := make(map[string]bool)
	for _, path := range o.Extra {
		w.extra[path] = true
		dirs[filepath.Dir(path)] = true
	}
	for dir := range dirs {
		if err := f.Add(dir); err != nil {
			return nil, errors.Join(watchError(err, 1), w.close())
		}
	}
	if _, err := w.add(o.Root, false); err != nil {
		return nil, errors.Join(err, w.close())
	}
	go w.run(ctx)
	return w, nil
}

// Changes delivers the sets. A set that nobody has taken grows. The channel is
// closed when the watcher ends.
func (w *Watcher) Changes() <-chan Set { return w.changes }

// Dirs is the number of folders that are watched.
func (w *Watcher) Dirs() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.dirs)
}

// Err is why the watcher ended; valid when Changes is closed.
func (w *Watcher) Err() error { return w.err }

func (w *Watcher) close() error {
	return errors.Join(w.fs.Close(), w.ignored.close())
}

func (w *Watcher) run(ctx context.Context) {
	defer close(w.changes)
	defer func() { _ = w.close() }()
	settled := time.NewTimer(time.Hour)
	settled.Stop()
	defer settled.Stop()
	var ready Set
	for {
		var out chan Set
		if ready.Rescan || len(ready.Paths) > 0 {
			out = w.changes
		}
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if w.event(e) {
				settled.Reset(w.wait())
			}
		case err, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				w.overflow()
			} else if w.err == nil {
				w.err = err
			}
			settled.Reset(w.wait())
		case <-settled.C:
			if d := w.hold(); d > 0 {
				settled.Reset(d)
				break
			}
			ready = w.settle(ready)
		case out <- ready:
			ready = Set{}
		}
	}
}

// wait is how long the pending changes have to settle, from now.
func (w *Watcher) wait() time.Duration {
	if w.first.IsZero() {
		w.first = time.Now()
	}
	return max(0, min(w.o.Quiet, time.Until(w.first.Add(w.o.Max))))
}

// hold is how long to wait for git to finish, 0 when it isn't at work.
func (w *Watcher) hold() time.Duration {
	if time.Since(w.first) > lockFactor*w.o.Max {
		return 0 // a lock that somebody forgot
	}
	if _, err := os.Lstat(w.gitLock); w.gitLock != "" && err == nil {
		return w.o.Quiet
	}
	return 0
}

// settle adds the pending changes to a set.
func (w *Watcher) settle(set Set) Set {
	for _, p := range set.Paths {
		w.pending[p] = true
	}
	set.Rescan = set.Rescan || w.rescan
	set.Paths = make([]string, 0, len(w.pending))
	for p := range w.pending {
		set.Paths = append(set.Paths, p)
	}
	slices.Sort(set.Paths)
	clear(w.pending)
	w.rescan, w.first = false, time.Time{}
	return set
}

// event takes in what fsnotify saw and says whether it matters.
func (w *Watcher) event(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	if w.extra[e.Name] {
		w.pending[e.Name] = true
		return true
	}
	if w.excluded(e.Name) {
		return false
	}
	if filepath.Base(e.Name) == ".gitignore" {
		w.ignored.reset()
	}
	if e.Has(fsnotify.Create) {
		if st, err := os.Lstat(e.Name); err == nil && st.IsDir() {
			files, err := w.add(e.Name, true)
			if err != nil && w.err == nil {
				w.err = err
			}
			for _, f := range files {
				if !w.ignored.match(f) {
					w.pending[f] = true
				}
			}
			return len(files) > 0
		}
	}
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		w.removeBelow(e.Name)
	}
	if !filepath.IsAbs(e.Name) || !below(e.Name, w.o.Root) || w.ignored.match(e.Name) {
		return false
	}
	w.pending[e.Name] = true
	return true
}

func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// excluded says whether a path never matters.
func (w *Watcher) excluded(path string) bool {
	return slices.ContainsFunc(w.o.Ignore, func(dir string) bool { return below(path, dir) }) || temporary(filepath.Base(path))
}

// temporary recognises names that editors use while they save, and names that
// the kernel's .gitignore begins with: ".*".
func temporary(name string) bool {
	return strings.HasPrefix(name, ".") && name != ".gitignore" ||
		strings.HasSuffix(name, "~") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") ||
		name == "4913" || // vim tries whether it may write the folder
		strings.HasSuffix(name, ".swp") || strings.HasSuffix(name, ".swx") ||
		strings.HasSuffix(name, "___jb_tmp___") || strings.HasSuffix(name, "___jb_old___") ||
		strings.HasSuffix(name, ".orig") || strings.HasSuffix(name, ".rej")
}

// removeBelow drops the watches of a folder that is gone, and of all in it: they
// go by inode, and would report a renamed folder's files under its old name.
func (w *Watcher) removeBelow(dir string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.dirs[dir] {
		return // a file, as nearly always
	}
	for p := range w.dirs {
		if below(p, dir) {
			// The kernel has removed that of a deleted folder itself.
			_ = w.fs.Remove(p)
			delete(w.dirs, p)
		}
	}
}

// overflow finds the folders that were made while nobody looked.
func (w *Watcher) overflow() {
	w.rescan = true
	if _, err := w.add(w.o.Root, false); err != nil && w.err == nil {
		w.err = err
	}
}

// add watches a folder and all below it, and lists, when asked, the files that
// are in them: they were made before the watch and would be missed.
func (w *Watcher) add(root string, list bool) ([]string, error) {
	var files []string
	var g errgroup.Group
	g.SetLimit(8)
	var walk func(dir string) error
	walk = func(dir string) error {
		// First the watch, then the contents: what comes in between is seen twice
		// rather than never.
		if err := w.fs.Add(dir); err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				return nil
			}
			return watchError(err, w.Dirs())
		}
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		w.mu.Lock()
		w.dirs[dir] = true
		w.mu.Unlock()
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case w.excluded(path):
			case e.IsDir():
				// In this goroutine when the others are busy: a limit must not
				// block those that would make room.
				if !g.TryGo(func() error { return walk(path) }) {
					if err := walk(path); err != nil {
						return err
					}
				}
			case list:
				w.mu.Lock()
				files = append(files, path)
				w.mu.Unlock()
			}
		}
		return nil
	}
	g.Go(func() error { return walk(root) })
	err := g.Wait()
	return files, err
}

// A LimitError says that the kernel has no more watches for this user.
type LimitError struct {
	err    error
	name   string // of the sysctl
	value  string
	needed int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("watch the tree: %v: %s is %s", e.err, e.name, e.value)
}

func (e *LimitError) Unwrap() error { return e.err }

// Hint is the command that raises the limit.
func (e *LimitError) Hint() string {
	return fmt.Sprintf("sudo sysctl %s=%d", e.name, e.needed)
}

// watchError explains an error of inotify, after n folders were watched.
func watchError(err error, n int) error {
	name, needed := "", 0
	switch {
	case errors.Is(err, unix.ENOSPC):
		name, needed = "fs.inotify.max_user_watches", max(2*n, 65536)
	case errors.Is(err, unix.EMFILE):
		name, needed = "fs.inotify.max_user_instances", 512
	default:
		return fmt.Errorf("watch the tree: %w", err)
	}
	value, readErr := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if readErr != nil {
		value = []byte("unknown")
	}
	return &LimitError{err: err, name: name, value: strings.TrimSpace(string(value)), needed: needed}
}

// gitLock is the file that git holds while it changes the tree; empty without
// git.
func gitLock(root string) string {
	git := filepath.Join(root, ".git")
	st, err := os.Stat(git)
	if err != nil {
		return ""
	}
	if !st.IsDir() {
		// A worktree's .git is a file: "gitdir: path".
		data, err := os.ReadFile(git)
		if err != nil {
			return ""
		}
		dir := strings.TrimSpace(strings.TrimPrefix(string(data), "gitdir:"))
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(root, dir)
		}
		git = dir
	}
	return filepath.Join(git, "index.lock")
}
