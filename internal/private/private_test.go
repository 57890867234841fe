// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/metaspace/run-kernel/internal/trust"
)

const nobody = 65534

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	st, err := os.Lstat(path)
	must(t, err)
	return st.Mode()
}

func TestMkdirAll(t *testing.T) {
	base := t.TempDir()
	must(t, MkdirAll(&trust.Policy{}, base, "a", "b"))
	must(t, os.Chmod(filepath.Join(base, "a"), 0o755)) // as earlier versions made it
	must(t, MkdirAll(&trust.Policy{}, base, "a", "b", "c"))
	for _, dir := range []string{"a", "a/b", "a/b/c"} {
		if got := mode(t, filepath.Join(base, dir)); got != fs.ModeDir|0o700 {
			t.Errorf("%s: %v", dir, got)
		}
	}
}

// A link among the directories is refused, with what to do, and nothing is made
// where it leads.
func TestMkdirAllFollowsNoLink(t *testing.T) {
	base, elsewhere := t.TempDir(), t.TempDir()
	must(t, os.Symlink(elsewhere, filepath.Join(base, "link")), os.WriteFile(filepath.Join(base, "file"), nil, 0o644),
		os.Mkdir(filepath.Join(base, "dir"), 0o755), os.Symlink(elsewhere, filepath.Join(base, "dir/link")))
	for _, names := range [][]string{{"link"}, {"link", "sub"}, {"dir", "link"}, {"dir", "link", "sub"}, {"file"}} {
		var link *LinkError
		if err := MkdirAll(&trust.Policy{}, base, names...); !errors.As(err, &link) || !strings.HasPrefix(link.Hint(), "look at it, then remove it: rm "+base) {
			t.Errorf("%v: got %v", names, err)
		}
	}
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
		t.Errorf("there is %v, %v", entries, err)
	}
}

func TestMkdirAllOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has files of other users")
	}
	base := t.TempDir()
	dir := filepath.Join(base, "state")
	must(t, os.Mkdir(dir, 0o700), os.Chown(dir, nobody, nobody))
	var owner *OwnerError
	if err := MkdirAll(&trust.Policy{}, base, "state"); !errors.As(err, &owner) || owner.UID != nobody || owner.Hint() != "remove it: rm -r "+dir+"; or make it yours: chown -R 0 "+dir {
		t.Errorf("got %v", err)
	}
	sudo := nobody
	must(t, MkdirAll(&trust.Policy{Sudo: &sudo}, base, "state"), MkdirAll(&trust.Policy{Dirs: []string{base}}, base, "state"))
}

// Files are the user's alone, whatever was there before, and no link is followed.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must(t, WriteFile(in("new"), []byte("a long text")), WriteFile(in("new"), []byte("short")))
	must(t, os.WriteFile(in("wide"), []byte("x"), 0o644), WriteFile(in("wide"), []byte("short")))
	must(t, os.WriteFile(in("precious"), []byte("precious"), 0o644), os.Link(in("precious"), in("hard")), WriteFile(in("hard"), []byte("short")))
	for _, name := range []string{"new", "wide", "hard"} {
		if got, err := ReadFile(in(name)); string(got) != "short" || err != nil || mode(t, in(name)) != 0o600 {
			t.Errorf("%s: got %q, %v, %v", name, got, err, mode(t, in(name)))
		}
	}
	before, err := os.Stat(in("new"))
	must(t, err)
	must(t, WriteFile(in("new"), nil))
	if after, err := os.Stat(in("new")); err != nil || !os.SameFile(before, after) {
		t.Error("who follows the file follows it no more")
	}
	must(t, os.Symlink("precious", in("link")), os.Symlink("nowhere", in("loose")), os.Mkdir(in("dir"), 0o700), syscall.Mkfifo(in("fifo"), 0o600))
	for _, name := range []string{"link", "loose", "dir", "fifo"} {
		var link *LinkError
		if err := WriteFile(in(name), []byte("short")); !errors.As(err, &link) || !strings.HasSuffix(link.Hint(), " "+in(name)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := ReadFile(in("link")); err == nil {
		t.Error("a link is read")
	}
	must(t, os.Symlink(dir, filepath.Join(dir, "around")))
	if err := WriteFile(in("around/new"), nil); !errors.As(err, new(*LinkError)) {
		t.Errorf("through a linked directory: got %v", err)
	}
	if got, err := os.ReadFile(in("precious")); string(got) != "precious" || err != nil {
		t.Errorf("what a link leads to is %q, %v", got, err)
	}
}

// A file that sudo left is replaced, where the directory is the user's.
func TestCreateAfterSudo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has files of other users")
	}
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, []byte("theirs"), 0o666), os.Chown(path, nobody, nobody))
	theirs, err := os.Open(path)
	must(t, err)
	defer theirs.Close()
	must(t, WriteFile(path, []byte("ours")))
	if st, err := os.Stat(path); err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("it is %v, %v", st, err)
	}
	if same, err := theirs.Stat(); err != nil || same.Size() != int64(len("theirs")) {
		t.Error("it is the same file")
	}
}

