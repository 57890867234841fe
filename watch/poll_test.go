// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// poll watches by looking often.
func (t *tree) poll(o *Options) { o.Poll = time.Millisecond }

func TestPoll(t *testing.T) {
	tree := newTree(t)
	tree.put(".gitignore", "*.o\n/conf\n.*\n!.gitignore\n")
	for _, name := range []string{"a.c", "b.c", "old/x.c", "lib/x.c", ".config", "build/x.c", "../conf/debug.config"} {
		tree.write(name)
	}
	tree.watch(func(o *Options) {
		tree.poll(o)
		o.StateDir = t.TempDir()
		o.Extra = []string{tree.path(".config"), tree.path("../conf/debug.config")}
		o.Ignore = []string{tree.path("build")}
	})
	if n := tree.w.Dirs(); n != 3 {
		t.Errorf("%d directories", n)
	}
	if got, want := tree.w.Polling(), "looking for changes every 1ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, tt := range []struct {
		name string
		do   func()
		want []string
	}{
		{"write", func() { tree.write("a.c") }, []string{"a.c"}},
		{"create, with directories", func() { tree.write("new/dir/x.c") }, []string{"new/dir/x.c"}},
		{"remove", func() { tree.remove("b.c") }, []string{"b.c"}},
		{"remove a directory", func() { tree.remove("new") }, []string{"new/dir/x.c"}},
		{"rename a directory", func() { tree.rename("old", "z") }, []string{"old/x.c", "z/x.c"}},
		{"chmod", func() { tree.check(os.Chmod(tree.path("a.c"), 0o600)) }, nil},
		{"atomic save", func() { tree.write(".new"); tree.write(".new"); tree.rename(".new", "a.c") }, []string{"a.c"}},
		{"an older file", func() {
			tree.check(os.Chtimes(tree.path("a.c"), time.Unix(1, 0), time.Unix(1, 0)))
		}, []string{"a.c"}},
		{"products", func() { tree.write("a.o"); tree.write("conf"); tree.write("include/generated/x.h") }, nil},
		{"ignored", func() { tree.write("build/x.c") }, nil},
		{"extra", func() { tree.write(".config"); tree.write("../conf/debug.config") }, []string{".config", "../conf/debug.config"}},
		{"neighbour of extra", func() { tree.write("../conf/other.config") }, nil},
		{"rules", func() { tree.put(".gitignore", "") }, []string{".gitignore"}},
		{"by other rules", func() { tree.write("conf") }, []string{"conf"}},
		{"a link", func() { tree.check(os.Symlink("../conf", tree.path("link"))) }, []string{"link"}},
	} {
		if tt.do(); !t.Run(tt.name, func(t *testing.T) {
			sub := *tree
			sub.T = t
			sub.reports(tt.want...)
			tree.marks = sub.marks
		}) {
			break
		}
	}
}

func TestPollEndsWithItsTree(t *testing.T) {
	tree := newTree(t)
	tree.watch(tree.poll)
	tree.remove(tree.root)
	for range tree.w.Changes() {
	}
	if err := tree.w.Err(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it ended with: %v", err)
	}
	if _, err := New(t.Context(), Options{Root: tree.root, Poll: time.Second}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("New: %v", err)
	}
}

func TestPollCancelled(t *testing.T) {
	tree := newTree(t)
	tree.write("a.c")
	ctx, cancel := context.WithCancel(context.Background())
	w, err := New(ctx, Options{Root: tree.root, Poll: time.Nanosecond})
	tree.check(err)
	cancel()
	for range w.Changes() {
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

func TestPollPauses(t *testing.T) {
	p := &poller{every: time.Second}
	if got := p.pause(time.Now()); got != time.Second {
		t.Errorf("after a short walk: %v", got)
	}
	if got := p.pause(time.Now().Add(-time.Minute)); got < pollShare*time.Minute {
		t.Errorf("after a walk of a minute: %v", got)
	}
}

func TestSilentFS(t *testing.T) {
	for magic, want := range map[int64]string{
		unix.NFS_SUPER_MAGIC:       "NFS",
		unix.FUSE_SUPER_MAGIC:      "FUSE",
		unix.V9FS_MAGIC:            "9p",
		int64(int32(-0x1acb2be)):   "SMB", // SMB2_SUPER_MAGIC in a signed 32-bit Type
		unix.CIFS_SUPER_MAGIC:      "SMB",
		unix.EXT4_SUPER_MAGIC:      "",
		unix.TMPFS_MAGIC:           "",
		unix.BTRFS_SUPER_MAGIC:     "",
		unix.OVERLAYFS_SUPER_MAGIC: "",
		unix.XFS_SUPER_MAGIC:       "",
	} {
		if got := silentType(magic); got != want {
			t.Errorf("%#x is %q, want %q", magic, got, want)
		}
	}
	if got := silentFS("/proc"); got != "" {
		t.Errorf("/proc is %q", got)
	}
	p := &poller{reason: "NFS", every: pollInterval}
	if got := p.String(); !strings.Contains(got, "NFS does not tell") || !strings.Contains(got, "every 2s") {
		t.Error(got)
	}
}
