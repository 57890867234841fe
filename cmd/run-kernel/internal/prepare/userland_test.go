// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/config"
)

func TestUserland(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/nix": 0o755, "tree/nixos/flake.nix": 0o644, "other/flake.nix": 0o644} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("#!/bin/sh\n"), mode)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	tree, bare := filepath.Join(dir, "tree"), filepath.Join(dir, "bare")
	for _, c := range []struct {
		userland, flake, tree string
		kind                  string
		err                   bool
	}{
		{"auto", config.DefaultFlake, tree, userland.Nix, false},
		{"auto", config.DefaultFlake, bare, userland.Host, false},
		{"auto", dir + "/other", bare, userland.Nix, false},
		{"auto", "github:me/vm", bare, userland.Nix, false},
		{"auto", dir + "/none", tree, "", true}, // asked for: not to be passed over
		{"nix", config.DefaultFlake, tree, userland.Nix, false},
		{"nix", config.DefaultFlake, bare, "", true},
		{"host", dir + "/other", tree, userland.Host, false},
		{"/srv/root", config.DefaultFlake, tree, "/srv/root", false},
		{"auto", "#vm", tree, "", true},
	} {
		conf := config.Default()
		conf.Run.Userland, conf.Run.Flake = c.userland, c.flake
		u, err := NewUserland(&conf, c.tree)
		if (err != nil) != c.err || err == nil && u.Kind != c.kind {
			t.Errorf("userland %s, flake %s in %s: got %+v, %v", c.userland, c.flake, c.tree, u, err)
		}
	}
}

// Each userland has its own requirements.
func TestGroupsOfUserlands(t *testing.T) {
	l := newLab(t)
	for _, c := range []struct {
		userland  string
		with, not []string
	}{
		{"host", []string{"host-userland"}, []string{"systemd", "nixos"}},
		{"/srv/root", []string{"host-userland"}, []string{"systemd", "nixos"}},
		{"nix", []string{"systemd", "nixos"}, []string{"host-userland"}},
	} {
		l.kernel.Config.Run.Userland = c.userland
		l.kernel.Config.Run.Flake = "github:me/vm"
		names, err := l.kernel.groups(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.with {
			if !slices.Contains(names, name) {
				t.Errorf("%s: no group %s", c.userland, name)
			}
		}
		for _, name := range c.not {
			if slices.Contains(names, name) {
				t.Errorf("%s: group %s", c.userland, name)
			}
		}
	}
}

// What a boot won't use isn't required.
func TestGroupsOfMountTypes(t *testing.T) {
	l := newLab(t)
	for _, c := range []struct {
		mountType, network string
		with, not          []string
	}{
		{"virtiofs", "user", []string{"virtiofs", "inet", "virtio-net"}, []string{"9p"}},
		{"virtiofs", "none", []string{"virtiofs"}, []string{"9p", "inet", "virtio-net"}},
		{"9p", "user", []string{"9p", "inet", "virtio-net"}, []string{"virtiofs"}},
		{"9p", "none", []string{"9p", "inet"}, []string{"virtiofs", "virtio-net"}},
	} {
		l.kernel.Config.Run.MountType, l.kernel.Config.Run.Network = c.mountType, c.network
		groups, err := l.kernel.groups(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.with {
			if !slices.Contains(groups, name) {
				t.Errorf("%+v: no group %s", c, name)
			}
		}
		for _, name := range c.not {
			if slices.Contains(groups, name) {
				t.Errorf("%+v: group %s", c, name)
			}
		}
	}
}

// Outside of a tree, what nix builds is kept in a directory that the user may lack.
func TestNoCache(t *testing.T) {
	u := Userland{Kind: userland.Nix, Flake: userland.Flake{Ref: "github:me/vm"}}
	t.Setenv("XDG_CACHE_HOME", "")
	for _, home := range []string{"", os.DevNull} {
		t.Setenv("HOME", home)
		_, err := u.Builder("", nil)
		var none *noCacheError
		if !errors.As(err, &none) || none.Hint() == "" {
			t.Errorf("HOME=%s: got %v", home, err)
		}
	}
}
