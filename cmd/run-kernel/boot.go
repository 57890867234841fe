// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/boot/userland"
	"github.com/metaspace/run-kernel/internal/cycle"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
)

func (a *app) addBootFlags(c *cobra.Command) {
	c.Flags().BoolVar(&a.noBuild, "no-build", false, "boot what is there")
	c.Flags().StringVar(&a.name, nameFlag, "", "name of the VM: several of one tree run side by side")
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "print the commands that would be run, and run none")
	c.Flags().BoolVarP(&a.pty, "tty", "t", false, "give the command a terminal, as the shell has")
	c.Flags().DurationVar(&a.timeout, "timeout", 0, "how long the command may take; 0: for ever")
}

func (a *app) bootCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "boot [flags] [-- COMMAND [ARG...]]",
		Short: "check, make, boot: one pass",
		Long: `Boot makes sure that .config can boot a guest, runs make, and boots the result.

With a command, it runs it in the guest, and ends with its status (128+n when
signal n killed it). A single word is a line for the guest's shell; more are a
program and its arguments. Without a command, it runs a shell, and the guest ends
with it.

Other statuses: 2 wrong usage, 101 the kernel panicked or oopsed, 102 the boot or
the command took too long, 103 the VM died, 125 run-kernel could not do its part.`,
		Example: `  run-kernel boot                            # a shell on the new kernel
  run-kernel boot -- uname -r
  run-kernel boot --no-build -- 'dmesg | grep -i virtio'
  run-kernel boot --no-build --name second   # another VM beside the first
  run-kernel boot --kernel=/boot/vmlinuz-6.1.0-9-amd64 --smp=4`,
		Annotations: map[string]string{helpTables: "run build kconfig"},
		Args:        a.afterDash,
		RunE:        func(c *cobra.Command, args []string) error { return a.boot(c, args) },
	}
	a.addBootFlags(c)
	return c
}

func (a *app) testCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test [flags] -- COMMAND [ARG...]",
		Short: "one pass with a verdict, for git bisect run and CI",
		Long: `Test does what boot does, and folds the result into what git bisect run
understands: 0 the command succeeded; 1 it failed, the kernel crashed, the VM died
or the time was over; 125 the kernel could not be configured or built, or the
command could not be run, so that this commit says nothing. A wrong command line is
128, which ends the bisection.`,
		Example: `  git bisect run run-kernel test -- ./reproduce.sh
  run-kernel test --timeout 2m -- 'dmesg | grep -q "my driver: ready"'`,
		Annotations: map[string]string{helpTables: "run build kconfig", foldStatus: "bisect"},
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

// boot makes one pass.
func (a *app) boot(c *cobra.Command, args []string) error {
	ctx, argv := c.Context(), dashed(c, args)
	if a.timeout < 0 {
		return &usageError{problem: "--timeout: a duration can't be negative"}
	}
	if err := a.checkSSH(); err != nil {
		return err
	}
	if a.dryRun {
		return a.showBoot(ctx)
	}
	var options boot.Options
	var place *workplace
	if image := a.config.Run.Kernel; image != "" && !a.inTree() {
		if a.config.Run.Debug {
			return &usageError{
				problem: "run-kernel gdb finds a guest by its kernel tree, and this is none (" + a.config.Origin("run.debug") + ")",
				hint:    "start in the tree that the kernel is from; --qemu-extra-args='-s -S' lets the guest wait for a gdb of yours on port 1234",
			}
		}
		if a.name != "" {
			return &usageError{problem: "--name: VMs have names within a kernel tree, and this is none", hint: "start in the tree that the kernel is from; without a tree, any number of VMs run side by side as they are"}
		}
		u, o, err := a.treelessOptions(image)
		if err != nil {
			return err
		}
		if options = o; u.Why != "" {
			a.events.Emit(event.Notice{Text: u.Why})
		}
		if options.System, err = u.System(ctx, "", a.events); err != nil {
			return err
		}
	} else {
		occupied, w, release, err := a.occupy(ctx, c.Name())
		if err != nil {
			return err
		}
		defer release()
		ctx, place = occupied, w
		if err := a.checkHost(ctx, w); err != nil {
			return err
		}
		if image, err = a.image(ctx, w); err != nil {
			return err
		}
		if options, err = w.BootOptions(ctx, image, a.env.Dir); err != nil {
			return err
		}
		w.control.SetPhase(string(event.PhaseBoot))
	}
	a.events.Emit(event.PhaseStarted{Phase: event.PhaseBoot})
	current := &currentGuest{app: a}
	if place != nil {
		current.server = place.control
	}
	if a.serial() == serialTelnet {
		options.Console = &boot.Size{}
		if err := a.serveTelnet(ctx, current); err != nil {
			return fmt.Errorf("serial port: %w", err)
		}
	}
	options.Started = current.started
	showTail, run := a.showTail, func(ctx context.Context, vm *boot.VM) error { return a.runIn(ctx, vm, argv) }
	if a.onStdio(argv) {
		lent, feed, takeBack, err := a.lendTerminal(ctx, current, &options)
		if err != nil {
			return err
		}
		defer takeBack()
		ctx = lent
		run = func(ctx context.Context, vm *boot.VM) error {
			feed()
			return awaitEnd(ctx, vm)
		}
		showTail = func(error) {} // the user has seen it
	}
	vm, err := boot.Start(ctx, options)
	if err != nil {
		showTail(err)
		return err
	}
	defer func() { _ = vm.Stop() }()
	a.events.Emit(event.PhaseStarted{Phase: event.PhaseRun})
	if place != nil {
		place.control.SetPhase(string(event.PhaseRun))
		place.offerSSH()
	}
	current.answers(vm)
	err = run(ctx, vm)
	if place != nil && place.control.Stopped() {
		// The guest's processes end before the guest does.
		select {
		case <-vm.Done():
		case <-ctx.Done():
		}
		return errStopped
	}
	showTail(err)
	return err
}

