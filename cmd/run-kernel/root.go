// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
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
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	status := exitStatus(err)
	if a.fold != nil {
		status = a.fold(status)
	}
	if err == nil || errors.As(err, new(statusError)) {
		return status
	}
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

	config *config.Loaded
	fold   func(status int) int // of the test command
	text   *ui.Text             // nil with --json
	events event.Sink
}

const rootLong = `run-kernel is the edit-build-boot loop for people who work on the Linux kernel.

Run from a kernel source tree, it makes sure that .config can boot a guest, runs
make, boots the result in qemu on this machine's own userland, and, in watch,
does it again each time a source file changes.

Without a command it does what boot does.`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "run-kernel",
		Short: "the edit-build-boot loop for the Linux kernel",
		Long:  rootLong,
		Example: `  run-kernel watch                           # the loop
  run-kernel watch --exec 'dmesg | tail'     # and a command in each new guest
  run-kernel boot -- uname -r                # one pass, and a command
  run-kernel kconfig check                   # what .config lacks`,
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(c *cobra.Command, args []string) error { return a.setUp(c) },
		RunE: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 0 && len(args) > 0 {
				if words, _ := makeWords(c, args); len(words) > 0 {
					return unknownCommand(c, words[0])
				}
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

	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return flagError(c, err) })
	root.SetHelpFunc(help)
	root.AddCommand(
		a.watchCommand(), a.bootCommand(), a.buildCommand(), a.testCommand(), a.kconfigCommand(),
		a.execCommand(), a.statusCommand(), a.stopCommand(), a.configCommand(), a.versionCommand(),
	)
	root.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true})
	return root
}

// setUp runs before each command: it loads the configuration and chooses the
// renderer.
func (a *app) setUp(c *cobra.Command) error {
	if c.Name() == cobra.ShellCompRequestCmd || c.Name() == cobra.ShellCompNoDescRequestCmd || c.HasParent() && c.Parent().Name() == "completion" {
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
	if err := setMakeWords(c); err != nil {
		return err
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
	if a.printConfig {
		if err := a.showConfig(); err != nil {
			return err
		}
		return statusError(0)
	}
	return nil
}

// tree finds the kernel tree and its build directory.
func (a *app) tree() (*kbuild.Tree, error) {
	b := a.config.Build
	return kbuild.Find(kbuild.Options{
		Dir: a.env.Dir, Output: b.Output, Arch: b.Arch, CrossCompile: b.CrossCompile, LLVM: b.LLVM, CC: b.CC, Jobs: b.Jobs,
	})
}

// wordFlags are the variables that make takes as words and we as well.
var wordFlags = map[string]string{
	"O": "output", "KBUILD_OUTPUT": "output", "ARCH": "arch", "CROSS_COMPILE": "cross-compile", "LLVM": "llvm", "CC": "cc",
}

// makeWords divides the arguments before -- into words like O=DIR and others.
func makeWords(c *cobra.Command, args []string) (others []string, words [][2]string) {
	if n := c.ArgsLenAtDash(); n >= 0 {
		args = args[:n]
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if flag := wordFlags[name]; ok && flag != "" {
			words = append(words, [2]string{flag, value})
		} else {
			others = append(others, arg)
		}
	}
	return others, words
}

// setMakeWords makes flags of the words that are make's.
func setMakeWords(c *cobra.Command) error {
	_, words := makeWords(c, c.Flags().Args())
	for _, w := range words {
		if err := c.Flags().Set(w[0], w[1]); err != nil {
			return &usageError{problem: err.Error()}
		}
	}
	return nil
}

// noArgs refuses arguments other than make's words.
func noArgs(c *cobra.Command, args []string) error {
	if others, _ := makeWords(c, args); len(others) > 0 {
		return unexpected(c, others[0])
	}
	if n := c.ArgsLenAtDash(); n >= 0 && n < len(args) {
		return unexpected(c, args[n])
	}
	return nil
}

// afterDash refuses arguments before -- other than make's words, since a
// command for the guest, or make's arguments, come after it.
func afterDash(c *cobra.Command, args []string) error {
	if others, _ := makeWords(c, args); len(others) > 0 {
		return &usageError{
			problem: fmt.Sprintf("unexpected argument %q", others[0]),
			hint:    fmt.Sprintf("what comes after -- is passed on: %s -- %s", c.CommandPath(), strings.Join(others, " ")),
		}
	}
	return nil
}

// dashed returns the arguments after --.
func dashed(c *cobra.Command, args []string) []string {
	if n := c.ArgsLenAtDash(); n >= 0 {
		return args[n:]
	}
	return nil
}

func unexpected(c *cobra.Command, arg string) error {
	return &usageError{problem: fmt.Sprintf("unexpected argument %q", arg), hint: fmt.Sprintf("see %s --help", c.CommandPath())}
}

func unknownCommand(c *cobra.Command, name string) error {
	e := &usageError{problem: fmt.Sprintf("unknown command %q", name), hint: fmt.Sprintf("see %s --help", c.CommandPath())}
	if s := c.SuggestionsFor(name); len(s) > 0 {
		e.hint = fmt.Sprintf("did you mean %s %s?", c.CommandPath(), s[0])
	}
	return e
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
