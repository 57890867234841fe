// SPDX-License-Identifier: GPL-3.0-only

// Package testflake prepares flakes that need no network, for tests and benchmarks.
package testflake

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// NixConfig, in the environment, lets root build without the users that nix is set
// up with, and without a cache to ask.
const NixConfig = "NIX_CONFIG=experimental-features = nix-command flakes\nsubstituters =\nbuild-users-group =\nsandbox = false\n"

// Copy copies a flake to dir, with the host's busybox beside it. The error is
// exec.ErrNotFound where there is no busybox.
func Copy(dir, flake string) error {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return errors.Join(os.CopyFS(dir, os.DirFS(flake)), os.WriteFile(filepath.Join(dir, "busybox"), busybox, 0o755))
}

// AddRoot puts a root directory into nix's store, and tells the flake in dir how to
// find it there. The function runs nix-store and returns what that prints.
func AddRoot(dir, root string, nixStore func(args ...string) (string, error)) error {
	stored, err := nixStore("--add-fixed", "--recursive", "sha256", root)
	if err != nil {
		return err
	}
	hash, err := nixStore("--query", "--hash", stored)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "debian.hash"), []byte(hash), 0o644)
}
