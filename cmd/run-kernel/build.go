// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/kbuild"
)

func (a *app) buildCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "build [flags] [-- MAKE-ARG...]",
		Short: "check and make, without a boot",
		Long: `Build makes sure that .config can boot a guest, and runs make for the image that
boot would boot. That is vmlinux if qemu can boot it directly, because vmlinux needs
no compression. Otherwise it is the architecture's usual image. Arguments after --
are additional targets and variables for make.`,
		Example: `  run-kernel build
  run-kernel build O=../build -j8
  run-kernel build -- W=1 modules`,
		Annotations: map[string]string{helpTables: "build kconfig", helpFlags: "smp userland flake mount-type virtiofsd disk network " + generalFlags},
		Args:        a.afterDash,

		ValidArgsFunction: a.completeTargets,
		RunE: func(c *cobra.Command, args []string) error {
			if a.dryRun {
				tree, err := a.existingTree()
				if err != nil {
					return err
				}
				command, _, err := a.kernel(tree).MakeCommand(dashed(c, args)...)
				if err != nil {
					return err
				}
				a.showCommand(command)
				return a.showExternal(tree)
			}
			ctx, s, err := a.open(c.Context(), c.Name())
			if err != nil {
				return err
			}
			defer s.Close()
			_, err = s.Build(ctx, session.Build{Args: dashed(c, args)})
			return err
		},
	}
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "print the make command, and don't run it")
	return c
}

// showExternal shows the commands that build the modules outside of the tree.
func (a *app) showExternal(tree *kbuild.Tree) error {
	commands, err := tree.ExternalCommands()
	for _, command := range commands {
		a.showCommand(command)
	}
	return err
}
