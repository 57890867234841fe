// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
)

// selftests is where they are in the source tree.
const selftests = "tools/testing/selftests"

// SelftestConfig is the path of the configuration fragment that a target of the
// selftests asks for; empty: it has none. The error says that there is no such target.
func (t *Tree) SelftestConfig(target string) (string, error) {
	dir := filepath.Join(t.Source, selftests, target)
	if !filepath.IsLocal(target) || !exists(filepath.Join(dir, "Makefile")) || filepath.Clean(target) == "." {
		return "", &NoSelftestError{Name: target, Have: t.selftestTargets()}
	}
	config := filepath.Join(dir, "config")
	if !exists(config) {
		return "", nil
	}
	return config, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// selftestTargets are the targets, without those below others.
func (t *Tree) selftestTargets() []string {
	makefiles, _ := filepath.Glob(filepath.Join(t.Source, selftests, "*/Makefile")) // the pattern is right
	for i, path := range makefiles {
		makefiles[i] = filepath.Base(filepath.Dir(path))
	}
	return makefiles
}

// A NoSelftestError says that there is no such target or test among the selftests.
type NoSelftestError struct {
	Name string
	Have []string
}

func (e *NoSelftestError) Error() string { return "the kernel has no selftest " + e.Name }

// SelftestOptions say which selftests to build.
type SelftestOptions struct {
	Targets []string // such as timers or net/mptcp
	Dir     string   // gets the objects, and in Installed the tests
	Events  event.Sink

	flags []string // more variables for make
}

// Installed is where Selftests installs tests, in its directory.
func (o *SelftestOptions) Installed() string { return filepath.Join(o.Dir, "installed") }

// Selftests builds selftests, and returns what was installed, as TARGET:TEST. The error
// is a *BuildError where make failed.
func (t *Tree) Selftests(ctx context.Context, o SelftestOptions) ([]string, error) {
	// It installs headers and tests.
	if _, err := proc.Look("rsync"); err != nil {
		return nil, fmt.Errorf("selftests: %w", err)
	}
	if err := os.RemoveAll(o.Installed()); err != nil {
		return nil, fmt.Errorf("selftests: %w", err)
	}
	state, err := t.StateDir()
	if err != nil {
		return nil, fmt.Errorf("selftests: %w", err)
	}
	log, err := private.CreateLog(filepath.Join(state, "selftests.log"))
	if err != nil {
		return nil, fmt.Errorf("selftests: log: %w", err)
	}
	defer log.Close()
	headers, err := t.command("headers_install", "INSTALL_HDR_PATH="+filepath.Join(o.Dir, "usr"))
	if err != nil {
		return nil, fmt.Errorf("selftests: %w", err)
	}
	// Several jobs would mix the messages of several targets, and many of these
	// Makefiles don't say what depends on what.
	args := []string{"-C", filepath.Join(t.Source, selftests), "O=" + o.Dir, "KSFT_INSTALL_PATH=" + o.Installed(), "FORCE_TARGETS=1", "SKIP_TARGETS="}
	for _, v := range t.variables() {
		if v[0] != "CC" {
			args = append(args, v[0]+"="+v[1])
		}
	}
	tests := exec.Command(headers.Path, append(append(args, o.flags...), "TARGETS="+strings.Join(o.Targets, " "), "install")...)
	tests.Env = Environ()

	found := &findings{events: o.Events}
	p := &output{tree: t, events: o.Events, found: found, log: bufio.NewWriter(log), began: time.Now()}
	for _, cmd := range []*exec.Cmd{headers, tests} {
		p.tail = nil
		if err := t.runLogged(ctx, cmd, p); err != nil {
			_ = p.log.Flush()
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if !errors.As(err, new(*exec.ExitError)) {
				return nil, fmt.Errorf("selftests: %w", err)
			}
			e := &BuildError{Err: err, Log: log.Name(), Diagnostics: found.errors, hint: toolHint(p.tail)}
			if len(found.errors) == 0 {
				e.Tail = p.tail
			}
			return nil, fmt.Errorf("selftests: %w", e)
		}
	}
	if err := p.log.Flush(); err != nil {
		return nil, fmt.Errorf("selftests: log: %w", err)
	}
	list, err := os.ReadFile(filepath.Join(o.Installed(), "kselftest-list.txt"))
	if err != nil {
		return nil, fmt.Errorf("selftests: %w", err)
	}
	return slices.Collect(nonEmpty(bytes.Lines(list))), nil
}

// nonEmpty are lines without their ends.
func nonEmpty(lines func(func([]byte) bool)) func(func(string) bool) {
	return func(yield func(string) bool) {
		for l := range lines {
			if text := strings.TrimSpace(string(l)); text != "" && !yield(text) {
				return
			}
		}
	}
}

// runLogged runs a command whose output p reads.
func (t *Tree) runLogged(ctx context.Context, cmd *exec.Cmd, p *output) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	var reading sync.WaitGroup
	reading.Go(func() { p.read(r) })
	err = proc.Run(ctx, cmd, grace)
	_ = w.Close()
	reading.Wait()
	return err
}
