// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/tty"
	"github.com/metaspace/run-kernel/internal/ui"
	"github.com/metaspace/run-kernel/kbuild"
)

// Env is what a command gets of the world.
type Env struct {
	Args                  []string // without the program's name
	Stdin, Stdout, Stderr *os.File
	Environ               []string
	Dir                   string // the working directory
}

// Execute runs a command line and returns the exit status. It reports errors
// itself.
func Execute(ctx context.Context, env Env) int {
	a := &app{env: env}
	root := a.rootCommand()
	root.SetArgs(makeFlags(root, env.Args))
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	command, err := root.ExecuteContextC(ctx)
	status := exitStatus(err)
	if command.Annotations[foldStatus] != "" {
		status = bisectStatus(err)
	}
	var signal signalError
	switch {
	case err == nil, errors.As(err, new(statusError)):
		return status
	case errors.As(err, &signal) && signal.signal == syscall.SIGINT && !a.json:
		return status // who presses Ctrl-C knows
	}
	err = advise(err)
	if a.json {
		ui.JSONError(env.Stdout, err, status)
	} else {
		ui.Error(env.Stderr, err)
	}
	return status
}

// An app is one run of the program.
type app struct {
	env Env

	// Flags that are no configuration.
	configFile     string
	printConfig    bool
	json           bool
	quiet, verbose bool
	dryRun         bool
	noBuild        bool
	pty            bool
	timeout        time.Duration // of the guest's command
	name           string        // of the VM; empty: the one without
	named          bool          // --name was given

	config *config.Loaded
	text   *ui.Text // nil with --json
	events event.Sink
}

const rootLong = `run-kernel is the edit-build-boot loop for people who work on the Linux kernel.

Run from a kernel source tree, it makes sure that .config can boot a guest, runs
make, boots the result in qemu on this machine's own userland or on NixOS, and, in
watch, does it again each time a source file changes.

Without a command it does what boot does.`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "run-kernel [flags] [-- COMMAND [ARG...]]",
		Short: "the edit-build-boot loop for the Linux kernel",
		Long:  rootLong,
		Example: `  run-kernel watch                           # the loop
  run-kernel watch --exec 'dmesg | tail'     # and a command in each new guest
  run-kernel boot -- uname -r                # one pass, and a command
  run-kernel kconfig check                   # what .config lacks`,
		Version:           versionLine(),
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(c *cobra.Command, args []string) error { return a.setUp(c) },
		RunE: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 0 && len(args) > 0 {
				return a.unknownCommand(c, args[0])
			}
			return a.boot(c, args)
		},
	}
	flags := root.PersistentFlags()
	config.AddFlags(flags, "run", "kconfig", "build")
	flags.StringVar(&a.configFile, "config-file", "", "configuration file, instead of run-kernel.cfg in the tree")
	flags.BoolVar(&a.printConfig, "print-config", false, "print the configuration that would be used, and end")
	flags.BoolVar(&a.json, "json", false, "write JSON, an event a line")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "say nothing but warnings, errors and what the guest's command writes")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "show commands and the guest's console")
	a.addBootFlags(root)

	root.SetGlobalNormalizationFunc(normalizeFlag)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		// It may come before --json.
		a.json = a.json || slices.Contains(ours(a.env.Args), "--json")
		return a.flagError(c, err)
	})
	root.SetHelpFunc(help)
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(
		a.watchCommand(), a.bootCommand(), a.buildCommand(), a.testCommand(), a.kconfigCommand(),
		a.execCommand(), a.sshCommand(), a.consoleCommand(), a.statusCommand(), a.stopCommand(), a.gdbCommand(), a.dumpCommand(), a.initCommand(), a.configCommand(), a.doctorCommand(), a.versionCommand(),
	)
	root.SetHelpCommand(a.helpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	a.addCompletions(root)
	return root
}