// treelessOptions are those of a guest whose kernel comes from elsewhere.
func (a *app) treelessOptions(image string) (cycle.Userland, boot.Options, error) {
	u, err := cycle.NewUserland(&a.config.Config, a.env.Dir)
	if err != nil {
		return u, boot.Options{}, err
	}
	o, err := cycle.BootOptions(&a.config.Config, u, image, a.env.Dir, "", "", a.events)
	return u, o, err
}

// checkHost finds out whether this host can boot what a build makes, before that
// takes its minutes.
func (a *app) checkHost(ctx context.Context, w *workplace) error {
	if err := a.checkArch(w.Tree); err != nil {
		return err
	}
	if a.noBuild || a.config.Run.Kernel != "" {
		return nil // it will show at once
	}
	options, err := w.BootOptions(ctx, "", a.env.Dir)
	if err != nil {
		return err
	}
	_, err = boot.Cmdline(ctx, options)
	return err
}

// checkArch refuses to boot what a tree builds for an architecture of which there
// are no guests.
func (a *app) checkArch(tree *kbuild.Tree) error {
	arch := tree.SrcArch()
	if cycle.GuestArch(arch) != "" || a.config.Run.Kernel != "" {
		return nil
	}
	return &usageError{
		problem: fmt.Sprintf("a kernel for %s can't be booted, only one for x86, arm64 or riscv (%s)", arch, a.config.Origin("build.arch")),
		hint:    "run-kernel build builds it",
	}
}

// inTree says whether we are in a kernel tree at all.
func (a *app) inTree() bool {
	_, err := a.tree()
	return !errors.As(err, new(*kbuild.NotTreeError))
}

// image returns the image to boot, and makes it unless that isn't wanted.
func (a *app) image(ctx context.Context, w *workplace) (string, error) {
	switch {
	case a.config.Run.Kernel != "":
		return a.config.Run.Kernel, nil
	case a.noBuild:
		if missing, err := w.Missing(ctx); err == nil && len(missing) > 0 { // Image says what is wrong
			unfixed := &cycle.UnfixedError{Missing: missing}
			a.events.Emit(event.Warning{Text: unfixed.Error(), Hint: unfixed.Hint()})
		}
		return w.Image()
	}
	release, err := w.lockBuild()
	if err != nil {
		return "", err
	}
	defer release()
	w.control.SetPhase(string(event.PhaseBuild))
	r, err := w.Build(ctx)
	if err != nil {
		return "", err
	}
	return r.Image, nil
}

// runIn runs a command, or a shell, in the guest and tells how it or the guest
// ended.
func (a *app) runIn(ctx context.Context, vm *boot.VM, argv []string) error {
	if a.timeout > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, a.timeout, &boot.TimeoutError{Command: true, Silent: a.timeout})
		defer cancel()
		ctx = limited
	}
	ssh := a.sshWanted() != ""
	var status int
	var err error
	if len(argv) > 0 || !ssh {
		status, err = a.runCommand(ctx, vm.Client(), argv)
	}
	shell := len(argv) == 0
	if ssh && status == 0 && err == nil {
		status, err = a.inSSH(ctx, vm)
		shell = a.config.Run.SSH && a.config.Run.SSHCommand == ""
	}
	switch {
	case errors.Is(err, boot.ErrGone):
		// The guest took the command with it.
		if err := vm.Err(); err != nil || shell {
			return err
		}
		return &boot.DeathError{Reason: "the guest was powered off before the command ended", Tail: vm.Tail()}
	case err != nil:
		return err
	}
	vm.Sync()
	if crash := vm.Crash(); crash != nil {
		return &boot.CrashError{Crash: *crash, Tail: vm.Tail()}
	}
	if status != 0 {
		return statusError(status)
	}
	return nil
}

// showTail shows the last lines of the console with an error that they may
// explain.
func (a *app) showTail(err error) {
	if tail := boot.ConsoleTail(err); len(tail) > 0 {
		a.events.Emit(event.VMStopped{Tail: tail})
	}
}

// showBoot prints what boot would run.
func (a *app) showBoot(ctx context.Context) error {
	image := a.config.Run.Kernel
	if image != "" && !a.inTree() {
		u, options, err := a.treelessOptions(image)
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
	c := a.cycle(tree)
	var makeCommand []string
	switch {
	case image != "":
	case a.noBuild:
		image, err = c.Image()
	default:
		makeCommand, image, err = c.MakeCommand()
	}
	if err != nil {
		return err
	}
	u, err := c.Userland()
	if err != nil {
		return err
	}
	options, err := cycle.BootOptions(&a.config.Config, u, image, a.env.Dir, tree.Source, "", a.events)
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
	return a.showGuest(ctx, u, state, options, makeCommand)
}

// showGuest prints the commands that make and start a guest, in their order.
func (a *app) showGuest(ctx context.Context, u cycle.Userland, state string, o boot.Options, makeCommand []string) error {
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
		commands = append(commands, nix)
		// Whatever nix makes, qemu's command is the same.
		o.System = filepath.Join(userland.Store, "system")
	}
	qemu, err := boot.Cmdline(ctx, o)
	if err != nil {
		return err
	}
	for _, command := range append(commands, makeCommand, qemu) {
		if len(command) > 0 {
			a.showCommand(command)
		}
	}
	return nil
}

// showCommand prints a command that would be run.
func (a *app) showCommand(command []string) {
	if a.json {
		_ = json.NewEncoder(a.env.Stdout).Encode(map[string]any{"event": "command", "command": command})
		return
	}
	fmt.Fprintln(a.env.Stdout, qemu.Quote(command))
}
