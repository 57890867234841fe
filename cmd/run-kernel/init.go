// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	runkernel "github.com/metaspace/run-kernel"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/config"
)

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "write run-kernel.cfg and a NixOS flake into the source tree",
		Long: `Init writes files to start with at the top of the source tree: run-kernel.cfg, which has
every key with its default, as comments; and the directory nixos, which has the flake of
a small NixOS system. Where nix is installed, guests run on this system from then on.

Existing files stay as they are. With --json it prints one object per file, with the
fields path and written.`,
		Example: `  run-kernel init
  run-kernel init --json`,
		Annotations: map[string]string{helpFlags: "json"},
		Args:        noArgs,
		RunE:        func(c *cobra.Command, args []string) error { return a.init() },
	}
}

func (a *app) init() error {
	tree, err := a.tree()
	if err != nil {
		return err
	}
	var sample strings.Builder
	if err := config.Sample(&sample); err != nil {
		return err
	}
	if err := a.writeNew(filepath.Join(tree.Source, config.FileName), sample.String()); err != nil {
		return err
	}
	entries, err := runkernel.Examples.ReadDir("examples")
	if err != nil {
		return err
	}
	dir := filepath.Join(tree.Source, config.DefaultFlake)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		data, err := runkernel.Examples.ReadFile("examples/" + e.Name())
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(data), "x86_64-linux", nixSystem())
		if err := a.writeNew(filepath.Join(dir, e.Name()), text); err != nil {
			return err
		}
	}
	return nil
}

// nixSystem is what nix calls this host's kind.
func nixSystem() string { return arch.Host().Nix + "-linux" }

// writeNew writes a file unless there is one, and tells which.
func (a *app) writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path)) // so that the next try writes it
		}
	}
	exists := errors.Is(err, fs.ErrExist)
	if err != nil && !exists {
		return err
	}
	if a.json {
		return json.NewEncoder(a.out).Encode(map[string]any{"path": path, "written": !exists})
	}
	did := "written"
	if exists {
		did = "is there already"
	}
	_, err = fmt.Fprintln(a.out, path, did)
	return err
}
