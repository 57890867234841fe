// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/ui"
	"github.com/metaspace/run-kernel/kbuild"
)

const baselineFlag = "dmesg-baseline"

func (a *app) addBootFlags(c *cobra.Command) {
	c.Flags().BoolVar(&a.noBuild, "no-build", false, "boot the last image, without make")
	c.Flags().StringVar(&a.name, nameFlag, "", "name of this guest, to run several of one source tree side by side")
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "print the commands that would run, and run none")
	c.Flags().BoolVarP(&a.pty, "tty", "t", false, "give the command a terminal, like a shell")
	c.Flags().DurationVar(&a.timeout, "timeout", 0, "time limit of the command (0: no limit)")
	c.Flags().StringVar(&a.baseline, baselineFlag, "", "tell the lines of the kernel's log that this log, a console's or dmesg's, doesn't have")
	a.results.addFlags(c)
}

func (a *app) bootCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "boot [flags] [-- COMMAND [ARG...]]",
		Short: "check, make and boot once",
		Long: `Boot makes one turn: it makes sure that .config can boot a guest, runs make, and
boots the result.

With a command, it runs the command in the guest and exits with the command's
status, or with 128+n if signal n killed it. A single word is a line for the guest's
shell. Several words are a program and its arguments. Without a command, it runs a
shell, and the guest exits with the shell.

If the kernel reports a problem while the guest is up, the command has failed, whatever
its own status: see --fail and --allow.

Other exit statuses:
  2     wrong usage
  101   the kernel panicked, oopsed or reported a problem
  102   the boot took too long, or the command did
  103   the guest ended early: qemu or virtiofsd died, or the guest powered off
  125   run-kernel could not do its part: configuration, build, a missing tool
  126   the command could not be run in the guest
  127   the command was not found in the guest`,
		Example: `  run-kernel boot                            # a shell on the new kernel
  run-kernel boot -- uname -r
  run-kernel boot --no-build -- 'dmesg | grep -i virtio'
  run-kernel boot --no-build --name second   # another guest beside the first
  run-kernel boot --kernel=/boot/vmlinuz-6.1.0-9-amd64 --smp=4`,
		Annotations: map[string]string{helpTables: "run verdict build kconfig"},
		Args:        a.afterDash,
		RunE:        func(c *cobra.Command, args []string) error { return a.boot(c, args) },
	}
	a.addBootFlags(c)
	return c
}

func (a *app) testCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test [flags] -- COMMAND [ARG...]",
		Short: "boot once with a verdict, for git bisect run and CI",
		Long: `Test does what boot does, and reduces the exit status to what git bisect run
understands:
  0     good: the command succeeded
  1     bad: the command failed, the kernel crashed or reported a problem, the guest
        ended early, or the time was over
  125   skip: the kernel could not be configured or built, qemu did not start or had no
        memory, or the command could not be run
  128   stop: the command line is wrong`,
		Example: `  git bisect run run-kernel test -- ./reproduce.sh
  run-kernel test --ktap --junit results.xml -- tools/testing/selftests/size/get_size
  run-kernel test --timeout 2m -- 'dmesg | grep -q "my driver: ready"'`,
		Annotations: map[string]string{helpTables: "run verdict build kconfig", foldStatus: "bisect"},
		Args:        a.afterDash,
		RunE: func(c *cobra.Command, args []string) error {
			if len(dashed(c, args)) == 0 && a.config.Run.SSHCommand == "" && !a.config.Run.PingSSH {
				return &usageError{problem: "no command to test with", hint: "run-kernel test -- COMMAND"}
			}
			return a.boot(c, args)
		},
	}
	a.addBootFlags(c)
	return c
}

// boot makes one turn.
func (a *app) boot(c *cobra.Command, args []string) error {
	ctx, argv := c.Context(), dashed(c, args)
	if a.timeout < 0 {
		return &usageError{problem: "--timeout: a duration can't be negative"}
	}
	if err := a.checkSSH(); err != nil {
		return err
	}
	if err := a.results.check(c, argv); err != nil {
		return err
	}
	if a.dryRun {
		return a.showBoot(ctx)
	}
	if err := a.results.begin(a.env.Dir); err != nil {
		return err
	}
	a.warnOfKconfig()
	once := session.Once{NoBuild: a.noBuild, Argv: argv, TTY: a.pty, Timeout: a.timeout, News: c.Annotations[foldStatus] != ""}
	options := a.sessionOptions(c.Name())
	if a.baseline != "" {
		var err error
		if options.Baseline, err = session.ReadBaseline(a.baseline); err != nil {
			return &usageError{problem: "--" + baselineFlag + ": " + err.Error(), hint: "the log of the console of a boot is one: .run-kernel/console.log in the build directory"}
		}
	}
	if a.config.Run.Kernel != "" && !a.inTree() {
		if err := a.checkTreeless(); err != nil {
			return err
		}
		return a.once(ctx, session.OpenImage(options), once)
	}
	tree, err := a.treeToBoot()
	if err != nil {
		return err
	}
	ctx, s, err := session.Open(ctx, tree, options)
	if err != nil {
		return err
	}
	defer s.Close()
	return a.once(ctx, s, once)
}

