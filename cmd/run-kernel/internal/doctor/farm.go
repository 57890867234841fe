// SPDX-License-Identifier: GPL-3.0-only

package doctor

import (
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kbuild"
)

// hostTime is how long a host of a compile farm may take for three words of C.
const hostTime = 20 * time.Second

// icecreamSockets are where icecream's daemon listens, as its client has them.
var icecreamSockets = []string{"/run/icecc/iceccd.socket", "/var/run/icecc/iceccd.socket", "/run/iceccd.socket"}

// farm checks that other machines compile, if that is asked of them, and as this one does.
func farm(o Options, program string) func(context.Context) Check {
	if filepath.Base(program) == "icecc" {
		return icecream
	}
	return func(ctx context.Context) Check {
		_, cc := proc.SplitCompiler(o.CC)
		d := &distcc{program: program, compiler: cmp.Or(cc, "cc")} // as distcc has it
		c := Check{Feature: "build", Name: "distcc's hosts", State: Note}
		problems, err := d.examine(ctx)
		switch {
		case err != nil:
			c.Text, c.Hint = err.Error(), "name them: distcc(1), Host Specifications; until then all is compiled here"
		case len(problems) > 0:
			c.Text = strings.Join(problems, "; ")
			c.Hint = "mend it there, or take it out of DISTCC_HOSTS: what no host takes is compiled here"
		default:
			c.State, c.Text = OK, fmt.Sprintf("%d compile at once on %s", d.places, strings.Join(d.hosts, ", "))
		}
		return c
	}
}

// A distcc asks each of its hosts.
type distcc struct {
	program, compiler string
	hosts             []string // without the places and options
	places            int      // on all of them
	dir               string
}

// examine compiles a file on each host, and says which of them doesn't do what this machine
// does. The error says that there is no host.
func (d *distcc) examine(ctx context.Context) (problems []string, err error) {
	dir, remove, err := private.TempDir("run-kernel-farm-")
	if err != nil {
		return nil, err
	}
	defer remove()
	d.dir = dir
	if err := os.WriteFile(filepath.Join(dir, "f.c"), []byte("int f;\n"), 0o600); err != nil {
		return nil, err
	}
	list, _ := d.run(ctx, d.program, "--show-hosts") // it fails without hosts
	specifications := strings.Fields(list)
	if len(specifications) == 0 {
		return nil, errors.New("there are none")
	}
	total, _ := d.run(ctx, d.program, "-j")
	d.places, _ = strconv.Atoi(strings.TrimSpace(total))
	here, err := d.compile(ctx, "here")
	if err != nil {
		return []string{err.Error()}, nil
	}
	found := make([]string, len(specifications))
	var g errgroup.Group
	g.SetLimit(8)
	for i, host := range specifications {
		name, _, _ := strings.Cut(host, ",")
		name, _, _ = strings.Cut(name, "/")
		d.hosts = append(d.hosts, name)
		if name == "localhost" {
			continue
		}
		g.Go(func() error {
			switch there, err := d.compile(ctx, strconv.Itoa(i), "DISTCC_HOSTS="+host); {
			case err != nil:
				found[i] = fmt.Sprintf("%s doesn't compile: %v", name, err)
			case there != here:
				found[i] = fmt.Sprintf("%s has another compiler: %s, here it is %s", name, there, here)
			}
			return nil
		})
	}
	_ = g.Wait() // none of them fails
	for _, text := range found {
		if text != "" {
			problems = append(problems, text)
		}
	}
	return problems, nil
}

// compile compiles with variables for distcc, or without any on this machine, and returns
// what the compiler calls itself in what it makes.
func (d *distcc) compile(ctx context.Context, name string, variables ...string) (string, error) {
	object := filepath.Join(d.dir, name+".o")
	args := []string{d.compiler, "-c", filepath.Join(d.dir, "f.c"), "-o", object}
	if len(variables) > 0 {
		// A state of its own: a host that fails is left alone for a minute after.
		state := filepath.Join(d.dir, name)
		if err := os.Mkdir(state, 0o700); err != nil {
			return "", err
		}
		variables = append(variables, "DISTCC_DIR="+state, "DISTCC_FALLBACK=0", "DISTCC_SKIP_LOCAL_RETRY=1", "DISTCC_LOG=", "DISTCC_VERBOSE=0")
		args = append([]string{"env"}, append(variables, append([]string{d.program}, args...)...)...)
	}
	if _, err := d.run(ctx, args[0], args[1:]...); err != nil {
		return "", err
	}
	f, err := elf.Open(object)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if s := f.Section(".comment"); s != nil {
		data, err := s.Data()
		return strings.Trim(string(data), "\x00"), err
	}
	return f.Machine.String(), nil
}

func (d *distcc) run(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, hostTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	switch exit := (*exec.ExitError)(nil); {
	case ctx.Err() != nil:
		err = fmt.Errorf("no answer in %s", hostTime)
	case errors.As(err, &exit):
		first, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
		err = errors.New(cmp.Or(distccSays.ReplaceAllString(first, ""), err.Error()))
	}
	return string(out), err
}

// distccSays is what distcc's messages begin with.
var distccSays = pattern.New(`^distcc\[\d+\] (\(\w+\) )?(ERROR: )?`)

// buildHost checks that the machine can be reached that make runs on.
func buildHost(o Options) func(context.Context) Check {
	return func(ctx context.Context) Check {
		c := Check{Feature: "build", Name: "build host"}
		text, err := kbuild.LookAtHost(ctx, o.kbuild())
		if err != nil {
			c.State, c.Text = Missing, err.Error()
			var hinted interface{ Hint() string }
			if errors.As(err, &hinted) {
				c.Hint = hinted.Hint()
			}
			return c
		}
		c.State, c.Text = OK, o.BuildHost+": "+text
		return c
	}
}

// icecream checks for its daemon, by which the client reaches the scheduler.
func icecream(ctx context.Context) Check {
	c := Check{Feature: "build", Name: "icecream's daemon", State: Note}
	for _, path := range icecreamSockets {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			_ = conn.Close()
			c.State, c.Path = OK, path
			c.Text = "it doesn't tell how many compiles the farm takes: -j says how many run"
			return c
		}
	}
	c.Text, c.Hint = "it doesn't run: all is compiled here", "start iceccd; Debian: systemctl start iceccd"
	return c
}
