// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/internal/cycle"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/tty"
	"github.com/metaspace/run-kernel/internal/ui"
	"github.com/metaspace/run-kernel/kconfig"
)

func (a *app) kconfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "kconfig",
		Short: "check, fix and list the options that the guest needs",
		Long: `Kconfig compares .config with what the guest needs: the groups of options that this
boot will use, the fragments of --fragment, and the options of --require.`,
		Example: `  run-kernel kconfig check
  run-kernel kconfig fix --require KASAN=y
  run-kernel kconfig list`,
		Args: func(c *cobra.Command, args []string) error {
			if others, _ := makeWords(c, args); len(others) > 0 {
				return unknownCommand(c, others[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return &usageError{problem: "kconfig needs a command", hint: "check, fix or list; see run-kernel kconfig --help"}
		},
	}
	c.AddCommand(a.checkCommand(), a.fixCommand(), a.listCommand())
	return c
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "compare .config with what the guest needs",
		Long: `Check lists each option of .config that isn't as the guest needs it: what it is,
what it should be, why, and what happens otherwise. It changes nothing. The status
is 1 when something is missing. Wishes, which not every kernel can grant, are
listed but don't count; with -v, what is as it should be is listed, too.`,
		Example: `  run-kernel kconfig check
  run-kernel kconfig check O=../build --require KASAN=y --json`,
		Annotations: map[string]string{helpTables: "kconfig build run"},
		Args:        noArgs,
		RunE: a.withCycle(func(ctx context.Context, c *cycle.Cycle) error {
			results, err := c.Check()
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
		rows = append(rows, []string{r.Symbol, have, want, r.Why + "; without: " + r.Symptom})
	}
	if len(rows) > 0 && !a.quiet {
		ui.Table(a.env.Stdout, a.width(), []string{"OPTION", "HAVE", "WANT", "WHY"}, rows)
	}
	switch {
	case a.quiet:
	case missing > 0:
		fmt.Fprintf(a.env.Stdout, "%d of %d options are missing in %s; `run-kernel kconfig fix` sets them\n", missing, len(results), path)
	default:
		fmt.Fprintf(a.env.Stdout, "%s has what the guest needs (%d options checked)\n", path, len(results))
	}
}

func (a *app) fixCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "fix",
		Short: "change .config so that it has what the guest needs",
		Long: `Fix sets what the guest needs in .config, lets the kernel's own olddefconfig judge
the result, and replaces .config only if every requirement has survived that; else
it says which did not, and .config stays as it is. The file before is kept as
.config.old. Without a .config it starts from the architecture's defconfig.`,
		Example: `  run-kernel kconfig fix
  run-kernel kconfig fix --fragment debug.config --require 'NR_CPUS>=16'
  run-kernel kconfig fix --dry-run`,
		Annotations: map[string]string{helpTables: "kconfig build run"},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
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
				a.events.Emit(event.Notice{Text: fmt.Sprintf("this kernel doesn't grant the wish %s=%s (%s)", r.Symbol, r.Want, r.Why)})
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
	return &cobra.Command{
		Use:   "list",
		Short: "list what the guest needs, group by group",
		Example: `  run-kernel kconfig list
  run-kernel kconfig list --network none --json`,
		Annotations: map[string]string{helpTables: "kconfig build run"},
		Args:        noArgs,
		RunE: a.withCycle(func(ctx context.Context, c *cycle.Cycle) error {
			groups, err := c.Groups()
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
					text := r.Why
					if r.Symptom != "" {
						text += "; without: " + r.Symptom
					}
					rows = append(rows, []string{"  " + r.Symbol, want, text})
				}
				ui.Table(a.env.Stdout, a.width(), []string{"  OPTION", "WANT", "WHY"}, rows)
			}
			return nil
		}),
	}
}

// withCycle makes a command's function of one that needs the tree, but not its
// build directory for itself.
func (a *app) withCycle(run func(context.Context, *cycle.Cycle) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		tree, err := a.tree()
		if err != nil {
			return err
		}
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
