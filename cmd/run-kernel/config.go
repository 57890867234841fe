// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "print the configuration, each value with its origin",
		Long: `Config prints the configuration as a file that could be run-kernel.cfg. Each value
is followed by where it comes from: the default, a file, an environment variable or
a flag, of which the later win.

With --json it is an array of objects with the fields key, value and origin.`,
		Example: `  run-kernel config
  run-kernel config --smp=8 --json`,
		Annotations: map[string]string{helpTables: "run build kconfig", helpFlags: "config-file json"},
		Args:        noArgs,
		RunE:        func(c *cobra.Command, args []string) error { return a.showConfig() },
	}
}

func (a *app) showConfig() error {
	if a.json {
		return json.NewEncoder(a.env.Stdout).Encode(a.config.Values())
	}
	return a.config.Print(a.env.Stdout)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Example: `  run-kernel version
  run-kernel version --json`,
		Annotations: map[string]string{helpFlags: "json"},
		Args:        noArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if a.json {
				version, revision := version()
				return json.NewEncoder(a.env.Stdout).Encode(map[string]string{"version": version, "revision": revision, "go": runtime.Version()})
			}
			_, err := fmt.Fprintln(a.env.Stdout, versionLine())
			return err
		},
	}
}

// version is that of the module, and the commit it was built from, as far as
// they are known.
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
	return version, revision
}

func versionLine() string {
	version, _ := version()
	return fmt.Sprintf("run-kernel %s, %s", version, runtime.Version())
}
