// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/ktap"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/kbuild"
)

// kunitFlags are those of kunit alone.
type kunitFlags struct {
	testReports
	configs  []string
	buildDir string
}

func (a *app) kunitCommand() *cobra.Command {
	var k kunitFlags
	c := &cobra.Command{
		Use:   "kunit [flags] [GLOB]",
		Short: "run the kernel's KUnit tests",
		Long: `Kunit builds a kernel with KUnit tests, boots it, and prints the result of each test when
it is there. GLOB chooses the tests: SUITE or SUITE.TEST, with the wildcards * and ?.

A kunitconfig is a configuration fragment that says which tests are in the kernel. A
directory stands for the file .kunitconfig in it. The default is the one of the kernel's
kunit.py: all tests whose dependencies the defaults meet. What else the tests and the
guest need is set in .config. An option that can't be set comes with a proof.

The kernel has a build directory of its own, .run-kernel/kunit in the build directory, so
that your kernel and its .config stay as they are. A source tree that was built in place
can't have another build directory: use --build-dir there.

Exit statuses:
  0     the tests passed, or were skipped
  1     a test failed, crashed or never came; or the guest did
  125   no test ran, or the kernel could not be configured or built
  128   the command line is wrong`,
		Example: `  run-kernel kunit
  run-kernel kunit 'list*'
  run-kernel kunit --kunitconfig fs/ext4
  run-kernel kunit --junit kunit.xml 'time*.*'`,
		Annotations: map[string]string{
			helpTables: "run kconfig build", foldStatus: "bisect",
			helpFlags: "-kernel -user -ssh -ssh-command -ping-ssh -serial -stdin " + generalFlags,
		},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return unexpected(c, args[1])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			glob := ""
			if len(args) > 0 {
				glob = args[0]
			}
			return a.kunit(c, glob, &k)
		},
	}
	c.Flags().StringArrayVar(&k.configs, "kunitconfig", nil, "configuration fragment with tests, or a directory with a .kunitconfig")
	c.Flags().StringVar(&k.buildDir, "build-dir", "", "build directory of the kernel with tests")
	c.Flags().BoolVar(&a.noBuild, "no-build", false, "boot the last image, without make")
	c.Flags().DurationVar(&a.timeout, "timeout", 0, "time limit of the boot with the tests (0: no limit)")
	k.addFlags(c)
	_ = c.MarkFlagDirname("build-dir")
	_ = c.MarkFlagFilename("kunitconfig")
	return c
}

// kunitName is the name of kunit's build directory in the state directory of another.
const kunitName = "kunit"

// A noTestsError says that not a single test ran.
type noTestsError struct{ problem, hint string }

func (e *noTestsError) Error() string { return e.problem }
func (e *noTestsError) Hint() string  { return e.hint }

func (a *app) kunit(c *cobra.Command, glob string, k *kunitFlags) error {
	if a.config.Run.Kernel != "" {
		return &usageError{
			problem: "kunit builds the kernel that it boots, and run.kernel names another (" + a.config.Origin("run.kernel") + ")",
			hint:    "kunit --kernel= builds one all the same",
		}
	}
	if a.timeout < 0 {
		return &usageError{problem: "--timeout: a duration can't be negative"}
	}
	if err := k.begin(a.env.Dir); err != nil {
		return err
	}
	tree, err := a.kunitTree(k.buildDir)
	if err != nil {
		return err
	}
	if err := a.checkArch(tree); err != nil {
		return err
	}
	configs, err := a.kunitConfigs(tree, k.configs)
	if err != nil {
		return err
	}
	own := a.config.Config
	own.Kconfig.Fragments = slices.Concat(own.Kconfig.Fragments, configs)
	own.Kconfig.Require = slices.Concat(own.Kconfig.Require, []string{"KUNIT=y"})
	if own.Run.Userland == userland.Auto {
		own.Run.Userland = userland.Host // nothing is run there
	}
	o := a.sessionOptions(c.Name())
	o.Config = &own
	ctx, s, err := session.Open(c.Context(), tree, o)
	if err != nil {
		return err
	}
	defer s.Close()
	if !a.noBuild {
		if err := s.Kernel.SeedKUnit(ctx, configs); err != nil {
			return err
		}
	}
	t, err := s.KUnit(ctx, session.KUnit{NoBuild: a.noBuild, Glob: glob, Timeout: a.timeout})
	if t != nil {
		err = errors.Join(err, k.write(a.out, "kunit", t))
	}
	if err != nil {
		return err
	}
	return kunitVerdict(t, glob)
}

// kunitVerdict is the error that the results of tests come to.
func kunitVerdict(t *ktap.Test, glob string) error {
	switch {
	case t.Status == ktap.NoKTAP:
		return &noTestsError{"the kernel printed no results of tests", "is KUNIT=y in its .config, and the level of its console at least info (loglevel=7)?"}
	case t.Status == ktap.NoTests && glob != "":
		return &noTestsError{fmt.Sprintf("no test of this kernel matches %q", glob), "--kunitconfig FILE says which tests are built in"}
	case t.Status == ktap.NoTests:
		return &noTestsError{"this kernel has no tests", "--kunitconfig FILE says which tests are built in"}
	case !t.Status.Good():
		return statusError(statusUnmet)
	}
	return nil
}

// kunitTree is the source tree with the build directory of its kernel with tests.
func (a *app) kunitTree(dir string) (*kbuild.Tree, error) {
	if dir != "" {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(a.env.Dir, dir)
		}
		return a.treeIn(dir)
	}
	usual, err := a.tree()
	if err != nil {
		return nil, err
	}
	// make refuses another build directory then; see the target outputmakefile.
	for _, name := range []string{".config", "include/config", filepath.Join("arch", usual.SrcArch(), "include/generated")} {
		if _, err := os.Lstat(filepath.Join(usual.Source, name)); err == nil {
			return nil, &usageError{
				problem: fmt.Sprintf("%s was built in place (it has %s), and make refuses any other build directory for it", usual.Source, name),
				hint:    "--build-dir . builds the kernel with tests in place; after `make mrproper` it has a build directory of its own",
			}
		}
	}
	if dir, err = usual.StateDir(kunitName); err != nil {
		return nil, err
	}
	return a.treeIn(dir)
}

// kunitConfigs are the paths of the kunitconfigs, by the names that the user has given.
func (a *app) kunitConfigs(tree *kbuild.Tree, names []string) ([]string, error) {
	if len(names) == 0 {
		return a.kernel(tree).KUnitConfigs(), nil
	}
	var paths []string
	for _, name := range names {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(a.env.Dir, name)
			if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
				path = filepath.Join(tree.Source, name)
			}
		}
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			path = filepath.Join(path, ".kunitconfig")
		}
		if _, err := os.Stat(path); err != nil {
			return nil, &usageError{problem: fmt.Sprintf("--kunitconfig %s: %v", name, err)}
		}
		paths = append(paths, path)
	}
	return paths, nil
}
