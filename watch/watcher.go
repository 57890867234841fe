// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options say what to watch.
type Options struct {
	Root   string   // the source tree; absolute, without links
	Extra  []string // files elsewhere, or ignored ones, that matter: .config, fragments; absolute, their directories exist
	Ignore []string // files and directories that don't: a build directory below Root, shares that a guest writes; absolute

	Quiet time.Duration // how long nothing must change until a set is settled
	Max   time.Duration // how long a set may wait for that

	// Poll makes the watcher look for changes so often. With 0 it is told of them
	// by the kernel, except on file systems that don't tell.
	Poll time.Duration

	StateDir string // for what the rules of .gitignore need in a tree without git; may be empty
}

// A Set is what changed in one burst.
type Set struct {
	// Paths are absolute and sorted. A directory that was removed or renamed stands
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

	source source

	// Of the goroutine that takes changes in.
	pending map[string]bool // what changed; true when it was made since the last set
	rescan  bool
	lost    error     // for Set.Err
	first   time.Time // of the pending changes; zero when there are none
	err     error
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
	var err error
	if silent := silentFS(o.Root); o.Poll > 0 || silent != "" {
		w.source, err = newPoller(ctx, &w.o, silent)
	} else {
		w.source, err = newNotifier(&w.o)
	}
	if err != nil {
		return nil, err
	}
	go w.run(ctx)
	return w, nil
}

// Changes delivers the sets. A set that nobody has taken grows. The channel is
// closed when the watcher ends.
func (w *Watcher) Changes() <-chan Set { return w.changes }

// Dirs is the number of directories that are watched.
func (w *Watcher) Dirs() int { return w.source.dirs() }

// Polling says why the watcher looks for changes instead of being told, and how
// often. It is empty when it is told.
func (w *Watcher) Polling() string { return w.source.polling() }

// Err is why the watcher ended, nil when it was asked to; valid when Changes is
// closed.
func (w *Watcher) Err() error { return w.err }

func (w *Watcher) run(ctx context.Context) {
	defer close(w.changes)
	defer w.ignored.close()
	defer w.source.close()
	settled := time.NewTimer(time.Hour)
	settled.Stop()
	defer settled.Stop()
	var ready Set
	for {
		var out chan Set
		if !ready.empty() {
			out = w.changes
		}
		select {
		case <-ctx.Done():
			return
		case b := <-w.source.batches():
			if w.take(b) {
				settled.Reset(w.wait())
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
	if w.rescan && w.source != nil {
		if err := w.source.renew(); err != nil {
			w.err = err
			return set
		}
	}
	guesses := w.ignored.guesses()
	maps.DeleteFunc(w.pending, func(path string, made bool) bool {
		// What came and went is nobody's source. In a build in the tree ar does
		// that in each directory, with a stXXXXXX that no .gitignore knows.
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

// take takes in what was noticed, and says whether it matters.
func (w *Watcher) take(b batch) bool {
	if b.err != nil {
		w.err = b.err
	}
	if w.lost == nil {
		w.lost = b.lost
	}
	w.rescan = w.rescan || b.rescan
	if b.rescan {
		w.ignored.reset() // a .gitignore may be among what went unnoticed
	}
	matters := b.rescan || b.lost != nil
	for _, c := range b.changes {
		if !c.extra {
			if filepath.Base(c.path) == ".gitignore" {
				w.ignored.reset()
			}
			if w.ignored.match(c.path) {
				continue
			}
		}
		if _, ok := w.pending[c.path]; !ok || c.found || c.extra {
			w.pending[c.path] = c.made
		}
		matters = true
	}
	return matters
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
