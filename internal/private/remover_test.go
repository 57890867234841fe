// SPDX-License-Identifier: GPL-3.0-only

package private

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// keepVariable has the test's executable keep a file until it is killed.
const keepVariable = "RUN_KERNEL_TEST_KEEP"

func keep(path string) {
	if _, err := RemoveAtEnd(path); err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString("kept\n")
	select {}
}

func TestTempDir(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, os.Mkdir("tmp", 0o700))
	t.Setenv("TMPDIR", "tmp")
	dir, remove, err := TempDir("run-kernel-test-")
	must(t, err)
	if _, err := os.Stat(dir); err != nil || !filepath.IsAbs(dir) {
		t.Errorf("with a relative $TMPDIR: %s, %v", dir, err)
	}
	remove()
	if left, err := os.ReadDir("tmp"); err != nil || len(left) > 0 {
		t.Errorf("it is left: %v, %v", left, err)
	}
}

func TestRemoveAtEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory")
	create := func() {
		t.Helper()
		if err := errors.Join(os.MkdirAll(path, 0o700), os.WriteFile(filepath.Join(path, "file"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	gone := func() bool {
		_, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	}
	// Who stops it removes nothing.
	create()
	stop, err := RemoveAtEnd(path)
	if err != nil {
		t.Fatal(err)
	}
	if stop(); gone() {
		t.Error("it is removed although that was stopped")
	}
	// Who is killed does.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), keepVariable+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(time.Minute); !gone(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is left")
		}
	}
}

// A remover that comes late finds the next owner's file, and leaves it.
func TestRemoverThatIsLate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	create := func() string {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return identity(path)
	}
	first := create()
	second := first
	for second == first { // the inode is the same, and times are coarse
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		second = create()
	}
	for _, c := range []struct {
		of   string
		left bool
	}{{first, true}, {second, false}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Close() // its owner has gone
		cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{removerName, path, c.of}, ExtraFiles: []*os.File{r}}
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		if _, err := os.Lstat(path); (err == nil) != c.left {
			t.Errorf("the file of %s, for %s: %v", second, c.of, err)
		}
	}
}

// A remover that finds a file just before its next owner replaces it leaves that one.
func TestRemoverInBetween(t *testing.T) {
	dir := t.TempDir()
	path, next := filepath.Join(dir, "file"), filepath.Join(dir, "next")
	for range 2000 {
		// Both at once, so that they have two inodes.
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.WriteFile(next, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		want := identity(path)
		var replaced sync.WaitGroup
		replaced.Go(func() {
			// As Listen does.
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if err := os.Rename(next, path); err != nil {
				t.Error(err)
			}
		})
		removeIf(path, want)
		replaced.Wait()
		if names, err := os.ReadDir(dir); err != nil || len(names) != 1 || names[0].Name() != "file" {
			t.Fatalf("%v, %v is there, not the file alone", names, err)
		}
	}
}
