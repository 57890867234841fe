// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/ui"
	"github.com/metaspace/run-kernel/kconfig"
)

func (a *app) kconfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "kconfig COMMAND",
		Short: "check, fix, explain, search, compare and minimize options",
		Long: `Kconfig compares .config with what the guest needs: the groups of options that this
boot will use, the groups of --profile, the options that a NixOS flake declares
(system.requiredKernelConfig), the fragments of --fragment, and the options of
--require.`,
		Example: `  run-kernel kconfig check
  run-kernel kconfig fix --require KASAN=y
  run-kernel kconfig list
  run-kernel kconfig explain VIRTIO_FS`,
		Annotations: map[string]string{helpFlags: "none"},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return a.unknownCommand(c, args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return &usageError{problem: "kconfig needs a command", hint: "check, fix, new, list, explain, search, diff, minimize or conf; see run-kernel kconfig --help"}
		},
	}
	c.AddCommand(a.checkCommand(), a.fixCommand(), a.newConfigCommand(), a.listCommand(), a.explainCommand(), a.searchCommand(), a.diffCommand(), a.minimizeCommand(), a.confCommand())
	for _, command := range c.Commands() {
		run := command.RunE
		command.RunE = func(c *cobra.Command, args []string) error {
			collectLate()
			return run(c, args)
		}
	}
	return c
}

// collectLate switches the collection of garbage off for a command that ends soon:
// a tree takes 50 MB, and going through these again and again a sixth of the time.
func collectLate() {
	debug.SetMemoryLimit(1 << 30) // above which it is on again
	debug.SetGCPercent(-1)
}

// kconfigFlags are those that say what the guest needs of a kernel.
const kconfigFlags = "smp userland flake mount-type virtiofsd disk network fragment profile require arch external " + generalFlags

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "compare .config with what the guest needs",
		Long: `Check lists each option that isn't as the guest needs it: its value, the value that
the guest needs, the reason, and what happens otherwise. The value is the one that the
kernel's conf would give it. Check doesn't run make, and changes nothing. The exit
status is 1 if something is missing. Optional requirements, which not every kernel can
meet, are listed but don't affect the exit status. With -v, check also lists what is as
the guest needs it.

With --json it prints an array of objects with these fields:
  symbol        the option, without CONFIG_
  want          an object: value (y, m, n, a number or a quoted string), module (m is
                enough) and min (a larger number is enough)
  optional      whether the requirement is optional
  group, why    where the requirement comes from, and its reason
  symptom       what happens without the option
  symptom_seen  whether a guest without the option has shown that
  before        the version from which the kernel has no such option; usually absent
  have          the value; empty if .config doesn't have the option
  met           whether the requirement is met
  proof         if this kernel has no such option: what it may have been meant for`,
		Example: `  run-kernel kconfig check
  run-kernel kconfig check O=../build --require KASAN=y --json`,
		Annotations: map[string]string{helpFlags: kconfigFlags + " output cross-compile cc llvm"},
		Args:        noArgs,
		RunE: a.withKernel(func(ctx context.Context, c *prepare.Kernel) error {
			results, err := c.Check(ctx)
			if err != nil {
				return err
			}
			missing := 0
			for _, r := range results {
				if !r.Met && !r.Optional {
					missing++
				}
			}
			if a.json {
				err = json.NewEncoder(a.out).Encode(results)
			} else {
				a.printResults(results, missing, c.Tree.ConfigPath())
			}
			if err == nil && missing > 0 {
				err = statusError(statusUnmet)
			}
			return err
		}),
	}
}

func (a *app) printResults(results []kconfig.Result, missing int, path string) {
	var rows [][]string
	for _, r := range results {
		if r.Met && !a.verbose {
			continue
		}
		want := r.Want.String()
		if r.Optional {
			want += " (optional)"
		}
		have := r.Have
		if have == "" {
			have = "absent"
		}
		why := reason(r.Requirement)
		if r.Proof != nil && !r.Optional {
			why += "; " + r.Proof.Text
		}
		rows = append(rows, []string{r.Symbol, have, want, why})
	}
	if len(rows) > 0 && !a.quiet {
		ui.Table(a.out, a.width(), []string{"OPTION", "HAVE", "WANT", "WHY"}, rows)
	}
	switch {
	case a.quiet:
	case missing > 0:
		fmt.Fprintf(a.out, "%d of %d options are missing in %s; `run-kernel kconfig fix`, with the same arguments, sets them or proves that it can't be\n", missing, len(results), path)
	default:
		fmt.Fprintf(a.out, "%s has what the guest needs (%d options checked)\n", path, len(results))
	}
}

