// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/internal/event"
)

func (a *app) newConfigCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "new",
		Short: "write a small .config that boots a guest",
		Long: `New writes the .config of a small 64-bit kernel: that of make tinyconfig, and what the guest
and --profile, --fragment and --require need. Such a kernel is built in minutes.

It replaces no .config unless --force is given, and keeps that one as .config.old then.`,
		Example: `  run-kernel kconfig new
  run-kernel kconfig new --profile debug,lockdep --require EXT4_FS=y
  run-kernel kconfig new -O ../build-kasan --profile kasan`,
		Annotations: map[string]string{helpTables: "build", helpFlags: kconfigFlags},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, s, err := a.open(cmd.Context(), "kconfig new")
			if err != nil {
				return err
			}
			defer s.Close()
			path := s.Kernel.Tree.ConfigPath()
			if _, err := os.Lstat(path); err == nil && !force {
				return &advisedError{
					fmt.Errorf("there is %s already", path),
					"--force replaces it, and keeps it as .config.old; run-kernel kconfig fix adds to it what the guest needs",
				}
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			enabled, err := s.Kernel.NewConfig(ctx)
			if err != nil {
				return err
			}
			a.events.Emit(event.Notice{Text: fmt.Sprintf("wrote %s, in which %d options are set", path, enabled)})
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace the .config that is there")
	return c
}
