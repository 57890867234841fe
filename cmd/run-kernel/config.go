// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/internal/ui"
)

func (a *app) configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "print the configuration, each value with its origin",
		Long: `Config prints the effective configuration, in the format of run-kernel.cfg. A comment
after each value names its origin: the default, a file, an environment variable or a
flag. In this order, a later one wins.

With --json it prints an array of objects with the fields key, value and origin.`,
		Example: `  run-kernel config
  run-kernel config --smp=8 --json`,
		Annotations: map[string]string{helpTables: "run verdict build kconfig", helpFlags: "config-file json"},
		Args:        noArgs,
		RunE:        func(c *cobra.Command, args []string) error { return a.showConfig() },
	}
}

func (a *app) showConfig() error {
	if a.json {
		return json.NewEncoder(a.out).Encode(a.config.Values())
	}
	return a.config.Print(a.out)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Long: `Version prints the version of run-kernel and of the Go that compiled it. With --json it
prints an object with the fields version, revision, go, and json, which is the version
of the JSON that run-kernel prints.`,
		Example: `  run-kernel version
  run-kernel version --json`,
		Annotations: map[string]string{helpFlags: "json"},
		Args:        noArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if a.json {
				version, revision := version()
				return json.NewEncoder(a.out).Encode(map[string]any{"version": version, "revision": revision, "go": runtime.Version(), "json": ui.JSONVersion})
			}
			_, err := fmt.Fprintln(a.out, versionLine())
			return err
		},
	}
}

// release is set by scripts/release.
var release string

// version is that of the release or else of the module, and the commit it was built
// from, as far as they are known.
func version() (version, revision string) {
	version = "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return cmp.Or(release, version), revision
}

func versionLine() string {
	version, _ := version()
	return fmt.Sprintf("run-kernel %s, %s", version, runtime.Version())
}
