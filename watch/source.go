// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"path/filepath"
	"slices"
	"strings"
)

// A source notices changes in the tree and in Options.Extra: a *notifier is told of
// them by the kernel, a *poller looks. Whether they matter, and when they are
// settled, is up to the watcher.
type source interface {
	// batches delivers what was noticed.
	batches() <-chan batch
	// renew starts over when changes went unnoticed.
	renew() error
	// dirs is the number of directories that it covers.
	dirs() int
	// polling says how it looks for changes; empty when it is told.
	polling() string
	// close ends it. It may be called again.
	close()
}

// A batch is what was noticed at once.
type batch struct {
	changes []fileChange
	rescan  bool  // others went unnoticed
	lost    error // why some will not be noticed from now on
	err     error // why the source ended
}

// any says whether there is anything to tell.
func (b *batch) any() bool {
	return len(b.changes) > 0 || b.rescan || b.lost != nil || b.err != nil
}

// lose records that changes won't be noticed.
func (b *batch) lose(err error) {
	if b.lost == nil {
		b.lost = err
	}
}

// A fileChange is that of a file, or of a directory that is gone.
type fileChange struct {
	path  string
	made  bool // it was made by that
	found bool // in a new directory: whether it was made before is of no matter
	extra bool // it is one of Options.Extra, which no rule ignores
}

// excluded says whether a path never matters.
func (o *Options) excluded(path string) bool {
	return slices.ContainsFunc(o.Ignore, func(dir string) bool { return below(path, dir) }) || temporary(filepath.Base(path))
}

func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// temporary recognises names that editors use while they save, and names that
// the kernel's .gitignore begins with: ".*".
func temporary(name string) bool {
	return strings.HasPrefix(name, ".") && name != ".gitignore" ||
		strings.HasSuffix(name, "~") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") ||
		name == "4913" || // vim tries whether it may write the directory
		strings.HasSuffix(name, ".swp") || strings.HasSuffix(name, ".swx") ||
		strings.HasSuffix(name, "___jb_tmp___") || strings.HasSuffix(name, "___jb_old___") ||
		strings.HasSuffix(name, ".orig") || strings.HasSuffix(name, ".rej")
}
