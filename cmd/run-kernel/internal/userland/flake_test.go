// SPDX-License-Identifier: GPL-3.0-only

package userland

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseFlake(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "repo", ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("repo", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	toplevel := func(name string) string { return "nixosConfigurations." + name + ".config.system.build.toplevel" }
	for _, c := range []struct {
		text string
		want Flake
	}{
		{"./nixos", Flake{dir + "/nixos", "path:" + dir + "/nixos", toplevel("vm")}},
		{"/etc/nixos/", Flake{"/etc/nixos", "path:/etc/nixos", toplevel("vm")}},
		{"./nixos#", Flake{dir + "/nixos", "path:" + dir + "/nixos", toplevel("vm")}},
		{"./nixos#test-vm", Flake{dir + "/nixos", "path:" + dir + "/nixos", toplevel("test-vm")}},
		{`./nixos#"my.host"`, Flake{dir + "/nixos", "path:" + dir + "/nixos", toplevel(`"my.host"`)}},
		{"./nixos#packages.x86_64-linux.vm", Flake{dir + "/nixos", "path:" + dir + "/nixos", "packages.x86_64-linux.vm"}},
		{`./nixos#a."b.c".d`, Flake{dir + "/nixos", "path:" + dir + "/nixos", `a."b.c".d`}},
		{"path:./nixos", Flake{dir + "/nixos", "path:" + dir + "/nixos", toplevel("vm")}},
		{"/a b/c,d%?é", Flake{"/a b/c,d%?é", "path:/a%20b/c%2Cd%25%3F%C3%A9", toplevel("vm")}},
		{"./repo", Flake{dir + "/repo", "git+file://" + dir + "/repo", toplevel("vm")}},
		{"./link", Flake{dir + "/repo", "git+file://" + dir + "/repo", toplevel("vm")}},
		{"github:me/flakes#vm", Flake{"", "github:me/flakes", toplevel("vm")}},
		{"git+file:///src?dir=vm", Flake{"", "git+file:///src?dir=vm", toplevel("vm")}},
		{"path:/src?dir=vm", Flake{"", "path:/src?dir=vm", toplevel("vm")}},
	} {
		got, err := ParseFlake(c.text, dir)
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"", "#vm"} {
		if f, err := ParseFlake(text, dir); err == nil {
			t.Errorf("%q: got %+v", text, f)
		}
	}
}
