// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Most of its time conf reads Kconfig files. A served conf has read those of a
// tree, and answers each request in a copy of itself.
type served struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said string // on standard error, while it read them
}

// serve starts a served conf in a directory.
func serve(program, dir string, env []string) (*served, error) {
	log, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &served{cmd: exec.Command(program)}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stderr = dir, env, log
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ready, err := s.out.ReadString('\n')
	said, _ := os.ReadFile(log.Name())
	if err != nil || ready != "ready\n" {
		_ = s.in.Close()
		return nil, fmt.Errorf("%s: %q, %w: %s", program, ready, s.cmd.Wait(), said)
	}
	s.said = string(said)
	return s, nil
}

// conf is conf with a directory, further environment and arguments. What it prints is
// in the directory's files stdout and stderr.
func (s *served) conf(dir string, env, args []string) (status int, err error) {
	fields := append(append([]string{dir, strconv.Itoa(len(env))}, env...), args...)
	if _, err := io.WriteString(s.in, strings.Join(fields, "\t")+"\n"); err != nil {
		return 0, err
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSuffix(line, "\n"))
}

// A pool has as many served confs as there are requests at once.
type pool struct {
	t       *testing.T
	program string
	env     []string

	mu   sync.Mutex
	free []*served
}

func newPool(t *testing.T, program string, env []string) *pool {
	p := &pool{t: t, program: program, env: env}
	t.Cleanup(func() {
		for _, s := range p.free {
			_ = s.in.Close()
			_ = s.cmd.Wait()
		}
	})
	return p
}

// conf has a served conf answer.
func (p *pool) conf(dir string, env, args []string) (status int, said string, err error) {
	s, err := p.take()
	if err != nil {
		return 0, "", err
	}
	defer p.put(s)
	status, err = s.conf(dir, env, args)
	return status, s.said, err
}

func (p *pool) take() (*served, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		return s, nil
	}
	return serve(p.program, p.t.TempDir(), p.env)
}

func (p *pool) put(s *served) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, s)
}

// A served conf says what conf itself says.
func TestServed(t *testing.T) {
	for _, srctree := range trees(t) {
		t.Run(filepath.Base(srctree), func(t *testing.T) {
			c := build(t, srctree)
			o, err := newOracle(t, srctree, "x86", c, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			config := []byte(o.conf(nil, []string{"KCONFIG_SEED=7"}, "--randconfig").config)
			config = perturb(rand.New(rand.NewPCG(7, 7)), config)
			for _, args := range [][]string{{"--randconfig"}, {"--olddefconfig"}, {"--savedefconfig=saved"}, {"--listnewconfig"}} {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, ".config"), config, 0o644); err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(c.conf, append(args, "Kconfig")...)
				cmd.Dir, cmd.Env = dir, append(slices.Clone(o.served.env), "KCONFIG_SEED=8")
				var out, errs strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &errs
				if err := cmd.Run(); err != nil {
					t.Fatal(err)
				}
				want := answerIn(dir, errs.String(), out.String())
				if got := o.conf(config, []string{"KCONFIG_SEED=8"}, args...); got != want {
					t.Errorf("conf %s: %s", args, difference(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)))
				}
			}
		})
	}
}
