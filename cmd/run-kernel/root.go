// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/internal/trust"
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
	a := &app{env: env, out: &stdout{w: env.Stdout}}
	root := a.rootCommand()
	root.SetArgs(makeFlags(root, env.Args))
	root.SetIn(env.Stdin)
	root.SetOut(a.out)
	root.SetErr(env.Stderr)
	command, err := root.ExecuteContextC(ctx)
	if a.text != nil {
		a.text.Close()
	}
	if lost := a.out.lost(); lost != nil && (err == nil || errors.As(err, new(statusError))) {
		err = lost
	}
	status := exitStatus(err)
	if command.Annotations[foldStatus] != "" {
		status = bisectStatus(err)
	}
	var signal proc.SignalError
	switch {
	case err == nil, errors.As(err, new(statusError)):
		return status
	case errors.As(err, &signal) && syscall.Signal(signal) == syscall.SIGINT && !a.json:
		return status // who presses Ctrl-C knows
	case errors.Is(err, session.ErrLeft) && !a.json:
		return status // and so does who leaves
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
	out *stdout // standard output, but for what a command in the guest writes itself

	// Flags that are no configuration.
	configFile     string
	printConfig    bool
	json           bool
	color          string // auto, always or never
	quiet, verbose bool
	dryRun         bool
	noBuild        bool
	pty            bool
	timeout        time.Duration // of the guest's command
	baseline       string        // path of --dmesg-baseline
	name           string        // of the VM; empty: the one without
	results        commandResults
	named          bool // --name was given

	trust  trust.Policy
	config *config.Loaded
	text   *ui.Text // nil with --json
	events event.Sink
}

const rootLong = `run-kernel is the edit-build-boot loop for Linux kernel developers.

Run it in a kernel source tree. It makes sure that .config can boot a guest, runs
make, and boots the result in qemu. The guest runs this host's own programs, or
NixOS. The command watch does this again each time a source file changes.

Without a command, run-kernel does what boot does.`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "run-kernel [flags] [-- COMMAND [ARG...]]",
		Short: "the edit-build-boot loop for the Linux kernel",
		Long:  rootLong,
		Example: `  run-kernel watch                           # the loop
  run-kernel watch --exec 'dmesg | tail'     # runs a command in each new guest
  run-kernel boot -- uname -r                # one turn, with a command
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
	config.AddFlags(flags, "run", "kconfig", "build", "verdict")
	flags.StringVar(&a.configFile, "config-file", "", "configuration file, instead of run-kernel.cfg in the source tree")
	flags.BoolVar(&a.printConfig, "print-config", false, "print the effective configuration and exit")
	flags.BoolVar(&a.json, "json", false, "print JSON; boot, build, test and watch print one event per line")
	flags.StringVar(&a.color, "color", colorAuto, "colours: auto (on a terminal, unless $NO_COLOR is set), always or never")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print only warnings, errors and the command's output")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "also print commands, and the guest's console")
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
		a.watchCommand(), a.bootCommand(), a.buildCommand(), a.testCommand(), a.kunitCommand(), a.kselftestCommand(), a.kconfigCommand(),
		a.execCommand(), a.sshCommand(), a.consoleCommand(), a.swapCommand(), a.statusCommand(), a.stopCommand(), a.gdbCommand(), a.dumpCommand(), a.reportCommand(), a.initCommand(), a.configCommand(), a.doctorCommand(), a.versionCommand(),
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
	var err error
	if a.json {
		a.events = ui.JSON(a.out)
	} else {
		o := ui.Options{Out: a.out, Err: a.env.Stderr, Quiet: a.quiet, Verbose: a.verbose}
		if o.Color, err = a.colored(); err != nil {
			return err
		}
		if a.onTerminal() {
			o.Width = func() int { return columns(a.env.Stderr, 80) }
			o.Title = c.Name() == "watch"
		}
		if c.Name() == "watch" {
			o.Now = time.Now
		}
		a.text = ui.NewText(o)
		a.events = a.text.Event
	}
	if err := a.loadConfig(c); err != nil {
		return err
	}
	if a.text != nil && a.onTerminal() {
		a.text.NotifyAfter(a.config.Watch.Notify.Std())
	}
	if a.text != nil && a.config.SerialPort() == config.SerialLog {
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

// loadConfig loads the configuration.
func (a *app) loadConfig(c *cobra.Command) (err error) {
	if a.trust, err = config.FindTrust(a.env.Environ); err != nil {
		return err
	}
	sources := config.Sources{ConfigFile: a.configFile, Dir: a.env.Dir, Environ: a.env.Environ, Flags: c.Flags(), Trust: a.trust}
	// Where the tree is doesn't depend on the configuration; where it is built
	// does. A tree of somebody else's stops every command here, before it runs
	// what the tree names.
	if tree, err := kbuild.Find(kbuild.Options{Dir: a.env.Dir, Trust: a.trust}); err == nil {
		sources.TreeDir = tree.Source
	} else if errors.As(err, new(*trust.ForeignError)) {
		return err
	}
	a.config, err = config.Load(sources)
	return err
}

// Values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// onTerminal says whether text for people goes to a terminal that knows control sequences.
// Emacs's compilation-mode, for one, has another kind.
func (a *app) onTerminal() bool {
	return isatty.IsTerminal(a.env.Stderr.Fd()) && config.Getenv(a.env.Environ, "TERM") != "dumb"
}

// columns is the width of a terminal, or another number where f is none.
func columns(f *os.File, or int) int {
	_, n, err := tty.Size(f)
	if err != nil {
		return or
	}
	return n
}

// colored says whether text for people has colours; see https://no-color.org.
func (a *app) colored() (bool, error) {
	switch a.color {
	case colorAlways:
		return true, nil
	case colorNever:
		return false, nil
	case colorAuto:
		return a.onTerminal() && config.Getenv(a.env.Environ, "NO_COLOR") == "", nil
	}
	return false, &usageError{problem: fmt.Sprintf("--color: %q is not auto, always or never", a.color)}
}

// standsAlone says whether a command works without any configuration, so that
// it works with a broken one as well.
func standsAlone(c *cobra.Command) bool {
	for ; c.HasParent(); c = c.Parent() {
		switch c.Name() {
		case cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd, "completion", "help", "report", "version":
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
		Dir: a.env.Dir, Output: output, Arch: b.Arch, CrossCompile: b.CrossCompile, LLVM: b.LLVM, CC: b.CC, Jobs: b.Jobs, Host: b.Host,
		External: b.External, Trust: a.trust,
	})
}

// existingTree is tree for commands that only look: a slip in -O must not leave a
// directory.
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
