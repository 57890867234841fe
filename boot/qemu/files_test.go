// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A program finds each file under the number that Add returned.
func TestFiles(t *testing.T) {
	var files Files
	dir := t.TempDir()
	script, want := "", ""
	for i, name := range []string{"a", "b", "c"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		n := files.Add(f)
		if n != 3+i {
			t.Errorf("%s: got %d", name, n)
		}
		script += fmt.Sprintf("cat <&%d; ", n)
		want += name
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.ExtraFiles = files.Extra()
	if out, err := cmd.CombinedOutput(); string(out) != want || err != nil {
		t.Errorf("got %q %v", out, err)
	}
	if n := files.Add(nil); n != 6 {
		t.Errorf("none: got %d", n)
	}
	files.Close()
	files.Close()
	if err := files.Extra()[0].Close(); err == nil {
		t.Error("it is still open")
	}
}
