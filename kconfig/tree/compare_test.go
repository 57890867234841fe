// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/probe"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// parseIn makes a model of the Kconfig files in a directory, as conf would that is
// run in another.
func parseIn(t *testing.T, dir, srctree string, d model.Dialect) (*model.Model, error) {
	t.Helper()
	env := environment(srctree)
	runner, err := probe.New(t.Context(), probe.Options{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := syntax.Parse(syntax.Options{
		Dir: dir, Srctree: srctree, Dialect: d.Dialect,
		Getenv: func(name string) (string, bool) {
			for _, v := range env {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value, true
				}
			}
			return "", false
		},
		Shell: runner.Output,
	})
	if err != nil {
		return nil, err
	}
	return model.New(tree, d)
}

// environment is that of conf for a directory that is no kernel's tree.
func environment(srctree string) []string {
	return []string{"KCONFIG_CONFIG=.config", "PATH=" + os.Getenv("PATH"), "KCONFIG_DEFCONFIG_LIST=", "srctree=" + srctree}
}

// said is what the parser and the model had to say on a standard stream.
func said(m *model.Model, stdout bool) string {
	var b strings.Builder
	for _, d := range m.Diagnostics {
		if d.Stdout == stdout {
			b.WriteString(d.Text)
		}
	}
	return b.String()
}

// warned is what conf would warn of: first where it parses, then where it evaluates.
func warned(m *model.Model, s *model.State) string { return said(m, false) + s.Warnings.String() }

// A comparison is one of conf and the engine on the Kconfig files in a directory.
type comparison struct {
	t       *testing.T
	program string
	srctree string // the directory
	dir     string // where conf runs
	model   *model.Model
	differ  string // what does, in the first case where something does
	crashed bool   // conf, the last time
}

// conf runs conf, and returns the file that it writes, or none.
func (c *comparison) conf(file string, args ...string) (data, out, errs string, ok bool) {
	cmd := exec.Command(c.program, append(args, "Kconfig")...)
	cmd.Dir, cmd.Env = c.dir, environment(c.srctree)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	written, _ := os.ReadFile(filepath.Join(c.dir, file))
	if c.crashed = cmd.ProcessState.ExitCode() < 0; c.crashed {
		return "", "", "", false
	}
	return string(written), o.String(), e.String(), err == nil
}

func (c *comparison) write(config []byte) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, ".config"), config, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// check compares what conf made last, unless it crashed.
func (c *comparison) check(what, want, got string) {
	if c.differ == "" && !c.crashed && want != got {
		c.differ = fmt.Sprintf("%s of conf (-) and of the engine (+) differ:\n%s", what, difference(want, got))
	}
}

// compareAll compares all that conf does with the Kconfig files in a directory and
// each .config. It returns what differs, and whether conf and the engine both
// refuse the files.
func compareAll(t *testing.T, program string, d model.Dialect, srctree string, configs ...[]byte) (differ string, refused bool) {
	t.Helper()
	c := comparison{t: t, program: program, srctree: srctree, dir: t.TempDir()}
	var err error
	c.model, err = parseIn(t, c.dir, srctree, d)
	_, _, errs, ok := c.conf(".config", "--alldefconfig")
	var unsupported *model.UnsupportedError
	switch {
	case c.crashed || errors.As(err, &unsupported):
		return "", true
	case ok != (err == nil):
		return fmt.Sprintf("conf: %v %s; engine: %v", ok, errs, err), true
	case !ok:
		return "", true
	}
	for name, mode := range allModes {
		_ = os.Remove(filepath.Join(c.dir, ".config"))
		want, _, errs, _ := c.conf(".config", "--"+name)
		s := c.model.NewState()
		s.SetAll(mode)
		c.check(name, want, string(s.Config()))
		c.check(name+": warnings", errs, warned(c.model, s))
	}
	for _, config := range configs {
		c.config(config)
	}
	return c.differ, false
}

// config compares what is made of a .config.
func (c *comparison) config(config []byte) {
	c.t.Helper()
	again := config
	for _, run := range []string{"olddefconfig", "second olddefconfig"} {
		c.write(again)
		want, _, errs, _ := c.conf(".config", "--olddefconfig")
		s := c.load(again)
		c.check(run, want, string(s.Config()))
		c.check(run+": warnings", errs, warned(c.model, s))
		again = []byte(want)
	}
	c.write(config)
	_, out, errs, _ := c.conf(".config", "--listnewconfig")
	s := c.load(config)
	c.check("listnewconfig", out, said(c.model, true)+string(s.NewSymbols()))
	c.check("listnewconfig: warnings", errs, warned(c.model, s))
	want, _, _, _ := c.conf("saved", "--savedefconfig=saved")
	c.check("savedefconfig", want, string(c.load(config).Defconfig()))
}

func (c *comparison) load(config []byte) *model.State {
	s := c.model.NewState()
	s.Load(".config", config)
	return s
}
