// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/ui"
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
const generalFlags = "config-file print-config json color quiet verbose"

// headings are those of the flags of a table of the configuration, or of none.
var headings = map[string]string{"run": "The guest", "kconfig": "Options of .config", "build": "The build", "watch": "The loop", "verdict": "The verdict", "": "Flags"}

// helpWidth is that of help where no terminal is narrower, and leastWidth that of the
// narrowest one that it is made for.
const (
	helpWidth  = 100
	leastWidth = 60
)

// helpIndent is where the list of commands says what they do.
const helpIndent = 15

// widthOf is the width for text that is printed to w.
func widthOf(w io.Writer) int {
	if o, ok := w.(*stdout); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return helpWidth
	}
	width := cmp.Or(columns(f, 0), helpWidth) // some terminals say 0
	return min(max(width, leastWidth), helpWidth)
}

// fill breaks the lines of paragraphs anew. Indented lines stay as they are.
func fill(text string, width int) string {
	var out, paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			out = append(out, ui.Wrap(strings.Join(paragraph, " "), width)...)
			paragraph = nil
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" && line[0] != ' ' {
			paragraph = append(paragraph, line)
			continue
		}
		flush()
		out = append(out, line)
	}
	flush()
	return strings.Join(out, "\n")
}

// help prints a command's help: what it is, how it is called, examples, its
// flags by what they are about.
func help(c *cobra.Command, _ []string) {
	w := c.OutOrStdout()
	printHelp(c, w, widthOf(w))
}

func printHelp(c *cobra.Command, w io.Writer, width int) {
	text := c.Long
	if text == "" {
		text = c.Short
	}
	if width < helpWidth {
		text = fill(text, width)
	}
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s\n", text, c.UseLine())
	if c.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				lines := ui.Wrap(sub.Short, width-helpIndent)
				fmt.Fprintf(w, "  %-12s %s\n", sub.Name(), strings.Join(lines, "\n"+strings.Repeat(" ", helpIndent)))
			}
		}
	}
	for _, s := range sections(c) {
		fmt.Fprintf(w, "\n%s:\n%s", s.heading, s.flags.FlagUsagesWrapped(width))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nHelp for a command: %s COMMAND --help\n", c.CommandPath())
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

// A section of a command's help lists flags that are about the same.
type section struct {
	heading string
	flags   *pflag.FlagSet
}

// sections are those of a command that list any flag.
func sections(c *cobra.Command) []section {
	// Which table a flag belongs to.
	table := make(map[string]string)
	for _, t := range config.Tables() {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		config.AddFlags(set, t)
		set.VisitAll(func(f *pflag.Flag) { table[f.Name] = t })
	}
	var list []section
	for _, t := range append(config.Tables(), "") {
		s := section{headings[t], pflag.NewFlagSet("", pflag.ContinueOnError)}
		s.flags.SortFlags = false
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if table[f.Name] != t || !listed(c, f, t) || f.Hidden {
				return
			}
			if f.Value.Type() == "stringArray" {
				f = &pflag.Flag{Name: f.Name, Shorthand: f.Shorthand, Usage: f.Usage, Value: repeatable{f.Value}}
			}
			s.flags.AddFlag(f)
		})
		if s.flags.HasFlags() {
			list = append(list, s)
		}
	}
	return list
}

// A repeatable flag is shown like one that takes a string.
type repeatable struct{ pflag.Value }

func (repeatable) Type() string { return "string" }

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "print the help of a command",
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
