// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/internal/config"
)

func (a *app) watchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "watch [flags]",
		Short: "check, make and boot again after each change of a source file",
		Long: `Watch makes a turn: it makes sure that .config can boot a guest, runs make, and
boots the result. Then it waits for a change in the source tree, and makes the next
turn. A failed build shows its errors, and the previous guest keeps running. A save
during a build cancels the build and starts a new one.

If make has built only modules, watch replaces them in the running guest. Where that
isn't possible, it boots a new guest and says why.

Other terminals can use the guest meanwhile: run-kernel exec runs a command or a
shell in it. With --exec, watch runs a command in each new guest. With --kunit, the kernel
runs its KUnit tests while it boots, and watch says which of them began or ceased to fail.`,
		Example: `  run-kernel watch
  run-kernel watch --exec 'dmesg | grep MARK'
  run-kernel watch --kunit 'list*' --require LIST_KUNIT_TEST=y
  run-kernel watch O=../build --ignore Documentation
  run-kernel watch M=../mine                 # modules outside of the tree, too`,
		Annotations: map[string]string{helpTables: "watch run verdict build kconfig", helpFlags: "-kernel -ssh -ssh-command -ping-ssh"},
		Args:        noArgs,
		RunE:        func(c *cobra.Command, args []string) error { return a.watch(c.Context()) },
	}
	config.AddFlags(c.Flags(), "watch")
	return c
}

func (a *app) watch(ctx context.Context) error {
	if a.config.Run.Kernel != "" {
		return &usageError{
			problem: "watch builds the kernel that it boots, and run.kernel names another (" + a.config.Origin("run.kernel") + ")",
			hint:    "run-kernel boot boots it; watch --kernel= watches all the same",
		}
	}
	if err := a.noSSHInWatch(); err != nil {
		return err
	}
	if a.config.Watch.KUnit != "" {
		a.config.Kconfig.Require = slices.Concat(a.config.Kconfig.Require, []string{"KUNIT=y"})
	}
	o := a.sessionOptions("watch")
	o.Turns = true
	ctx, s, err := a.openWith(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := a.checkArch(s.Kernel.Tree); err != nil {
		return err
	}
	return s.Loop(ctx, a.config.Files)
}
