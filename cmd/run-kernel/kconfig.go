// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/cycle"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/tty"
	"github.com/metaspace/run-kernel/internal/ui"
	"github.com/metaspace/run-kernel/kconfig"
)

func (a *app) kconfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "kconfig COMMAND",
		Short: "check, fix, list and explain the options that the guest needs",
		Long: `Kconfig compares .config with what the guest needs: the groups of options that this
boot will use and those of --profile, what the flake of a NixOS declares
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
			return &usageError{problem: "kconfig needs a command", hint: "check, fix, list, explain or conf; see run-kernel kconfig --help"}
		},
	}
	c.AddCommand(a.checkCommand(), a.fixCommand(), a.listCommand(), a.explainCommand(), a.confCommand())
	return c
}

// kconfigFlags are those that say what the guest needs of a kernel.
const kconfigFlags = "smp userland flake mount-type virtiofsd disk network fragment profile require arch " + generalFlags

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "compare .config with what the guest needs",
		Long: `Check lists each option that isn't as the guest needs it: what the kernel's conf would
make of .config there, what it should be, why, and what happens otherwise. It runs no
make and changes nothing. The status is 1 when something is missing. Wishes, which not
every kernel can grant, are listed but don't count; with -v, what is as it should be is
listed, too.

With --json it is an array of objects with the fields symbol (without CONFIG_);
want, an object of value (y, m, n, a number or a quoted text), module (m will do as
well) and min (a greater number will do); wish; group; why; symptom (what happens
without it); symptom_seen (it did, in a guest); before (the version from which the
kernel has no such option; mostly absent); have (empty when .config doesn't have
it); and met.`,
		Example: `  run-kernel kconfig check
  run-kernel kconfig check O=../build --require KASAN=y --json`,
		Annotations: map[string]string{helpFlags: kconfigFlags + " output cross-compile cc llvm"},
		Args:        noArgs,
		RunE: a.withCycle(func(ctx context.Context, c *cycle.Cycle) error {
			results, err := c.Check(ctx)
			if err != nil {
				return err
			}
			missing := 0
			for _, r := range results {
				if !r.Met && !r.Wish {
					missing++
				}
			}
			if a.json {
				err = json.NewEncoder(a.env.Stdout).Encode(results)
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
		if r.Wish {
			want += " (wish)"
		}
		have := r.Have
		if have == "" {
			have = "absent"
		}
		rows = append(rows, []string{r.Symbol, have, want, reason(r.Requirement)})
	}
	if len(rows) > 0 && !a.quiet {
		ui.Table(a.env.Stdout, a.width(), []string{"OPTION", "HAVE", "WANT", "WHY"}, rows)
	}
	switch {
	case a.quiet:
	case missing > 0:
		fmt.Fprintf(a.env.Stdout, "%d of %d options are missing in %s; `run-kernel kconfig fix`, with the same arguments, sets them or proves that it can't be\n", missing, len(results), path)
	default:
		fmt.Fprintf(a.env.Stdout, "%s has what the guest needs (%d options checked)\n", path, len(results))
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
	c := &cobra.Command{
		Use:   "fix",
		Short: "change .config so that it has what the guest needs",
		Long: `Fix sets what the guest needs in .config, and the fewest other options that this takes;
lets the kernel's own olddefconfig judge the result; and replaces .config only if every
requirement has survived that. Else it proves, file by file and line by line, why it
can't be, and .config stays as it is. The file before is kept as .config.old. Without a
.config it starts from the architecture's defconfig.`,
		Example: `  run-kernel kconfig fix
  run-kernel kconfig fix --fragment debug.config --require 'NR_CPUS>=16'
  run-kernel kconfig fix --profile systemd,nixos
  run-kernel kconfig fix --dry-run`,
		Annotations: map[string]string{helpTables: "build", helpFlags: kconfigFlags},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.dryRun {
				// Neither a folder nor a defconfig is to be made.
				tree, err := a.existingTree()
				if err != nil {
					return err
				}
				if _, err := a.cycle(tree).ReadConfig(); err != nil {
					return err
				}
			}
			ctx, w, release, err := a.occupy(cmd.Context(), "kconfig fix")
			if err != nil {
				return err
			}
			defer release()
			w.DryRun = a.dryRun
			report, err := w.Fix(ctx)
			if err != nil {
				return err
			}
			for _, r := range report.Unmet {
				text := fmt.Sprintf("the wish %s=%s isn't granted (%s)", r.Symbol, r.Want, strings.TrimSuffix(r.Why, "."))
				if r.Proof != nil {
					text += ": " + r.Proof.Text
				}
				a.events.Emit(event.Notice{Text: text})
			}
			if len(report.Edits) == 0 {
				a.events.Emit(event.Notice{Text: w.Tree.ConfigPath() + " has what the guest needs; nothing was changed"})
			} else if a.dryRun {
				a.events.Emit(event.Notice{Text: "--dry-run: .config is as it was"})
			}
			return nil
		},
	}
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "show what would be changed, and change nothing")
	return c
}

func (a *app) listCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "list what the guest needs, group by group",
		Long: `List prints the options that the guest needs, group by group, with their reasons:
those that this boot will use, those that the flake of a NixOS declares, and those of
--profile, --fragment and --require; with --all every group there is.

With --json it is an array of objects with the fields name, description and
requirements, which are as kconfig check --json has them, without have and met.`,
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
			c := a.cycle(tree)
			if all {
				a.config.Kconfig.Profiles = kconfig.GroupNames()
			}
			groups, err := a.groups(cmd.Context(), c)
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.env.Stdout).Encode(groups)
			}
			for i, g := range groups {
				if i > 0 {
					fmt.Fprintln(a.env.Stdout)
				}
				fmt.Fprintf(a.env.Stdout, "%s: %s\n", g.Name, g.Description)
				var rows [][]string
				for _, r := range g.Requirements {
					want := r.Want.String()
					if r.Wish {
						want += " (wish)"
					}
					rows = append(rows, []string{"  " + r.Symbol, want, reason(r)})
				}
				ui.Table(a.env.Stdout, a.width(), []string{"  OPTION", "WANT", "WHY"}, rows)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "list the groups that this boot will not use, too")
	return c
}

// groups are all groups of requirements, the user's own last.
func (a *app) groups(ctx context.Context, c *cycle.Cycle) ([]kconfig.Group, error) {
	groups, err := c.Groups(ctx)
	if err != nil {
		return nil, err
	}
	for _, path := range a.config.Kconfig.Fragments {
		list, err := kconfig.Fragment(path)
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
	for _, name := range cycle.Profiles(&a.config.Config) {
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
		_, err := kconfig.Fragment(path)
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

// withCycle makes a command's function of one that needs the tree, but not its
// build directory for itself.
func (a *app) withCycle(run func(context.Context, *cycle.Cycle) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		tree, err := a.existingTree()
		if err != nil {
			return err
		}
		a.printsDocument()
		return run(c.Context(), a.cycle(tree))
	}
}

// width is that of the terminal on standard output; 0 when it is none.
func (a *app) width() int {
	if !isatty.IsTerminal(a.env.Stdout.Fd()) {
		return 0
	}
	_, columns, err := tty.Size(a.env.Stdout)
	if err != nil {
		return 0
	}
	return columns
}
