// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/metaspace/run-kernel/internal/config"
)

// What the help of a command lists besides the flags of its own. All others that
// are the root's are accepted as well.
const (
	// helpTables are the tables of the configuration whose flags it lists.
	helpTables = "tables"
	// helpFlags are single flags, or -flag for one that it leaves out. Where it
	// names any, generalFlags aren't listed by themselves.
	helpFlags = "flags"
)

// generalFlags are those of most commands.
const generalFlags = "config-file print-config json quiet verbose"

var headings = map[string]string{"run": "The guest", "kconfig": "Options of .config", "build": "The build", "watch": "The loop"}

const helpWidth = 100

// help prints a command's help: what it is, how it is called, examples, its
// flags by what they are about.
func help(c *cobra.Command, _ []string) {
	w := c.OutOrStdout()
	text := c.Long
	if text == "" {
		text = c.Short
	}
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s\n", text, c.UseLine())
	if c.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-12s %s\n", sub.Name(), sub.Short)
			}
		}
	}
	// Which table a flag belongs to.
	table := make(map[string]string)
	for _, t := range config.Tables() {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		config.AddFlags(set, t)
		set.VisitAll(func(f *pflag.Flag) { table[f.Name] = t })
	}
	for _, t := range config.Tables() {
		flags(w, headings[t], c, func(f *pflag.Flag) bool { return table[f.Name] == t && listed(c, f, t) })
	}
	flags(w, "Flags", c, func(f *pflag.Flag) bool { return table[f.Name] == "" && listed(c, f, "") })
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s COMMAND --help says more of a command.\n", c.CommandPath())
	}
}

// listed says whether a command's help lists a flag, of a table of the
// configuration or of none.
func listed(c *cobra.Command, f *pflag.Flag, table string) bool {
	single := strings.Fields(c.Annotations[helpFlags])
	if slices.Contains(single, "-"+f.Name) {
		return false
	}
	if !c.HasParent() || slices.Contains(single, f.Name) || slices.Contains(strings.Fields(c.Annotations[helpTables]), table) {
		return true
	}
	if table != "" {
		return false
	}
	if !slices.Contains(strings.Fields(generalFlags), f.Name) {
		return true
	}
	return !slices.ContainsFunc(single, func(name string) bool { return name[0] != '-' })
}

// flags prints those flags of a command that belong.
func flags(w io.Writer, heading string, c *cobra.Command, belongs func(*pflag.Flag) bool) {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.SortFlags = false
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !belongs(f) || f.Hidden {
			return
		}
		if f.Value.Type() == "stringArray" {
			f = &pflag.Flag{Name: f.Name, Shorthand: f.Shorthand, Usage: f.Usage, Value: repeatable{f.Value}}
		}
		set.AddFlag(f)
	})
	if set.HasFlags() {
		fmt.Fprintf(w, "\n%s:\n%s", heading, set.FlagUsagesWrapped(helpWidth))
	}
}

// A repeatable flag is shown like one that takes a string.
type repeatable struct{ pflag.Value }

func (repeatable) Type() string { return "string" }

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "say how a command is used",
		Example: `  run-kernel help
  run-kernel help kconfig check`,
		Annotations: map[string]string{helpFlags: "none"},
		RunE: func(c *cobra.Command, args []string) error {
			about := c.Root()
			for _, name := range args {
				sub := subcommand(about, name)
				if sub == nil {
					return a.unknownCommand(about, name)
				}
				about = sub
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			help(about, nil)
			return nil
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			about := c.Root()
			for _, name := range args {
				if about = subcommand(about, name); about == nil {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
			}
			var names []string
			for _, sub := range about.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
