// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kconfig/tree"
)

// A confRequest is what the command line of kconfig conf asks for.
type confRequest struct {
	modes map[tree.Mode]*bool
	saved string // file of savedefconfig
	in    string
	out   string
}

func (a *app) confCommand() *cobra.Command {
	r := &confRequest{modes: map[tree.Mode]*bool{}}
	c := &cobra.Command{
		Use:   "conf --MODE",
		Short: "do what the kernel's own conf does, without make",
		Long: `Conf does what the kernel's own scripts/kconfig/conf does with the option of the same
name. It writes the same bytes and prints the same warnings. It reads the Kconfig files
itself, and needs no make. The answers of the compiler are cached in the user's cache
directory, until the compiler, the tools or the scripts change.

Without --write, olddefconfig writes to the file that it has read, and all*config write
to the .config of the build directory. The previous file is kept with the suffix .old.`,
		Example: `  run-kernel kconfig conf --olddefconfig
  run-kernel kconfig conf --savedefconfig defconfig
  run-kernel kconfig conf --allmodconfig --write /tmp/allmod O=../build`,
		Annotations: map[string]string{helpFlags: "arch output cross-compile cc llvm config-file quiet verbose"},
		Args:        noArgs,
		RunE:        func(c *cobra.Command, _ []string) error { return a.conf(c.Context(), r) },
	}
	for _, m := range []struct {
		mode tree.Mode
		what string
	}{
		{tree.Olddefconfig, "give each new symbol its default"},
		{tree.Alldefconfig, "give each symbol its default"},
		{tree.Allnoconfig, "answer each question with no"},
		{tree.Allyesconfig, "answer each question with yes"},
		{tree.Allmodconfig, "answer each question with module, where that is possible"},
		{tree.Listnewconfig, "list the symbols that .config says nothing of"},
	} {
		r.modes[m.mode] = c.Flags().Bool(string(m.mode), false, m.what)
	}
	c.Flags().StringVar(&r.saved, string(tree.Savedefconfig), "", "write the least .config with the same result to this `file`")
	c.Flags().StringVar(&r.in, "config", "", "the `file` to read (default: the .config of the build)")
	c.Flags().StringVar(&r.out, "write", "", "the `file` to write; - is standard output")
	return c
}

// mode is the one that was asked for.
func (r *confRequest) mode() (tree.Mode, error) {
	var found []tree.Mode
	for mode, set := range r.modes {
		if *set {
			found = append(found, mode)
		}
	}
	if r.saved != "" {
		found = append(found, tree.Savedefconfig)
	}
	if len(found) != 1 {
		return "", &usageError{problem: "kconfig conf needs one mode", hint: "such as --olddefconfig; see run-kernel kconfig conf --help"}
	}
	mode := found[0]
	if mode.FromScratch() && r.in != "" {
		return "", &usageError{problem: fmt.Sprintf("--config has no use with --%s", mode), hint: "KCONFIG_ALLCONFIG=FILE in the environment presets symbols"}
	}
	if mode == tree.Listnewconfig && r.out != "" {
		return "", &usageError{problem: "--write has no use with --listnewconfig", hint: "it prints the list"}
	}
	if mode == tree.Savedefconfig {
		if r.out != "" {
			return "", &usageError{problem: "--write has no use with --savedefconfig", hint: "it writes to the file that it's given"}
		}
		r.out = r.saved
	}
	return mode, nil
}

func (a *app) conf(ctx context.Context, r *confRequest) error {
	mode, err := r.mode()
	if err != nil {
		return err
	}
	t, err := a.existingTree()
	if err != nil {
		return err
	}
	name, path := ".config", t.ConfigPath()
	if r.in != "" {
		name, path = r.in, r.in
	}
	request := tree.Request{Mode: mode, Name: name, Dirs: []string{t.BuildDir, t.Source}}
	if !mode.FromScratch() {
		if request.Config, err = os.ReadFile(path); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return &noConfigError{path}
			}
			return err
		}
	}
	if r.out == "" {
		r.out = path
	}
	if isConfig(t, r.out) {
		r.out = t.ConfigPath()
	}
	if r.out == t.ConfigPath() && mode != tree.Listnewconfig {
		// Nobody else may work with the file meanwhile.
		stoppable, s, err := a.open(ctx, "kconfig conf")
		if err != nil {
			return err
		}
		defer s.Close()
		ctx = stoppable
	}
	data, err := a.runConf(ctx, a.kernel(t), request)
	if err != nil {
		return err
	}
	if mode == tree.Listnewconfig || r.out == "-" {
		_, err = a.out.Write(data)
		return err
	}
	if mode == tree.Savedefconfig {
		return os.WriteFile(r.out, data, 0o644)
	}
	changed, err := tree.Replace(r.out, data)
	if err != nil || a.quiet {
		return err
	}
	shown := r.out
	if shown == t.ConfigPath() {
		shown = ".config" // as conf does, which runs in the build directory
	}
	text := "No change to " + shown
	if changed {
		text = "configuration written to " + shown
	}
	_, err = fmt.Fprintf(a.out, "#\n# %s\n#\n", text)
	return err
}

// isConfig says whether a path is that of the .config of the build, however it is
// spelled.
func isConfig(t *kbuild.Tree, path string) bool {
	if abs, err := filepath.Abs(path); err == nil && abs == t.ConfigPath() {
		return true
	}
	own, err := os.Stat(t.ConfigPath())
	if err != nil {
		return false
	}
	st, err := os.Stat(path)
	return err == nil && os.SameFile(st, own)
}

// runConf does what conf does, or has conf do it where it alone understands the tree.
func (a *app) runConf(ctx context.Context, k *prepare.Kernel, request tree.Request) ([]byte, error) {
	m, err := k.Model(ctx)
	if prepare.NotUnderstood(err) && (request.Mode.FromScratch() || request.Mode == tree.Olddefconfig) {
		// Where conf doesn't understand it either, what is wrong is known already.
		data, failed := k.Conf(ctx, request.Mode, request.Config)
		if failed != nil {
			return nil, err
		}
		a.events.Emit(event.Notice{Text: fmt.Sprintf("the kernel's own conf did it, as it alone understands this tree: %v", err)})
		return data, nil
	}
	if err != nil {
		return nil, err
	}
	for _, d := range m.Diagnostics {
		w := io.Writer(a.env.Stderr)
		if d.Stdout {
			w = a.out
		}
		fmt.Fprint(w, d.Text)
	}
	data, warnings, err := tree.Conf(m, request)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(a.env.Stderr, warnings)
	return data, nil
}

// A noConfigError says that there is no .config to read.
type noConfigError struct{ path string }

func (e *noConfigError) Error() string { return e.path + " doesn't exist" }
func (e *noConfigError) Hint() string {
	return "--alldefconfig starts from the defaults of the Kconfig files, make defconfig from those of the architecture"
}