// reason says why an option is needed, and what happens without it.
func reason(r kconfig.Requirement) string {
	text := strings.TrimSuffix(r.Why, ".")
	if r.Symptom != "" {
		text += "; without: " + strings.TrimSuffix(r.Symptom, ".")
	}
	return text
}

func (a *app) fixCommand() *cobra.Command {
	var keepGoing bool
	var file string
	c := &cobra.Command{
		Use:   "fix",
		Short: "change .config so that it has what the guest needs",
		Long: `Fix sets the options that the guest needs in .config, and the fewest other options that
make these possible. Then the kernel's own olddefconfig judges the result. Fix replaces
.config only if every requirement has survived, and keeps the previous file as
.config.old. If a requirement can't be met, .config stays as it is, and fix prints why: a
proof, with a file and a line for each step, or that it found no way and has no proof.
With --keep-going, it sets the other options.

An optional requirement stays off if you have switched it off in .config since the last
fix. Without a .config, fix starts from the architecture's defconfig.`,
		Example: `  run-kernel kconfig fix
  run-kernel kconfig fix --fragment debug.config --require 'NR_CPUS>=16'
  run-kernel kconfig fix --profile systemd,nixos
  run-kernel kconfig fix --dry-run`,
		Annotations: map[string]string{helpTables: "build", helpFlags: kconfigFlags},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.dryRun {
				// Neither a directory nor a defconfig is to be made.
				tree, err := a.existingTree()
				if err != nil {
					return err
				}
				if file == "" || isConfig(tree, file) {
					if _, err := a.kernel(tree).ReadConfig(); err != nil {
						return err
					}
				}
			}
			ctx, s, err := a.open(cmd.Context(), "kconfig fix")
			if err != nil {
				return err
			}
			defer s.Close()
			path := s.Kernel.Tree.ConfigPath()
			if file != "" && !isConfig(s.Kernel.Tree, file) {
				path = file
			}
			report, err := s.Kernel.Fix(ctx, prepare.FixOptions{Path: path, DryRun: a.dryRun, KeepGoing: keepGoing})
			if err != nil {
				return err
			}
			for _, r := range report.Unmet {
				text := fmt.Sprintf("the optional requirement %s=%s isn't met (%s)", r.Symbol, r.Want, strings.TrimSuffix(r.Why, "."))
				if r.Proof != nil {
					text += ": " + r.Proof.Text
				}
				a.events.Emit(event.Notice{Text: text})
			}
			if len(report.Edits) == 0 {
				a.events.Emit(event.Notice{Text: path + " has what the guest needs; nothing was changed"})
			} else if a.dryRun {
				a.events.Emit(event.Notice{Text: "--dry-run: " + filepath.Base(path) + " is as it was"})
			}
			return nil
		},
	}
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "print what would change, and change nothing")
	c.Flags().StringVar(&file, "config", "", "the `file` to change (default: the .config of the build)")
	c.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "set what is possible, if not every requirement can be met")
	return c
}

