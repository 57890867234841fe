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
a flag, of which the later win.`,
		Example: `  run-kernel config
  run-kernel config --smp=8 --json`,
		Annotations: map[string]string{helpTables: "run build kconfig"},
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
		Use:     "version",
		Short:   "print the version",
		Example: `  run-kernel version`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, args []string) error {
			version, revision := "(devel)", ""
			if info, ok := debug.ReadBuildInfo(); ok {
				version = info.Main.Version
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			if a.json {
				return json.NewEncoder(a.env.Stdout).Encode(map[string]string{"version": version, "revision": revision, "go": runtime.Version()})
			}
			fmt.Fprintf(a.env.Stdout, "run-kernel %s, %s\n", version, runtime.Version())
			return nil
		},
	}
}
