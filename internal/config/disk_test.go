// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Paths are relative to what names them.
func TestDisksAndForwards(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, FileName, "[run]\ndisk = ['a.img', '../b:ro', '/c:ro']\nforward = ['8080:80']\n")
	l, err := Load(Sources{TreeDir: dir, Dir: "/work", Flags: parsed(t)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{dir + "/a.img", dir[:strings.LastIndexByte(dir, '/')] + "/b:ro", "/c:ro"}, l.Run.Disk); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"8080:80"}, l.Run.Forward); diff != "" {
		t.Error(diff)
	}
}

func TestBadDisksAndForwards(t *testing.T) {
	for text, want := range map[string]string{
		"disk = ['']":                           "has no path",
		"disk = [':ro']":                        "has no path",
		"disk = ['a', 'b', 'a']":                "used twice",
		"disk = ['a:ro', 'a']":                  "used twice",
		"disk = ['a', 'a:ro']":                  "used twice",
		"forward = ['80']":                      "no colon",
		"forward = ['80:']":                     `"" is no port`,
		"forward = ['x:80']":                    `"x" is no port`,
		"forward = ['0:80']":                    `"0" is no port`,
		"forward = ['1:65536']":                 `"65536" is no port`,
		"forward = ['1:-1']":                    `"-1" is no port`,
		"forward = ['1:2:3']":                   `"2:3" is no port`,
		"forward = ['1:2', '1:3']":              "port 1 is used twice",
		"forward = ['1:2']\nnetwork = 'none'":   "no network",
		"disk = ['a:ro', 'a:ro', 'b:ro']\nx=''": "unknown key", // the disks are fine
	} {
		_, _, err := loadFile(t, "[run]\n"+text+"\n")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(text, "x=") && strings.Contains(err.Error(), "disk") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
