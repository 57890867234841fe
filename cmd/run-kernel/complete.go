// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/kconfig"
)

// completionExamples are where the shells look for completions.
var completionExamples = map[string]string{
	"bash": `  run-kernel completion bash >~/.local/share/bash-completion/completions/run-kernel`,
	"zsh":  `  run-kernel completion zsh >"${fpath[1]}/_run-kernel"`,
	"fish": `  run-kernel completion fish >~/.config/fish/completions/run-kernel.fish`,
}

// addCompletions tells the shells what may follow what.
func (a *app) addCompletions(root *cobra.Command) {
	if c := subcommand(root, "completion"); c != nil {
		c.Use = "completion SHELL"
		c.Short = "print the completion script for a shell"
		c.Long = "Completion prints a script. With it, the shell completes run-kernel's commands and\n" +
			"flags. The examples write it where the shell finds it at its next start."
		c.Annotations = map[string]string{helpFlags: "none"}
		for _, sub := range c.Commands() {
			example, ok := completionExamples[sub.Name()]
			if !ok {
				c.RemoveCommand(sub)
				continue
			}
			if c.Example != "" {
				c.Example += "\n"
			}
			c.Example += example
			sub.Short = "print the completion script for " + sub.Name()
			sub.Long = ""
			sub.Example = example
			sub.Args = noArgs
			sub.Annotations = map[string]string{helpFlags: "none"}
		}
		c.RunE = func(c *cobra.Command, args []string) error {
			return &usageError{problem: "completion needs a shell", hint: "bash, zsh or fish; see run-kernel completion --help"}
		}
		c.Args = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return a.unknownCommand(c, args[0])
			}
			return nil
		}
	}

	values := config.Choices()
	values["userland"] = config.Userlands
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		if c.ValidArgsFunction == nil && !passesOn(c) && c.Annotations[wordsEnd] == "" {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
		for _, sub := range c.Commands() {
			each(sub)
		}
	}
	each(root)
	for flag, words := range values {
		directive := cobra.ShellCompDirectiveNoFileComp
		if flag == "userland" {
			directive = cobra.ShellCompDirectiveDefault // or a directory
		}
		_ = root.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, directive))
	}
	_ = root.MarkPersistentFlagDirname("output")
	_ = root.MarkPersistentFlagDirname("external")
	_ = root.RegisterFlagCompletionFunc("require", a.completeOptions)
	_ = root.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(kconfig.GroupNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("arch", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return a.arches(), cobra.ShellCompDirectiveNoFileComp
	})
	for _, flag := range []string{"smp", "memory", "memory-gib", "jobs", "share", "ssh-command", "hostname", "boot-timeout", "boot-limit", "kernel-extra-args", "qemu-extra-args"} {
		_ = root.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions)
	}
}

// arches are the architectures of the tree around us.
func (a *app) arches() []string {
	a.config = new(config.Loaded)
	tree, err := a.treeIn("")
	if err != nil {
		return nil
	}
	entries, _ := os.ReadDir(filepath.Join(tree.Source, "arch"))
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
		names = append(names, arch.OfKernel(e.Name()).Aliases...)
	}
	slices.Sort(names)
	return names
}
