// SPDX-License-Identifier: GPL-3.0-only

package trust

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

const nobody = 65534

func makeFile(t *testing.T, path string, uid int) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644), os.Chown(path, uid, uid)); err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root has files of other users")
	}
}

// A file is a stranger's when it, or what it leads to, belongs to one.
func TestCheck(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	sudo := nobody
	makeFile(t, filepath.Join(dir, "mine"), 0)
	makeFile(t, filepath.Join(dir, "theirs"), nobody)
	for name, to := range map[string]string{"link-to-theirs": "theirs", "their-link": "mine", "loose": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Lchown(filepath.Join(dir, "their-link"), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	around := filepath.Join(other, "link")
	if err := os.Symlink(dir, around); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		policy  Policy
		root    string
		strange bool
	}{
		{"mine", Policy{}, dir, false},
		{"absent", Policy{}, dir, false},
		{"loose", Policy{}, dir, false},
		{"theirs", Policy{}, dir, true},
		{"link-to-theirs", Policy{}, dir, true},
		{"their-link", Policy{}, dir, true},
		{"theirs", Policy{Sudo: &sudo}, dir, false},
		{"theirs", Policy{Dirs: []string{dir}}, dir, false},
		{"theirs", Policy{Dirs: []string{filepath.Dir(dir)}}, dir, false},
		{"theirs", Policy{Dirs: []string{"/"}}, dir, false},
		{"theirs", Policy{Dirs: []string{around}}, dir, false},
		{"theirs", Policy{Dirs: []string{dir}}, around, false},
		{"theirs", Policy{Dirs: []string{other}}, around, true}, // a link into it is none of it
		{"theirs", Policy{Dirs: []string{dir + "x", dir[:len(dir)-1]}}, dir, true},
		{"theirs", Policy{Dirs: []string{filepath.Join(dir, "theirs")}}, dir, true},
	} {
		var foreign *ForeignError
		err := tt.policy.Check("tree", tt.root, "mine", tt.name)
		if errors.As(err, &foreign) != tt.strange || (err != nil) != tt.strange {
			t.Errorf("%s in %s with %+v: got %v", tt.name, tt.root, tt.policy, err)
		}
	}
}

func TestStops(t *testing.T) {
	needRoot(t)
	sudo := nobody
	for _, tt := range []struct {
		mode   os.FileMode
		uid    int
		policy Policy
		want   bool
	}{
		{0o755, 0, Policy{}, false},
		{0o775, 0, Policy{}, false}, // a group is who the owner made it
		{0o777, 0, Policy{}, false}, // our own, in some containers
		{0o777, nobody, Policy{}, true},
		{0o777, nobody, Policy{Sudo: &sudo}, false},
		{0o777 | os.ModeSticky, 0, Policy{}, true},
		{0o777 | os.ModeSticky, nobody, Policy{Sudo: &sudo}, true},
		{0o755, nobody, Policy{}, false}, // its owner is checked where there is a tree
	} {
		dir := t.TempDir()
		if err := errors.Join(os.Chown(dir, tt.uid, tt.uid), os.Chmod(dir, tt.mode)); err != nil {
			t.Fatal(err)
		}
		if got := tt.policy.Stops(dir); got != tt.want {
			t.Errorf("%v of %d with %+v: got %v", tt.mode, tt.uid, tt.policy, got)
		}
		named := tt.policy
		named.Dirs = []string{dir}
		if named.Stops(dir) {
			t.Errorf("%v of %d, although it is named", tt.mode, tt.uid)
		}
	}
}

// The variable is sudo's only where it has made us root.
func TestSudo(t *testing.T) {
	for _, value := range []string{"", "x", "-1", "1000 "} {
		if got := Sudo(value); got != nil {
			t.Errorf("%q: got %d", value, *got)
		}
	}
	got := Sudo(strconv.Itoa(nobody))
	if os.Geteuid() != 0 && got != nil || os.Geteuid() == 0 && (got == nil || *got != nobody) {
		t.Errorf("got %v", got)
	}
}

// The message is the way out.
func TestHint(t *testing.T) {
	for _, tt := range []struct{ dir, config, want string }{
		{"/srv/linux", "/root/cfg", `if you trust its owner, begin /root/cfg with the line: trust = ["/srv/linux"]; or, for once, set RUN_KERNEL_TRUST=/srv/linux`},
		{"/srv/my linux", "", `if you trust its owner, set RUN_KERNEL_TRUST='/srv/my linux'`},
		{"/srv/a:b", "/root/cfg", `if you trust its owner, begin /root/cfg with the line: trust = ["/srv/a:b"]`},
		{"/root/cfg", "/root/cfg", `if you trust its owner, set RUN_KERNEL_TRUST=/root/cfg`},
	} {
		e := &ForeignError{Dir: tt.dir, policy: &Policy{ConfigFile: tt.config}}
		if got := e.Hint(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
