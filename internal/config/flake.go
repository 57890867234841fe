// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"path/filepath"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// scheme is the beginning of a flake reference that is no path.
var scheme = pattern.New(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// pathScheme is that of a reference that is a path.
const pathScheme = "path:"

// resolveFlake makes the path of a flake absolute.
func resolveFlake(text, dir string) string {
	ref, attr, hasAttr := strings.Cut(text, "#")
	path, isPath := strings.CutPrefix(ref, pathScheme)
	isPath = isPath && !strings.Contains(path, "?") // which only nix takes apart
	switch {
	case path == "" || filepath.IsAbs(path) || !isPath && scheme.MatchString(ref):
		return text
	case isPath:
		ref = pathScheme + filepath.Join(dir, path)
	default:
		ref = filepath.Join(dir, ref)
	}
	if hasAttr {
		ref += "#" + attr
	}
	return ref
}