// once makes one turn of a session.
func (a *app) once(ctx context.Context, s *session.Session, o session.Once) error {
	if s.Kernel != nil {
		if err := a.checkArch(s.Kernel.Tree); err != nil {
			return err
		}
	}
	a.results.start(s.Terminal)
	status, err := s.Once(ctx, o)
	if err == nil && status != 0 {
		err = statusError(status)
	}
	return a.results.finish(a, o.Argv, err)
}

// warnOfKconfig names the flags that would change a .config, where an image is booted
// that is built already.
func (a *app) warnOfKconfig() {
	if a.config.Run.Kernel == "" {
		return
	}
	for _, key := range []string{"kconfig.require", "kconfig.fragments", "kconfig.profiles"} {
		if flag := a.config.Origin(key); strings.HasPrefix(flag, "--") {
			a.events.Emit(event.Warning{
				Text: flag + " has no effect beside --kernel: that image is built already",
				Hint: "without --kernel, boot sets the options in .config and builds",
			})
		}
	}
}

// checkTreeless refuses what takes a source tree.
func (a *app) checkTreeless() error {
	if a.config.Run.Debug {
		return &usageError{
			problem: "run-kernel gdb finds a guest by its kernel tree, and this is none (" + a.config.Origin("run.debug") + ")",
			hint:    "start in the tree that the kernel is from; --qemu-extra-args='-s -S' lets the guest wait for a gdb of yours on port 1234",
		}
	}
	if a.name != "" {
		return &usageError{problem: "--name: VMs have names within a kernel tree, and this is none", hint: "start in the tree that the kernel is from; without a tree, any number of VMs run side by side as they are"}
	}
	return nil
}

// checkArch refuses to boot what a tree builds for an architecture of which there
// are no guests.
func (a *app) checkArch(tree *kbuild.Tree) error {
	if prepare.GuestArch(tree.Arch()) != "" || a.config.Run.Kernel != "" {
		return nil
	}
	return &usageError{
		problem: fmt.Sprintf("a kernel for %s can't be booted, only one for %s (%s)", tree.SrcArch(), prepare.GuestKernels("or"), a.config.Origin("build.arch")),
		hint:    "run-kernel build builds it",
	}
}

// inTree says whether we are in a kernel tree at all.
func (a *app) inTree() bool {
	_, err := a.tree()
	return !errors.As(err, new(*kbuild.NotTreeError))
}

// showBoot prints what boot would run.
func (a *app) showBoot(ctx context.Context) error {
	image := a.config.Run.Kernel
	if image != "" && !a.inTree() {
		u, err := prepare.NewUserland(&a.config.Config, a.env.Dir)
		if err != nil {
			return err
		}
		options, err := prepare.Boot{Config: &a.config.Config, Userland: u, Image: image, Dir: a.env.Dir, Events: a.events}.Options()
		if err != nil {
			return err
		}
		return a.showGuest(ctx, u, "", options, nil)
	}
	tree, err := a.existingTree()
	if err != nil {
		return err
	}
	if err := a.checkArch(tree); err != nil {
		return err
	}
	c := a.kernel(tree)
	var makes [][]string
	switch {
	case image != "":
	case a.noBuild:
		image, err = c.Image()
	default:
		var command []string
		if command, image, err = c.MakeCommand(); err == nil {
			makes, err = tree.ExternalCommands()
			makes = slices.Insert(makes, 0, command)
		}
	}
	if err != nil {
		return err
	}
	u, err := c.Userland()
	if err != nil {
		return err
	}
	options, err := prepare.Boot{Config: &a.config.Config, Userland: u, Image: image, Dir: a.env.Dir, Tree: tree.Source, Events: a.events}.Options()
	if err != nil {
		return err
	}
	options.KernelVersion = c.KernelVersion()
	var state string
	if u.Kind == userland.Nix {
		if state, err = tree.StateDir(); err != nil {
			return err
		}
	}
	return a.showGuest(ctx, u, state, options, makes)
}

// showGuest prints the commands that make and start a guest, in their order.
func (a *app) showGuest(ctx context.Context, u prepare.Userland, state string, o boot.Options, makes [][]string) error {
	var commands [][]string
	if u.Kind == userland.Nix {
		b, err := u.Builder(state, a.events)
		if err != nil {
			return err
		}
		nix, err := b.Command(ctx, u.Flake)
		if err != nil {
			return err
		}
		if nix != nil {
			commands = append(commands, nix)
		}
		// Whatever nix makes, qemu's command is the same.
		o.System = filepath.Join(userland.Store, "system")
	}
	qemu, err := boot.Cmdline(ctx, o)
	if err != nil {
		return err
	}
	for _, command := range slices.Concat(commands, makes, [][]string{qemu}) {
		a.showCommand(command)
	}
	return nil
}

// showCommand prints a command that would be run.
func (a *app) showCommand(command []string) {
	if a.json {
		ui.JSONCommand(a.out, command)
		return
	}
	fmt.Fprintln(a.out, qemu.Quote(command))
}
