// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// An ignorer tells what a build makes from what people write, by the tree's own
// .gitignore files. One git process answers, in microseconds a path. Where
// there is no git, the names of usual products have to do.
type ignorer struct {
	root string
	env  []string // empty: no git

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newIgnorer(root, state string) *ignorer {
	g := &ignorer{root: root}
	if _, err := exec.LookPath("git"); err != nil {
		return g
	}
	repository := filepath.Join(root, ".git")
	if _, err := os.Stat(repository); err != nil {
		// A source package has the .gitignore files without a repository. An empty
		// one will do.
		if state == "" {
			return g
		}
		repository = filepath.Join(state, "git")
		if err := exec.Command("git", "init", "--quiet", "--bare", repository).Run(); err != nil {
			return g
		}
	}
	// Naming both also keeps git from refusing a tree of another user.
	g.env = append(os.Environ(), "GIT_DIR="+repository, "GIT_WORK_TREE="+root, "GIT_OPTIONAL_LOCKS=0")
	return g
}

// start starts git; nothing happens when it runs already.
func (g *ignorer) start() error {
	if g.cmd != nil {
		return nil
	}
	cmd := exec.Command("git", "check-ignore", "--stdin", "-z", "--verbose", "--non-matching")
	cmd.Dir, cmd.Env = g.root, g.env
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	g.cmd, g.in, g.out = cmd, in, bufio.NewReader(out)
	return nil
}

// reset makes the next question see changed rules.
func (g *ignorer) reset() { _ = g.close() }

func (g *ignorer) close() error {
	if g.cmd == nil {
		return nil
	}
	err := g.in.Close()
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait() // killed
	g.cmd = nil
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return err
}

// match says whether a path is a product of the build.
func (g *ignorer) match(path string) bool {
	if product(filepath.Base(path)) {
		return true
	}
	if len(g.env) == 0 {
		return generated(path)
	}
	// A process that died is started once more: a rule or a path may have
	// killed it, but nothing of that kind lasts.
	for range 2 {
		ignored, err := g.ask(path)
		if err == nil {
			return ignored
		}
		_ = g.close()
	}
	return generated(path)
}

func (g *ignorer) ask(path string) (bool, error) {
	if err := g.start(); err != nil {
		return false, err
	}
	if _, err := io.WriteString(g.in, path+"\x00"); err != nil {
		return false, err
	}
	// Source, line, pattern and path, each ended by NUL; see git-check-ignore(1).
	var fields [4]string
	for i := range fields {
		f, err := g.out.ReadString(0)
		if err != nil {
			return false, err
		}
		fields[i] = f
	}
	pattern := fields[2]
	return pattern != "\x00" && !strings.HasPrefix(pattern, "!"), nil
}

// product recognises what every kernel's .gitignore has first, without asking.
func product(name string) bool {
	switch filepath.Ext(name) {
	case ".o", ".a", ".ko", ".mod", ".cmd", ".d", ".dtb", ".order", ".su", ".gcno":
		return true
	}
	return strings.HasSuffix(name, ".mod.c") || name == "vmlinux" || name == "System.map" || name == "Module.symvers"
}

// generated recognises folders that a build fills.
func generated(path string) bool {
	parts := strings.Split(path, "/")
	return slices.Contains(parts, "generated") || strings.Contains(path, "/include/config/")
}
