// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"os"
	"path/filepath"
	"testing"
)

// TestNewConfigOfALink replaces what the link leads to, as a fix does.
func TestNewConfigOfALink(t *testing.T) {
	l := newLab(t)
	l.Write("../mine", "CONFIG_MINE=y\n")
	mine, path := filepath.Join(l.Dir, "../mine"), filepath.Join(l.Dir, ".config")
	if err := os.Chmod(mine, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../mine", path); err != nil {
		t.Fatal(err)
	}
	if _, err := l.kernel.NewConfig(t.Context()); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(path); err != nil || to != "../mine" {
		t.Errorf(".config leads to %q, %v", to, err)
	}
	if got, old := l.Read("../mine"), l.Read("../mine.old"); got == "CONFIG_MINE=y\n" || old != "CONFIG_MINE=y\n" {
		t.Errorf("it leads to %q, which was %q", got, old)
	}
	for _, name := range []string{mine, mine + ".old"} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}
