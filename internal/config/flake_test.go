// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/grant"
)

// Paths are relative to what names them.
func TestSharesAndFlakes(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, FileName, "[run]\nshare = ['a:x', 'b:../y:ro', 'c:z:ro/', 'd:/w']\nflake = './vm#x'\n")
	l, err := Load(Sources{TreeDir: dir, Dir: "/work", Flags: parsed(t)})
	if err != nil {
		t.Fatal(err)
	}
	parent := dir[:strings.LastIndexByte(dir, '/')]
	want := []string{"a:" + dir + "/x", "b:" + parent + "/y:ro", "c:" + dir + "/z:ro/", "d:/w"}
	if diff := cmp.Diff(want, l.Run.Share); diff != "" {
		t.Error(diff)
	}
	if want := dir + "/vm#x"; l.Run.Flake != want {
		t.Errorf("flake is %s, want %s", l.Run.Flake, want)
	}
	for _, c := range []struct{ flag, want string }{
		{"./nixos", "/work/nixos"},
		{"nixos#a.b", "/work/nixos#a.b"},
		{"/etc/nixos", "/etc/nixos"},
		{"github:me/vm#x", "github:me/vm#x"},
		{"path:./x", "path:/work/x"},
		{"path:../x#a.b", "path:/x#a.b"},
		{"path:/x", "path:/x"},
		{"path:./x?dir=vm", "path:./x?dir=vm"},
	} {
		l, err := Load(Sources{TreeDir: dir, Dir: "/work", Flags: parsed(t, "--flake", c.flag, "--share", "a b:x")})
		var v *ValueError
		if !errors.As(err, &v) || v.Where != "--share" || v.Hint() != grant.ShareHint {
			t.Errorf("a tag with a blank: got %v", err)
		}
		if l.Run.Flake != c.want {
			t.Errorf("--flake %s is %s, want %s", c.flag, l.Run.Flake, c.want)
		}
	}
	_, err = Load(Sources{Dir: "/work", Environ: []string{"RUN_KERNEL_RUN_SHARE=a:x 'a:y z'"}, Flags: parsed(t)})
	if err == nil || !strings.Contains(err.Error(), `"a:/work/y z": the tag "a" is used twice`) {
		t.Errorf("a tag used twice: got %v", err)
	}
}
