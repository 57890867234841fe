// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseShare(t *testing.T) {
	long := strings.Repeat("x", 200)
	for text, want := range map[string]Share{
		"share:./":                 {Tag: "share", Path: "./"},
		"a.b-c_d:/src:ro":          {"a.b-c_d", "/src", true},
		"s:/a:b":                   {Tag: "s", Path: "/a:b"},
		"s:/a:ro/":                 {Tag: "s", Path: "/a:ro/"},
		`s:/with blanks, "quotes'`: {Tag: "s", Path: `/with blanks, "quotes'`},
		"s:/" + long:               {Tag: "s", Path: "/" + long},
	} {
		if got, err := ParseShare(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for text, problem := range map[string]string{
		"":                     "no colon",
		"share":                "no colon",
		":/src":                "the tag",
		"a,b:/src":             "the tag",
		"a b:/src":             "the tag",
		`"a":/src`:             "the tag",
		"a/b:/src":             "the tag",
		"..:/src":              "the tag",
		"ä:/src":               "the tag",
		"a\x00:/src":           "the tag",
		long + ":/src":         "200 characters",
		"run-kernel.root:/src": "own",
		"s:":                   "no path",
		"s::ro":                "no path",
	} {
		if got, err := ParseShare(text); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
}

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
		{"path:./x", "path:./x"},
	} {
		l, err := Load(Sources{TreeDir: dir, Dir: "/work", Flags: parsed(t, "--flake", c.flag, "--share", "a b:x")})
		var v *ValueError
		if !errors.As(err, &v) || v.Where != "--share" || v.Hint() != shareHint {
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
