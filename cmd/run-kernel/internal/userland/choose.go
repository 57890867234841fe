// SPDX-License-Identifier: GPL-3.0-only

package userland

import "github.com/metaspace/run-kernel/internal/proc"

// What the guest's root can be, besides a directory.
const (
	Auto = "auto"
	Nix  = "nix"
	Host = "host"
)

// Store is where nix keeps what it builds.
const Store = "/nix/store"

// Choose decides what auto means: NixOS where there is a flake and nix, else the
// host's own root; and why, where that isn't plain.
func Choose(f Flake) (kind, why string) {
	if !f.Exists() {
		return Host, ""
	}
	if _, err := proc.Look("nix", NixDirs...); err != nil {
		what := "a flake in " + f.Dir
		if f.Dir == "" {
			what = "the flake " + f.Ref
		}
		return Host, "there is " + what + ", but no nix on this host: the guest runs on the host's userland"
	}
	return Nix, ""
}
