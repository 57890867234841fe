// SPDX-License-Identifier: GPL-3.0-only

package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode().Perm()
}

// names are what there is in a directory.
func names(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "two"} {
		// Who has opened the old contents goes on to read them.
		reader, _ := os.Open(path)
		if err := Write(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if reader != nil {
			old := make([]byte, 8)
			if n, _ := reader.Read(old); string(old[:n]) != "one" {
				t.Errorf("the reader got %q", old[:n])
			}
			_ = reader.Close()
		}
		if got := read(t, path); got != text || mode(t, path) != 0o600 {
			t.Errorf("got %q, %v", got, mode(t, path))
		}
	}
	if n := names(t, dir); n != 1 {
		t.Errorf("%d files are left", n)
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "d"), nil, 0o600); err == nil {
		t.Error("it replaces a directory")
	}
	if n := names(t, dir); n != 2 {
		t.Errorf("after a failure %d files are left", n)
	}
}

func TestRefresh(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "f")
	for _, c := range []struct {
		text    string
		changed bool
	}{{"one", true}, {"one", false}, {"two", true}, {"three", true}} {
		before, _ := os.Stat(path)
		changed, err := Refresh(path, []byte(c.text), 0o640, temp)
		if err != nil || changed != c.changed {
			t.Errorf("%s: changed is %v, %v", c.text, changed, err)
		}
		after, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(before, after) == c.changed {
			t.Errorf("%s: it is the same file: %v", c.text, !c.changed)
		}
		if got := read(t, path); got != c.text || mode(t, path) != 0o640 {
			t.Errorf("got %q, %v", got, mode(t, path))
		}
	}
	if n, m := names(t, dir), names(t, temp); n != 1 || m != 0 {
		t.Errorf("%d files are left, and %d temporary ones", n, m)
	}
	// Nothing is written where it can't be replaced.
	if _, err := Refresh(path, nil, 0o640, filepath.Join(temp, "none")); err == nil || read(t, path) != "three" {
		t.Errorf("without a directory for it: %v, %q", err, read(t, path))
	}
}

func TestUpdate(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "sub/.config"), filepath.Join(dir, "link")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := Update(path, []byte("one"), ""); err != nil {
		t.Fatal(err)
	}
	if mode(t, path) != 0o644 || names(t, filepath.Dir(path)) != 1 {
		t.Errorf("a new file: mode %v, %d files", mode(t, path), names(t, filepath.Dir(path)))
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(path, 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	temp := filepath.Join(dir, "sub/temporary")
	if err := Update(link, []byte("two"), temp); err != nil {
		t.Fatal(err)
	}
	if got, old := read(t, path), read(t, path+".old"); got != "two" || old != "one" {
		t.Errorf("got %q, and before %q", got, old)
	}
	if mode(t, path) != 0o640 || mode(t, path+".old") != 0o640 {
		t.Errorf("modes %v, %v", mode(t, path), mode(t, path+".old"))
	}
	if st, err := os.Stat(path); err == nil && root {
		if s := st.Sys().(*syscall.Stat_t); s.Uid != 1 || s.Gid != 2 {
			t.Errorf("it belongs to %d:%d", s.Uid, s.Gid)
		}
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: %v %v", st, err)
	}
	if n := names(t, filepath.Dir(path)); n != 2 {
		t.Errorf("%d files are left", n)
	}
}

func TestUpdateKeeps(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, ".config"), filepath.Join(dir, "other")
	for name, text := range map[string]string{path: "one", other: "mine"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// A link there is replaced: what it leads to isn't ours to write.
	if err := os.Symlink(other, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := Update(path, []byte("two"), ""); err != nil {
		t.Fatal(err)
	}
	if got, old := read(t, other), read(t, path+".old"); got != "mine" || old != "one" {
		t.Errorf("what the link led to is %q, and the contents before are %q", got, old)
	}
	// One that may not be written, as sudo make leaves it, is in nobody's way.
	if err := os.Chmod(path+".old", 0o444); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path + ".old")
	if err != nil {
		t.Fatal(err)
	}
	if err := Update(path, []byte("three"), ""); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path + ".old")
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(before, after) || read(t, path+".old") != "two" || mode(t, path+".old") != 0o644 {
		t.Errorf("the contents before are %q, with the mode %v", read(t, path+".old"), mode(t, path+".old"))
	}
	if n := names(t, dir); n != 3 {
		t.Errorf("%d files are left", n)
	}
}
