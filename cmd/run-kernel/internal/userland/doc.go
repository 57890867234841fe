// SPDX-License-Identifier: GPL-3.0-only

// Package userland makes what a guest runs on: it decides between NixOS, the
// host's own root and another directory, and has nix build a NixOS system from a
// flake, though only when the flake has changed.
package userland
