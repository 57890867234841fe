// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"path/filepath"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// scheme is the beginning of a flake reference that is no path.
var scheme = pattern.New(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// resolveFlake makes the path of a flake absolute.
func resolveFlake(text, dir string) string {
	ref, attr, hasAttr := strings.Cut(text, "#")
	if ref == "" || filepath.IsAbs(ref) || scheme.MatchString(ref) {
		return text
	}
	ref = filepath.Join(dir, ref)
	if hasAttr {
		ref += "#" + attr
	}
	return ref
}
