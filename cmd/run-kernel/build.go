// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/internal/event"
)

func (a *app) buildCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "build [flags] [-- MAKE-ARG...]",
		Short: "check and make, no boot",
		Long: `Build makes sure that .config can boot a guest, and runs make for the image that
boot would boot: vmlinux where qemu can start that itself, since it needs no
compression, else the architecture's usual one. What comes after -- are more
targets and variables for make.`,
		Example: `  run-kernel build
  run-kernel build O=../build -j8
  run-kernel build -- W=1 modules`,
		Annotations: map[string]string{helpTables: "build kconfig", helpFlags: "smp network disk " + generalFlags},
		Args:        a.afterDash,
		RunE: func(c *cobra.Command, args []string) error {
			if a.dryRun {
				tree, err := a.existingTree()
				if err != nil {
					return err
				}
				command, _, err := a.cycle(tree).MakeCommand(dashed(c, args)...)
				if err != nil {
					return err
				}
				a.showCommand(command)
				return nil
			}
			ctx, w, release, err := a.occupy(c.Context(), c.Name())
			if err != nil {
				return err
			}
			defer release()
			w.control.SetPhase(string(event.PhaseBuild))
			_, err = w.Build(ctx, dashed(c, args)...)
			return err
		},
	}
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "print the command that would be run, and don't run it")
	return c
}
