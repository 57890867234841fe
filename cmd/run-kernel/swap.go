// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/internal/spell"
	"github.com/metaspace/run-kernel/kbuild"
)

func (a *app) swapCommand() *cobra.Command {
	c := a.addNameFlag(&cobra.Command{
		Use:   "swap [flags] [MODULE...]",
		Short: "replace modules in the running guest",
		Long: `Swap unloads modules in the guest, and loads them as make has built them since.
Modules that need them are unloaded before and loaded again. A module keeps those
parameters that can be read in /sys/module. MODULE is a name or the path of a file.
Without any, swap replaces each module that is loaded and has another build id now.

Before it unloads anything, swap refuses a module that is in use, built in or built
for another release, and a kernel that has crashed. It doesn't run make.`,
		Example: `  run-kernel swap                 # what has been built anew
  run-kernel swap dummy
  run-kernel swap ../mine/mine.ko`,
		Annotations: map[string]string{helpFlags: "output config-file json"},
		RunE:        a.swap,
	})
	c.ValidArgsFunction = func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		tree, err := a.typedTree(c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return slices.Sorted(maps.Keys(tree.ModuleFiles())), cobra.ShellCompDirectiveDefault // or a file
	}
	return c
}

func (a *app) swap(c *cobra.Command, args []string) error {
	address, err := a.address()
	if err != nil {
		return err
	}
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	status, err := client.Status()
	if err != nil {
		return err
	}
	a.config.Build.External = slices.Concat(a.config.Build.External, status.External)
	tree, err := a.treeIn(address.Build)
	if err != nil {
		return err
	}
	paths := map[string]string{}
	for name, f := range tree.ModuleFiles() {
		paths[name] = f.Path
	}
	s := boot.Swap{File: func(name string) string { return paths[name] }, Differing: len(args) == 0}
	for _, arg := range args {
		name := kbuild.ModuleName(arg)
		if path := a.modulePath(arg); path != "" {
			paths[name] = path
		} else if paths[name] != "" && !names(arg, paths[name]) {
			return &advisedError{fmt.Errorf("there is no %s", arg), "build it first; for " + paths[name] + ", say " + name}
		} else if paths[name] == "" {
			return noModule(tree, name, paths)
		}
		s.Names = append(s.Names, name)
	}
	if len(args) == 0 {
		s.Names = slices.Sorted(maps.Keys(paths))
	}
	began := time.Now()
	done, err := s.Swap(c.Context(), client.Client)
	e := session.SwapEvent(done, nil, time.Since(began))
	if len(args) == 0 {
		e.Idle = nil // nobody asked for those
	}
	if err == nil || len(e.Modules) > 0 {
		a.events.Emit(e)
	}
	var refused *boot.SwapError
	switch {
	case errors.As(err, &refused) && refused.Touched:
		return &advisedError{err, "some of them may be unloaded now; what the kernel says: run-kernel exec -- dmesg"}
	case err != nil:
		return err
	}
	if failing := session.Failing(a.config.Verdict, done.Reports); len(failing) > 0 {
		return &boot.ReportError{Reports: failing}
	}
	return nil
}

// modulePath is the path of a module's file that an argument names; empty: it is a name.
func (a *app) modulePath(arg string) string {
	if !strings.HasSuffix(arg, ".ko") {
		return ""
	}
	if !filepath.IsAbs(arg) {
		arg = filepath.Join(a.env.Dir, arg)
	}
	if _, err := os.Stat(arg); err != nil {
		return ""
	}
	return arg
}

// names says whether an argument that is no path of a file names the module of a build
// directory at path: by its name, or by where it is in that directory.
func names(arg, path string) bool {
	return !strings.Contains(arg, "/") || strings.HasSuffix(path, "/"+filepath.Clean(arg))
}

// noModule is the error for a module that wasn't built.
func noModule(tree *kbuild.Tree, name string, paths map[string]string) error {
	err := fmt.Errorf("%s isn't among the modules in %s", name, tree.BuildDir)
	hint := "make modules builds them; the path of a file names any"
	if near := spell.Nearest(name, slices.Sorted(maps.Keys(paths))); near != "" {
		hint = "did you mean " + near + "?"
	}
	return &advisedError{err, hint}
}
