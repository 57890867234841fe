// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/kbuild"
)

// typedTree is the tree that a command line which is still being typed is about. Without
// a configuration, which a flag that is half typed makes wrong, it is where the flags say.
func (a *app) typedTree(c *cobra.Command) (*kbuild.Tree, error) {
	if err := a.loadConfig(c); err == nil {
		return a.existingTree()
	}
	a.config = new(config.Loaded)
	a.config.Build.Arch, _ = c.Flags().GetString("arch")
	a.config.Build.Output, _ = c.Flags().GetString("output")
	if dir := a.config.Build.Output; dir != "" && !filepath.IsAbs(dir) {
		a.config.Build.Output = filepath.Join(a.env.Dir, dir)
	}
	return a.existingTree()
}

// completeOptions completes the names of Kconfig options, without CONFIG_. What they are
// in a build, which takes the whole model, doesn't matter.
func (a *app) completeOptions(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	tree, err := a.typedTree(c)
	if err != nil || typed == "" {
		return nil, directive // there are 20,000
	}
	typed = strings.ToUpper(typed)
	var names []string
	for _, file := range kconfigFiles(tree) {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(data) {
			words := bytes.Fields(line)
			if len(words) == 2 && (string(words[0]) == "config" || string(words[0]) == "menuconfig") && bytes.HasPrefix(words[1], []byte(typed)) {
				names = append(names, string(words[1]))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), directive
}

// kconfigFiles are the Kconfig files of a tree, without those of other architectures.
func kconfigFiles(tree *kbuild.Tree) []string {
	var files []string
	_ = filepath.WalkDir(tree.Source, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if !e.IsDir() {
			if strings.HasPrefix(e.Name(), "Kconfig") {
				files = append(files, path)
			}
			return nil
		}
		switch dir, name := filepath.Split(tree.Rel(path)); {
		case dir == "" && slices.Contains([]string{".git", "Documentation", "include", "tools", "LICENSES"}, name):
			return fs.SkipDir
		case dir == "arch/" && name != tree.SrcArch() && !slices.Contains(arch.OfKernel(tree.Arch()).Borrows, name):
			return fs.SkipDir
		}
		return nil
	})
	return files
}

// completeGuests completes the names of the guests that run for the tree.
func (a *app) completeGuests(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	tree, err := a.typedTree(c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, _ := control.List(tree.BuildDir)
	var names []string
	for _, address := range list {
		if address.Name != "" {
			names = append(names, address.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// makeTargets are those that people build beside the image, and variables that change how.
var makeTargets = []string{
	"modules", "dtbs", "scripts_gdb", "rust-analyzer", "compile_commands.json", "headers_install", "clang-tidy", "clang-analyzer",
	"W=1", "W=2", "C=1", "C=2", "V=1", "KCFLAGS=",
}

// completeTargets completes what follows -- and goes to make. The command can't tell where
// the -- is: cobra parses a command line that is still being typed with one at its end.
func (a *app) completeTargets(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if typed := a.env.Args[:len(a.env.Args)-1]; !slices.Contains(typed, "--") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(slices.Clone(makeTargets), func(t string) bool { return slices.Contains(args, t) }), cobra.ShellCompDirectiveNoFileComp
}
