// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/spell"
)

// helpTables are the tables of the configuration whose flags the help of a
// command lists; the others' are accepted as well, for what they imply.
const helpTables = "tables"

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
	shown := strings.Fields(c.Annotations[helpTables])
	if !c.HasParent() {
		shown = config.Tables()
	}
	for _, t := range shown {
		flags(w, headings[t], c, func(f *pflag.Flag) bool { return table[f.Name] == t })
	}
	flags(w, "Flags", c, func(f *pflag.Flag) bool { return table[f.Name] == "" })
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s COMMAND --help says more of a command.\n", c.CommandPath())
	}
}

// flags prints those flags of a command that belong.
func flags(w io.Writer, heading string, c *cobra.Command, belongs func(*pflag.Flag) bool) {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.SortFlags = false
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if belongs(f) && !f.Hidden {
			set.AddFlag(f)
		}
	})
	if set.HasFlags() {
		fmt.Fprintf(w, "\n%s:\n%s", heading, set.FlagUsagesWrapped(helpWidth))
	}
}

// flagError explains a flag that can't be parsed.
func flagError(c *cobra.Command, err error) error {
	e := &usageError{problem: err.Error(), hint: fmt.Sprintf("see %s --help", c.CommandPath())}
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return e
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := spell.Nearest(name, names); near != "" {
		e.hint = fmt.Sprintf("did you mean --%s?", near)
	}
	return e
}
