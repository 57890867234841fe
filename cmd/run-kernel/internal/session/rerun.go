// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/watch"
)

// guestView is how long a guest may believe what it has read of a share: virtiofsd's
// --cache=auto says a second.
const guestView = 1100 * time.Millisecond

// commandFiles are what only the loop's command reads.
type commandFiles struct {
	paths []string // absolute; a directory stands for all below it

	mu      sync.Mutex
	changed time.Time
}

// split takes those of the changed paths that only the command reads.
func (c *commandFiles) split(changed []string) (others, command []string) {
	for _, path := range changed {
		if c.has(path) {
			command = append(command, path)
		} else {
			others = append(others, path)
		}
	}
	if len(command) > 0 {
		c.note()
	}
	return others, command
}

// lost says whether files of the command may be among changes that nobody saw.
func (c *commandFiles) lost() bool {
	if len(c.paths) == 0 {
		return false
	}
	c.note()
	return true
}

// note notes a change.
func (c *commandFiles) note() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = time.Now()
}

func (c *commandFiles) has(path string) bool {
	return slices.ContainsFunc(c.paths, func(p string) bool { return kbuild.Within(p, path) })
}

// await waits until a guest sees the last change.
func (c *commandFiles) await(ctx context.Context) {
	c.mu.Lock()
	rest := time.Until(c.changed.Add(guestView))
	c.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(rest):
	}
}

// commandFiles returns what the configuration says that only the command reads.
func (s *Session) commandFiles() (*commandFiles, error) {
	c := &commandFiles{}
	if s.Config.Watch.Exec == "" {
		return c, nil
	}
	for _, path := range s.Config.Watch.Rerun {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, fmt.Errorf("rerun: %w", err)
		}
		if kbuild.Within(real, s.Kernel.Tree.Source) {
			return nil, &rerunTreeError{path, s.Kernel.Tree.Source}
		}
		c.paths = append(c.paths, real)
	}
	return c, nil
}

// outside are the directories that are not in the tree, which are watched like that.
func (c *commandFiles) outside(tree watch.Options) ([]watch.Options, error) {
	var list []watch.Options
	for _, path := range c.paths {
		if kbuild.Within(tree.Root, path) {
			continue
		}
		if st, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("rerun: %w", err)
		} else if !st.IsDir() {
			return nil, &rerunError{path}
		}
		list = append(list, watchLike(tree, path))
	}
	return list, nil
}

// A rerunError is about a file whose changes the guest wouldn't see: it may keep what it
// has read of its userland.
type rerunError struct{ path string }

func (e *rerunError) Error() string {
	return "rerun: " + e.path + " is a file outside of the source tree, of which the guest sees no change"
}

func (e *rerunError) Hint() string {
	return "a directory is shared with the guest: --rerun " + filepath.Dir(e.path)
}

// A rerunTreeError is about a directory with the source tree in it, of which no change
// would be built.
type rerunTreeError struct{ path, tree string }

func (e *rerunTreeError) Error() string {
	return "rerun: all of the source tree " + e.tree + " is in " + e.path + ", and no change of it would be built"
}

func (e *rerunTreeError) Hint() string {
	return "name a directory that only the command reads, such as --rerun tools/testing/selftests/mine"
}
