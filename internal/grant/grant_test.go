// SPDX-License-Identifier: GPL-3.0-only

package grant

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseShare(t *testing.T) {
	long := strings.Repeat("x", 200)
	for text, want := range map[string]Share{
		"share:./":                 {Tag: "share", Dir: "./"},
		"a.b-c_d:/src:ro":          {Tag: "a.b-c_d", Dir: "/src", ReadOnly: true},
		"s:/a:b":                   {Tag: "s", Dir: "/a:b"},
		"s:/a:ro/":                 {Tag: "s", Dir: "/a:ro/"},
		`s:/with blanks, "quotes'`: {Tag: "s", Dir: `/with blanks, "quotes'`},
		"s:/" + long:               {Tag: "s", Dir: "/" + long},
	} {
		if got, err := ParseShare(text); err != nil || !reflect.DeepEqual(got, want) {
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

func TestParseDisk(t *testing.T) {
	for text, want := range map[string]Disk{
		"/a":                       {Path: "/a"},
		"/a:ro":                    {Path: "/a", ReadOnly: true},
		"/a:qcow2":                 {Path: "/a", Format: QCOW2},
		"/a:raw:ro":                {Path: "/a", Format: Raw, ReadOnly: true},
		"/a:ro:qcow2":              {Path: "/a", Format: QCOW2, ReadOnly: true},
		"/a:qcow2:ro:backing=/b:c": {Path: "/a", Format: QCOW2, ReadOnly: true, Backing: "/b:c"},
		"/a:qcow2:backing=/b:ro":   {Path: "/a", Format: QCOW2, ReadOnly: true, Backing: "/b"},
		"/a:b":                     {Path: "/a:b"},
		"/a:ro:ro":                 {Path: "/a:ro", ReadOnly: true},
		"/with, \" :":              {Path: "/with, \" :"},
	} {
		got := ParseDisk(text)
		if got != want {
			t.Errorf("%s: got %+v", text, got)
		}
		if again := ParseDisk(got.String()); again != got {
			t.Errorf("%s: as %q it is %+v", text, got, again)
		}
	}
}
