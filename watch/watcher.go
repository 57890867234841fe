// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Options say what to watch.
type Options struct {
	Root   string   // the source tree; absolute, without links
	Extra  []string // files elsewhere, or ignored ones, that matter: .config, fragments; absolute, their folders exist
	Ignore []string // files and folders that don't: a build directory below Root, shares that a guest writes; absolute

	Quiet time.Duration // how long nothing must change until a set is settled
	Max   time.Duration // how long a set may wait for that

	// Poll makes the watcher look for changes so often. With 0 it is told of them
	// by the kernel, except on file systems that don't tell.
	Poll time.Duration

	StateDir string // for what the rules of .gitignore need in a tree without git; may be empty
}

// A Set is what changed in one burst.
type Set struct {
	// Paths are absolute and sorted. A folder that was removed or renamed stands
	// for all that was in it.
	Paths  []string
	Rescan bool  // events were lost: anything may have changed
	Err    error // why some changes won't be seen from now on, such as a *LimitError; nil mostly
}

func (s Set) empty() bool { return len(s.Paths) == 0 && !s.Rescan && s.Err == nil }

// lockFactor is by how much a git operation may outlast Options.Max.
const lockFactor = 10

// A Watcher reports settled sets of changes.
type Watcher struct {
	o       Options
	ignored *ignorer
	changes chan Set
	gitLock string

	mu   sync.Mutex
	dirs map[string]bool // that are watched

	// Of the goroutine that reads events.
	fs        *fsnotify.Watcher // nil when polling
	poll      *poller           // nil unless polling
	extra     map[string]string // what Options.Extra says, by the path that events have
	extraDirs map[string]bool   // the folders of those
	pending   map[string]bool   // what changed; true when it was made since the last set
	rescan    bool
	lost      error     // for Set.Err
	first     time.Time // of the pending changes; zero when there are none
	err       error
}

// New starts to watch. It returns when each change from then on will be seen.
// The end of ctx ends the watcher. An error may be a *LimitError.
func New(ctx context.Context, o Options) (*Watcher, error) {
	o.Root = filepath.Clean(o.Root)
	o.Extra, o.Ignore = slices.Clone(o.Extra), slices.Clone(o.Ignore)
	for _, list := range [][]string{o.Extra, o.Ignore} {
		for i := range list {
			list[i] = filepath.Clean(list[i])
		}
	}
	w := &Watcher{
		o: o, changes: make(chan Set), gitLock: gitLock(o.Root), ignored: newIgnorer(ctx, o.Root, o.StateDir),
		pending: make(map[string]bool),
	}
	silent := silentFS(o.Root)
	if o.Poll > 0 || silent != "" {
		p, err := newPoller(ctx, w, silent)
		if err != nil {
			return nil, err
		}
		w.poll = p
	} else if err := w.listen(); err != nil {
		return nil, err
	}
	go w.run(ctx)
	return w, nil
}