func (a *app) listCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "list what a guest needs, group by group",
		Long: `List prints the options that the guest needs, group by group, with their reasons: the
groups that this boot will use, the options that a NixOS flake declares, and those of
--profile, --fragment and --require. With --all, it prints every group.

With --json it prints an array of objects with the fields name, description and
requirements. Each requirement has the fields of kconfig check --json, without have and
met.`,
		Example: `  run-kernel kconfig list
  run-kernel kconfig list --network none --json
  run-kernel kconfig list --all`,
		Annotations: map[string]string{helpFlags: kconfigFlags},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tree, err := a.treeIn("") // whatever was built, or not
			if err != nil {
				return err
			}
			a.printsDocument()
			c := a.kernel(tree)
			var more []string
			if all {
				more = kconfig.GroupNames()
			}
			groups, err := a.groups(cmd.Context(), c, more...)
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.out).Encode(groups)
			}
			for i, g := range groups {
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				fmt.Fprintf(a.out, "%s: %s\n", g.Name, g.Description)
				var rows [][]string
				for _, r := range g.Requirements {
					want := r.Want.String()
					if r.Optional {
						want += " (optional)"
					}
					rows = append(rows, []string{"  " + r.Symbol, want, reason(r)})
				}
				ui.Table(a.out, a.width(), []string{"  OPTION", "WANT", "WHY"}, rows)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also list the groups that this boot doesn't use")
	return c
}

// groups are all groups of requirements, with more beside those that the boot will
// use, the user's own last.
func (a *app) groups(ctx context.Context, c *prepare.Kernel, more ...string) ([]kconfig.Group, error) {
	groups, err := c.Groups(ctx, more...)
	if err != nil {
		return nil, err
	}
	for _, path := range a.config.Kconfig.Fragments {
		list, err := kconfig.Fragment(path, c.Tree.SrcArch())
		if err != nil {
			return nil, err
		}
		groups = append(groups, kconfig.Group{Name: path, Description: "a fragment (" + a.config.Origin("kconfig.fragments") + ")", Requirements: list})
	}
	if len(a.config.Kconfig.Require) > 0 {
		g := kconfig.Group{Name: "require", Description: "asked for one by one (" + a.config.Origin("kconfig.require") + ")"}
		for _, text := range a.config.Kconfig.Require {
			r, err := kconfig.ParseRequire(text)
			if err != nil {
				return nil, err
			}
			g.Requirements = append(g.Requirements, r)
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// checkRequirements looks at the user's own requirements before anything is
// done, to say where a wrong one comes from.
func (a *app) checkRequirements(c *cobra.Command) error {
	if !listed(c, c.Flag("require"), "kconfig") {
		return nil // it has no use for them
	}
	for _, name := range prepare.Profiles(&a.config.Config) {
		if names := kconfig.GroupNames(); !slices.Contains(names, name) {
			return &config.ValueError{
				Where:   a.config.Origin("kconfig.profiles"),
				Problem: fmt.Sprintf("there is no profile %q; there are %s", name, strings.Join(names, ", ")),
			}
		}
	}
	for _, text := range a.config.Kconfig.Require {
		if _, err := kconfig.ParseRequire(text); err != nil {
			return &config.ValueError{Where: a.config.Origin("kconfig.require"), Problem: err.Error()}
		}
	}
	for _, path := range a.config.Kconfig.Fragments {
		origin := a.config.Origin("kconfig.fragments")
		_, err := kconfig.Fragment(path, "")
		var syntax *kconfig.SyntaxError
		var absent *fs.PathError
		switch {
		case err == nil:
		case errors.As(err, &syntax) && strings.HasPrefix(origin, "--"):
			return &usageError{problem: err.Error(), hint: "a fragment has lines such as CONFIG_KASAN=y and # CONFIG_RANDOMIZE_BASE is not set"}
		case errors.As(err, &syntax):
			return err
		case errors.As(err, &absent):
			return &config.ValueError{Where: origin, Problem: absent.Error()}
		default:
			return &config.ValueError{Where: origin, Problem: err.Error()}
		}
	}
	return nil
}

// printsDocument keeps events apart from the one document that a command prints
// with --json.
func (a *app) printsDocument() {
	if a.json {
		a.events = ui.JSON(a.env.Stderr)
	}
}

// withKernel makes a command's function of one that needs the tree, but not its
// build directory for itself.
func (a *app) withKernel(run func(context.Context, *prepare.Kernel) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		tree, err := a.existingTree()
		if err != nil {
			return err
		}
		a.printsDocument()
		return run(c.Context(), a.kernel(tree))
	}
}

// width is that of the terminal on standard output; 0 when it is none.
func (a *app) width() int { return columns(a.env.Stdout, 0) }