// What a user has collected is there for sudo as well, and remains the user's.
func TestOpenUnderSudo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has files of other users")
	}
	dir := t.TempDir()
	must(t, os.Chown(dir, nobody, nobody))
	for name, text := range map[string]string{"old": "theirs", "new": ""} {
		path := filepath.Join(dir, name)
		if text != "" {
			must(t, os.WriteFile(path, []byte(text), 0o600), os.Chown(path, nobody, nobody))
		}
		f, err := Open(path)
		must(t, err)
		got, err := io.ReadAll(f)
		if string(got) != text || err != nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if st, err := f.Stat(); err != nil || st.Sys().(*syscall.Stat_t).Uid != nobody {
			t.Errorf("%s: it is %v, %v", name, st, err)
		}
		must(t, f.Close())
	}
}

// A log keeps its beginning and its end, and is never much longer than both.
func TestLog(t *testing.T) {
	const head, tail = 1000, 500
	for _, chunk := range []int{1, 7, 100, 999, 5000} {
		path := filepath.Join(t.TempDir(), "log")
		l, err := createLog(path, head, tail)
		must(t, err)
		var all bytes.Buffer
		for i := 0; all.Len() < 20000; i++ {
			fmt.Fprintf(&all, "line %d\n", i)
		}
		text := all.Bytes()
		written := 0
		for len(text) > 0 {
			n, err := l.Write(text[:min(chunk, len(text))])
			must(t, err)
			text, written = text[n:], written+n
			got, err := os.ReadFile(path)
			must(t, err)
			if len(got) > head+2*tail+100 {
				t.Fatalf("after %d bytes, there are %d", written, len(got))
			}
			if i := bytes.LastIndexByte(all.Bytes()[:written], '\n'); !bytes.HasSuffix(got, all.Bytes()[max(0, written-tail+20):written]) || i < 0 && written > 10 {
				t.Fatalf("after %d bytes, the end is %q", written, got[max(0, len(got)-20):])
			}
		}
		must(t, l.Close())
		got, err := os.ReadFile(path)
		must(t, err)
		begin, rest, ok := bytes.Cut(got, []byte("[run-kernel: … "))
		if !ok || !bytes.HasPrefix(all.Bytes(), begin) || len(begin) > head || len(begin) < head-20 || begin[len(begin)-1] != '\n' {
			t.Errorf("in pieces of %d, it begins with %q", chunk, begin)
		}
		count, end, ok := bytes.Cut(rest, []byte(" bytes left out …]\n"))
		if !ok || !bytes.HasPrefix(end, []byte("line ")) || string(count) != fmt.Sprint(all.Len()-len(begin)-len(end)) {
			t.Errorf("in pieces of %d, %q are left out of %d, of which %d are there", chunk, count, all.Len(), len(begin)+len(end))
		}
	}
}

// Of one line without an end, too, no more is kept.
func TestLogOfOneLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := createLog(path, 1000, 500)
	must(t, err)
	for range 100 {
		_, err := l.Write(bytes.Repeat([]byte("x"), 100))
		must(t, err)
	}
	must(t, l.Close())
	got, err := os.ReadFile(path)
	must(t, err)
	if len(got) > 2100 || !bytes.Contains(got, []byte("x\n[run-kernel: … ")) || !bytes.Contains(got, []byte(" bytes left out …]\nx")) {
		t.Errorf("there are %d bytes: %.1100q", len(got), got)
	}
}

// What isn't too long is left as it is.
func TestShortLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := createLog(path, 1000, 500)
	must(t, err)
	text := bytes.Repeat([]byte("x"), 2000)
	_, err = l.Write(text)
	must(t, err, l.Close())
	if got, err := os.ReadFile(path); !bytes.Equal(got, text) || err != nil {
		t.Errorf("there are %d bytes, %v", len(got), err)
	}
}