// listen asks the kernel for events of all that matters.
func (w *Watcher) listen() error {
	f, err := fsnotify.NewWatcher()
	if err != nil {
		return w.explain(err)
	}
	w.fs = f
	w.mu.Lock()
	w.dirs = make(map[string]bool)
	w.mu.Unlock()
	w.extra, w.extraDirs = make(map[string]string), make(map[string]bool)
	for _, path := range w.o.Extra {
		if err := w.addExtra(path); err != nil {
			return errors.Join(fmt.Errorf("watch %s: %w", path, err), f.Close())
		}
	}
	if _, err := w.add(w.o.Root, false); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// addExtra watches the folder of a file, rather than the file: a save often
// replaces it. Where the file is a link, so is its target.
func (w *Watcher) addExtra(path string) error {
	paths := []string{path}
	if target, err := filepath.EvalSymlinks(path); err == nil && target != path {
		paths = append(paths, target)
	}
	for _, p := range paths {
		w.extra[p] = path
		dir := filepath.Dir(p)
		w.extraDirs[dir] = true
		if err := w.fs.Add(dir); err != nil {
			return w.explain(err)
		}
	}
	return nil
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

// Polling says why the watcher looks for changes instead of being told, and how
// often. It is empty when it is told.
func (w *Watcher) Polling() string {
	if w.poll == nil {
		return ""
	}
	return w.poll.String()
}

// Err is why the watcher ended, nil when it was asked to; valid when Changes is
// closed.
func (w *Watcher) Err() error { return w.err }

func (w *Watcher) run(ctx context.Context) {
	defer close(w.changes)
	defer w.ignored.close()
	defer func() {
		if w.fs != nil {
			_ = w.fs.Close() // it is of no more use
		}
	}()
	settled := time.NewTimer(time.Hour)
	settled.Stop()
	defer settled.Stop()
	var ready Set
	for {
		var (
			events chan fsnotify.Event
			errs   chan error
			tick   <-chan time.Time
			out    chan Set
		)
		if w.fs != nil {
			events, errs = w.fs.Events, w.fs.Errors
		}
		if w.poll != nil {
			tick = w.poll.timer.C
		}
		if !ready.empty() {
			out = w.changes
		}
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				w.err = fmt.Errorf("watch the tree: %w", fsnotify.ErrClosed)
			} else if w.event(e) {
				settled.Reset(w.wait())
			}
		case <-tick:
			if w.look(ctx) {
				settled.Reset(w.wait())
			}
		case err := <-errs:
			switch {
			case errors.Is(err, fsnotify.ErrEventOverflow):
				w.rescan = true
				settled.Reset(w.wait())
			case !errors.Is(err, unix.EINVAL): // a watch that was gone before it was removed
				w.err = fmt.Errorf("watch the tree: %w", err)
			}
		case <-settled.C:
			if d := w.hold(); d > 0 {
				settled.Reset(d)
				break
			}
			ready = w.settle(ready)
		case out <- ready:
			ready = Set{}
		}
		if w.err != nil {
			return
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
	if w.gitLock == "" {
		return 0
	}
	st, err := os.Lstat(w.gitLock)
	if err != nil {
		return 0
	}
	if most := lockFactor * w.o.Max; time.Since(w.first) > most || time.Since(st.ModTime()) > most {
		return 0 // a lock that somebody forgot, or holds while he writes a message
	}
	return max(w.o.Quiet, 10*time.Millisecond)
}

// settle adds the pending changes to a set.
func (w *Watcher) settle(set Set) Set {
	if w.rescan && w.fs != nil {
		// Folders may have come, gone and changed their names while nobody looked.
		// Starting over is the only way to be sure of the names.
		_ = w.fs.Close()
		if err := w.listen(); err != nil {
			w.err = err
			return set
		}
	}
	guesses := w.ignored.guesses()
	maps.DeleteFunc(w.pending, func(path string, made bool) bool {
		// What came and went is nobody's source. In a build in the tree ar does
		// that in each folder, with a stXXXXXX that no .gitignore knows.
		// A linker makes a file first and writes it later: so programs can be
		// told only now.
		return made && !exists(path) || guesses && program(path)
	})
	for _, p := range set.Paths {
		w.pending[p] = false
	}
	set.Paths = slices.Sorted(maps.Keys(w.pending))
	set.Rescan = set.Rescan || w.rescan
	if set.Err == nil {
		set.Err = w.lost
	}
	clear(w.pending)
	w.rescan, w.lost, w.first = false, nil, time.Time{}
	return set
}

// event takes in what fsnotify saw and says whether it matters.
func (w *Watcher) event(e fsnotify.Event) bool {
	if e.Name == "" || e.Op == fsnotify.Chmod && !touched(e.Name) {
		return false
	}
	away := e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)
	if away && e.Name == w.o.Root {
		if !exists(w.o.Root) {
			w.err = fmt.Errorf("watch the tree: %s was removed or renamed", w.o.Root)
		}
		w.rescan = true // another took its name
		return true
	}
	matters := w.eventOfExtra(e)
	if w.excluded(e.Name) || !below(e.Name, w.o.Root) {
		return matters
	}
	if filepath.Base(e.Name) == ".gitignore" {
		w.ignored.reset()
	}
	if e.Has(fsnotify.Create) {
		if st, err := os.Lstat(e.Name); err == nil && st.IsDir() {
			return w.newDir(e.Name) || matters
		}
	}
	if away {
		w.removeBelow(e.Name)
	}
	if w.ignored.match(e.Name) {
		return matters
	}
	if _, ok := w.pending[e.Name]; !ok {
		w.pending[e.Name] = e.Has(fsnotify.Create) && !moved(e)
	}
	return true
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

// eventOfExtra does what event does, for Options.Extra and their folders.
func (w *Watcher) eventOfExtra(e fsnotify.Event) bool {
	if path, ok := w.extra[e.Name]; ok {
		w.pending[path] = false
		if e.Has(fsnotify.Create) && w.fs != nil {
			if err := w.addExtra(path); err != nil { // it may be another link now
				w.lose(err)
			}
		}
		return true
	}
	if !w.extraDirs[e.Name] || e.Has(fsnotify.Write) || w.dirs[e.Name] {
		return false // the last is up to what watches the tree
	}
	// The watch goes by inode: it doesn't follow the name.
	_ = w.fs.Remove(e.Name)
	matters := false
	for p, path := range w.extra {
		if filepath.Dir(p) != e.Name {
			continue
		}
		if err := w.fs.Add(e.Name); err != nil {
			if w.dirs[filepath.Dir(e.Name)] {
				continue // its return will be seen
			}
			w.lose(fmt.Errorf("watch %s: its folder was removed or renamed", path))
		}
		w.pending[path] = false
		matters = true
	}
	return matters
}

// lose records that changes won't be seen.
func (w *Watcher) lose(err error) {
	if w.lost == nil {
		w.lost = err
	}
}

// newDir takes in a folder that was made or renamed, and what is in it.
func (w *Watcher) newDir(dir string) bool {
	files, err := w.add(dir, true)
	if err != nil {
		w.lose(err)
	}
	matters := err != nil
	for _, f := range files {
		if path, ok := w.extra[f]; ok {
			w.pending[path] = false
		} else if w.excluded(f) || w.ignored.match(f) {
			continue
		} else {
			w.pending[f] = false
		}
		matters = true
	}
	return matters
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

// add watches a folder and all below it, and lists, when asked, the files that
// are in them: they were made before the watch and would be missed.
func (w *Watcher) add(root string, list bool) ([]string, error) {
	var files []string
	var g errgroup.Group
	g.SetLimit(8)
	leaves := leavesOf(root)
	var walk func(dir string) error
	walk = func(dir string) error {
		// First the watch, then the contents: what comes in between is seen twice
		// rather than never.
		if err := w.fs.Add(dir); err != nil {
			if unwatchable(err) && dir != w.o.Root {
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
		w.mu.Lock()
		w.dirs[dir] = true
		w.mu.Unlock()
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case e.IsDir():
				if w.excluded(path) || generated(path) {
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
				w.mu.Lock()
				files = append(files, path)
				w.mu.Unlock()
			}
		}
		return nil
	}
	g.Go(func() error { return walk(root) })
	if err := g.Wait(); err != nil {
		return files, w.explain(err)
	}
	return files, nil
}

// unwatchable says that a folder is gone, or that make can't read it either.
func unwatchable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, fs.ErrPermission)
}

// explain explains an error of inotify.
func (w *Watcher) explain(err error) error {
	folders := 0
	if errors.Is(err, unix.ENOSPC) {
		// The user wants to raise the limit once, not again and again.
		_ = filepath.WalkDir(w.o.Root, func(path string, e fs.DirEntry, err error) error {
			switch {
			case e == nil || !e.IsDir():
			case path != w.o.Root && (w.excluded(path) || generated(path)):
				return fs.SkipDir
			default:
				folders++
			}
			return nil
		})
	}
	return watchError(err, folders)
}

// A LimitError says that the kernel has no more watches for this user.
type LimitError struct {
	err     error
	name    string // of the sysctl
	value   string
	folders int // of the tree, each of which needs a watch; 0 when that isn't what is short
	needed  int
}

func (e *LimitError) Error() string {
	text := fmt.Sprintf("watch the tree: %v: %s is %s for all programs of a user", e.err, e.name, e.value)
	if e.folders > 0 {
		text += fmt.Sprintf(", and the tree alone needs %d", e.folders)
	}
	return text
}

func (e *LimitError) Unwrap() error { return e.err }

// Hint is the command that raises the limit.
func (e *LimitError) Hint() string {
	return fmt.Sprintf("sudo sysctl %s=%d", e.name, e.needed)
}

// watchError explains an error of inotify in a tree of so many folders.
func watchError(err error, folders int) error {
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
			needed = max(needed, 2*n, n+2*folders)
		}
	}
	return &LimitError{err: err, name: name, value: text, folders: folders, needed: needed}
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
