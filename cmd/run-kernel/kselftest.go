// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/internal/spell"
	"github.com/metaspace/run-kernel/kbuild"
)

// kselftestFlags are those of kselftest alone.
type kselftestFlags struct {
	commandResults
	testTimeout time.Duration
}

func (a *app) kselftestCommand() *cobra.Command {
	var k kselftestFlags
	c := &cobra.Command{
		Use:   "kselftest [flags] TARGET[:TEST]...",
		Short: "run the kernel's selftests in the guest",
		Long: `Kselftest builds the kernel and its selftests, boots it, and runs the selftests in the
guest. TARGET is a directory in tools/testing/selftests, such as timers or net/mptcp. With
:TEST, only that test of it runs.

The options in the target's file config are set in .config. An option that can't be set
comes with a proof. The tests are installed in .run-kernel/kselftest in the build
directory. In the guest they run in a copy of it in memory, so that they can write there.

The kernel's own runner limits each test to 45 seconds, or to what the target's file
settings says. --test-timeout is another limit.

Exit statuses:
  0     the tests passed, or were skipped
  1     a test failed, or the kernel crashed or reported a problem
  125   no test ran, or the kernel or the tests could not be built
  128   the command line is wrong`,
		Example: `  run-kernel kselftest timers size
  run-kernel kselftest timers:posix_timers
  run-kernel kselftest --test-timeout 5m --junit net.xml net`,
		Annotations: map[string]string{
			helpTables: "run verdict kconfig build", foldStatus: "bisect",
			helpFlags: "-kernel -user -ssh -ssh-command -ping-ssh -serial -stdin " + generalFlags,
		},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{problem: "no selftest to run", hint: "run-kernel kselftest TARGET, a directory in tools/testing/selftests"}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.kselftest(c, args, &k) },
		ValidArgsFunction: func(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.selftestTargets(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	k.testReports.addFlags(c)
	c.Flags().DurationVar(&k.testTimeout, "test-timeout", 0, "time limit of each test (0: the kernel's own limits)")
	c.Flags().BoolVar(&a.noBuild, "no-build", false, "boot the last image, without make; the tests are built")
	c.Flags().DurationVar(&a.timeout, "timeout", 0, "time limit of all tests together (0: no limit)")
	return c
}

// selftestTargets are the targets of the tree around us.
func (a *app) selftestTargets() []string {
	dirs, _ := filepath.Glob(filepath.Join(a.env.Dir, "tools/testing/selftests/*/Makefile")) // the pattern is right
	for i, path := range dirs {
		dirs[i] = filepath.Base(filepath.Dir(path))
	}
	return dirs
}

// splitSelftest splits TARGET:TEST.
func splitSelftest(word string) (target, test string) {
	target, test, _ = strings.Cut(word, ":")
	return strings.TrimSuffix(target, "/"), test
}

// selftestNeeds returns the targets of words, each once, and the fragments with the
// options that these need.
func selftestNeeds(tree *kbuild.Tree, words []string) (targets, fragments []string, err error) {
	for _, word := range words {
		target, _ := splitSelftest(word)
		if slices.Contains(targets, target) {
			continue
		}
		targets = append(targets, target)
		fragment, err := tree.SelftestConfig(target)
		if err != nil {
			return nil, nil, noSelftest(err)
		}
		if fragment != "" {
			fragments = append(fragments, fragment)
		}
	}
	return targets, fragments, nil
}

func (a *app) kselftest(c *cobra.Command, words []string, k *kselftestFlags) error {
	if a.config.Run.Kernel != "" {
		return &usageError{
			problem: "kselftest builds the kernel that it boots, and run.kernel names another (" + a.config.Origin("run.kernel") + ")",
			hint:    "kselftest --kernel= builds one all the same",
		}
	}
	if a.timeout < 0 || k.testTimeout < 0 {
		return &usageError{problem: "--timeout, --test-timeout: a duration can't be negative"}
	}
	k.ktap = true
	if err := k.begin(a.env.Dir); err != nil {
		return err
	}
	tree, err := a.tree()
	if err != nil {
		return err
	}
	own := a.config.Config
	targets, fragments, err := selftestNeeds(tree, words)
	if err != nil {
		return err
	}
	own.Kconfig.Fragments = slices.Concat(own.Kconfig.Fragments, fragments)
	if err := a.checkInPlace(tree); err != nil {
		return err
	}
	o := a.sessionOptions(c.Name())
	o.Config = &own
	o.Terminal.User = "" // the runner makes mounts
	ctx, s, err := session.Open(c.Context(), tree, o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := a.checkArch(tree); err != nil {
		return err
	}
	dir, err := tree.StateDir("kselftest")
	if err != nil {
		return err
	}
	build := kbuild.SelftestOptions{Targets: targets, Dir: dir, Events: a.events}
	script := filepath.Join(dir, "run")
	inGuest := dir
	u, err := prepare.NewUserland(&own, tree.Source)
	if err != nil {
		return err
	}
	if u.Kind != userland.Host {
		own.Run.Share = append(slices.Clip(own.Run.Share), selftestTag+":"+dir+":ro")
		inGuest = "/mnt/" + selftestTag
	}
	once := session.Once{
		NoBuild: a.noBuild, Argv: []string{"/bin/sh", filepath.Join(inGuest, "run")}, Timeout: a.timeout,
		Built: func(ctx context.Context) error {
			have, err := tree.Selftests(ctx, build)
			if err != nil {
				return noSelftest(err)
			}
			chosen, err := chooseSelftests(words, have)
			if err != nil {
				return err
			}
			for _, test := range chosen {
				k.expected = append(k.expected, selftestTitle(test))
			}
			run := selftestScript(chosen, filepath.Join(inGuest, filepath.Base(build.Installed())), k.testTimeout)
			return atomicfile.Write(script, []byte(run), 0o644)
		},
	}
	k.start(s.Terminal)
	status, err := s.Once(ctx, once)
	if err == nil && status != 0 {
		err = statusError(status)
	}
	return k.finish(a, words, err)
}

// selftestTag is that of the share with the tests, for userlands that lack them.
const selftestTag = "kselftest"

// noSelftest gives an error the nearest name.
func noSelftest(err error) error {
	var e *kbuild.NoSelftestError
	if !errors.As(err, &e) {
		return err
	}
	hint := ""
	if near := spell.Nearest(e.Name, e.Have); near != "" {
		hint = "do you mean " + near + "?"
	}
	return &noTestsError{e.Error(), hint}
}

// chooseSelftests returns the tests that words name, as TARGET:TEST and each once. have
// lists what is installed, a target's tests one after the other.
func chooseSelftests(words, have []string) ([]string, error) {
	chosen := make(map[string]bool)
	for _, word := range words {
		target, test := splitSelftest(word)
		named := func(h string) bool { return strings.HasPrefix(h, target+":") }
		if test != "" {
			word = target + ":" + test
			named = func(h string) bool { return h == word }
		}
		found := false
		for _, h := range have {
			if named(h) {
				found, chosen[h] = true, true
			}
		}
		switch {
		case found:
		case test == "":
			return nil, &noTestsError{"the selftest " + target + " has no tests to run", "its Makefile says what it builds"}
		default:
			return nil, noSelftest(&kbuild.NoSelftestError{Name: word, Have: have})
		}
	}
	// The runner would run a target twice whose tests aren't beside each other.
	return slices.DeleteFunc(slices.Clone(have), func(h string) bool { return !chosen[h] }), nil
}

// selftestTitle is the name that the kernel's runner gives the result of TARGET:TEST; see
// tools/testing/selftests/kselftest/runner.sh.
func selftestTitle(test string) string {
	return "selftests: " + strings.Replace(test, ":", ": ", 1)
}

// selftestScript is what the guest runs: it copies the installed tests to memory, where
// they can write, and starts the kernel's own runner for those chosen.
func selftestScript(chosen []string, installed string, limit time.Duration) string {
	var args, targets []string
	for _, test := range chosen {
		args = append(args, "-t", test)
		if target, _ := splitSelftest(test); !slices.Contains(targets, target) {
			targets = append(targets, target)
		}
	}
	var settings strings.Builder
	if limit > 0 {
		for _, target := range targets {
			// Of a setting that comes twice the last one counts.
			fmt.Fprintf(&settings, "printf '\\ntimeout=%s\\n' >>%s\n", strconv.Itoa(int(math.Ceil(limit.Seconds()))), qemu.Quote([]string{filepath.Join(target, "settings")}))
		}
	}
	return `#!/bin/sh
# Written by run-kernel kselftest.
from=` + qemu.Quote([]string{installed}) + `
to=$(mktemp -d /tmp/kselftest.XXXXXX) &&
mount -t tmpfs -o mode=755 kselftest "$to" &&
mkdir "$to/upper" "$to/work" "$to/tests" && {
	mount -t overlay -o "lowerdir=$from,upperdir=$to/upper,workdir=$to/work" kselftest "$to/tests" 2>/dev/null ||
	cp -a "$from/." "$to/tests"
} && cd "$to/tests" || exit 125
` + settings.String() + `# The runner opens /dev/stdout, which must be a pipe for that.
./run_kselftest.sh ` + qemu.Quote(args) + ` | cat
`
}