// setUp runs before each command: it loads the configuration and chooses the
// renderer.
func (a *app) setUp(c *cobra.Command) error {
	if standsAlone(c) {
		return nil
	}
	if a.json {
		a.events = ui.JSON(a.env.Stdout)
	} else {
		o := ui.Options{Out: a.env.Stdout, Err: a.env.Stderr, Quiet: a.quiet, Verbose: a.verbose}
		if isatty.IsTerminal(a.env.Stderr.Fd()) {
			o.Width = func() int {
				_, columns, err := tty.Size(a.env.Stderr)
				if err != nil {
					return 80
				}
				return columns
			}
		}
		a.text = ui.NewText(o)
		a.events = a.text.Event
	}
	sources := config.Sources{ConfigFile: a.configFile, Dir: a.env.Dir, Environ: a.env.Environ, Flags: c.Flags()}
	// Where the tree is doesn't depend on the configuration; where it is built
	// does.
	if tree, err := kbuild.Find(kbuild.Options{Dir: a.env.Dir}); err == nil {
		sources.TreeDir = tree.Source
	}
	var err error
	if a.config, err = config.Load(sources); err != nil {
		return err
	}
	if a.text != nil && a.serial() == serialLog {
		a.text.ShowConsole(true)
	}
	if err := a.checkName(c); err != nil {
		return err
	}
	if err := a.checkRequirements(c); err != nil {
		return err
	}
	if a.printConfig {
		if err := a.showConfig(); err != nil {
			return err
		}
		return statusError(0)
	}
	return nil
}

// standsAlone says whether a command works without any configuration, so that
// it works with a broken one as well.
func standsAlone(c *cobra.Command) bool {
	for ; c.HasParent(); c = c.Parent() {
		switch c.Name() {
		case cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd, "completion", "help", "version":
			return true
		}
	}
	return false
}

// tree finds the kernel tree and its build directory, which it makes where there
// is none.
func (a *app) tree() (*kbuild.Tree, error) { return a.treeIn(a.config.Build.Output) }

func (a *app) treeIn(output string) (*kbuild.Tree, error) {
	b := a.config.Build
	return kbuild.Find(kbuild.Options{
		Dir: a.env.Dir, Output: output, Arch: b.Arch, CrossCompile: b.CrossCompile, LLVM: b.LLVM, CC: b.CC, Jobs: b.Jobs,
	})
}

// existingTree is tree for those who only look: a slip in -O shall not leave a
// folder.
func (a *app) existingTree() (*kbuild.Tree, error) {
	if _, err := a.treeIn(""); err != nil {
		return nil, err
	}
	if o := a.config.Build.Output; o != "" {
		if _, err := os.Stat(o); errors.Is(err, os.ErrNotExist) {
			return nil, &noBuildDirError{o, a.config.Origin("build.output")}
		}
	}
	return a.tree()
}

// A noBuildDirError says that there is nothing to look at yet.
type noBuildDirError struct{ dir, origin string }

func (e *noBuildDirError) Error() string {
	return fmt.Sprintf("there is no build directory %s (%s)", e.dir, e.origin)
}

func (e *noBuildDirError) Hint() string { return "run-kernel build makes it, and builds in it" }

// ours are the arguments before --.
func ours(args []string) []string {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i]
	}
	return args
}

// onTerminal says whether the user sits at both ends.
func (a *app) onTerminal() bool {
	return isatty.IsTerminal(a.env.Stdin.Fd()) && isatty.IsTerminal(a.env.Stdout.Fd())
}

// writers are where a guest command's output goes.
func (a *app) writers() (stdout, stderr io.Writer) {
	if a.json {
		return outputEvents{a.events, false}, outputEvents{a.events, true}
	}
	return a.env.Stdout, a.env.Stderr
}

// outputEvents makes events of what is written.
type outputEvents struct {
	events event.Sink
	stderr bool
}

func (o outputEvents) Write(p []byte) (int, error) {
	o.events.Emit(event.Output{Stderr: o.stderr, Data: p})
	return len(p), nil
}
