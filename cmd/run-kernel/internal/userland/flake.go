// SPDX-License-Identifier: GPL-3.0-only

package userland

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// A Flake names a NixOS system in a flake.
type Flake struct {
	Dir  string // absolute; empty: the flake isn't a directory of this host
	Ref  string // of the flake, as nix takes it
	Attr string // path of the attribute that is the system's toplevel
}

// defaultSystem is the system of a flake that names none, as in the examples.
const defaultSystem = "vm"

// scheme is the beginning of a flake reference that isn't a path, such as
// github:owner/repo or git+file:///src.
var scheme = pattern.New(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// ParseFlake parses what names a flake: a directory, relative to dir, or a
// reference as nix has it; then, after a #, the name of a system in
// nixosConfigurations or a whole attribute path.
func ParseFlake(text, dir string) (Flake, error) {
	ref, attr, _ := strings.Cut(text, "#")
	if ref == "" {
		return Flake{}, fmt.Errorf("flake %q: it names no flake before the #", text)
	}
	if attr == "" {
		attr = defaultSystem
	}
	f := Flake{Ref: ref, Attr: attr}
	if name := strings.Trim(attr, `"`); !strings.ContainsAny(name, `."`) || attr == `"`+name+`"` {
		f.Attr = "nixosConfigurations." + attr + toplevel
	}
	switch path, isPath := strings.CutPrefix(ref, "path:"); {
	case isPath && !strings.Contains(path, "?"):
		ref = path
	case isPath || scheme.MatchString(ref):
		return f, nil
	}
	if !filepath.IsAbs(ref) {
		ref = filepath.Join(dir, ref)
	}
	f.Dir = filepath.Clean(ref)
	// nix 2.8 takes a link for the flake itself, and what the link leads to is what changes.
	if real, err := filepath.EvalSymlinks(f.Dir); err == nil {
		f.Dir = real
	}
	// In a git work tree nix would take a path for one of the whole repository,
	// here the kernel's, which it copies, and would not see files that git doesn't
	// know. So the directory stands for itself, unless it is the repository.
	f.Ref = "path:" + escape(f.Dir)
	if exists(filepath.Join(f.Dir, ".git")) {
		f.Ref = repositoryScheme + escape(f.Dir)
	}
	return f, nil
}

// repositoryScheme begins the reference of a directory that is a repository of its own.
const repositoryScheme = "git+file://"

// repository says whether the flake is such a directory.
func (f Flake) repository() bool { return f.Dir != "" && strings.HasPrefix(f.Ref, repositoryScheme) }

// escape makes a path part of a URL.
func escape(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/-._~+=@", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// Exists says whether the flake is there, as far as this host can tell.
func (f Flake) Exists() bool { return f.Dir == "" || exists(filepath.Join(f.Dir, "flake.nix")) }

// forNix is the flake as nix's commands take it, in a working directory; empty: in any. nix
// 2.8 takes the escapes in path:/my%20vms for the directory's own characters.
func (f Flake) forNix() (ref, dir string) {
	if f.Dir != "" && !f.repository() && escape(f.Dir) != f.Dir {
		return "path:.", f.Dir
	}
	return f.Ref, ""
}

// String is how nix names the system.
func (f Flake) String() string { return f.Ref + "#" + f.Attr }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
