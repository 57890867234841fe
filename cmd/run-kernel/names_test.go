// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Several VMs of one tree run side by side, and each is acted on by its name.
func TestNamedVMs(t *testing.T) {
	k := testKernel(t)
	start := func(name string) *ongoing {
		s := k.lab.start(k.flags("boot", "--no-build", "--memory-gib=1", "--hostname", "vm-"+name, "--name="+name, "--", "echo up; exec sleep 1000")...)
		s.wait("up\n")
		return s
	}
	a := start("a")
	// Of one, no name is needed.
	if r := k.lab.expect(k.lab.run(k.flags("exec", "--", "hostname")...), 0); r.stdout != "vm-a\n" {
		t.Errorf("without a name: %q", r.stdout)
	}
	// The build directory is free.
	k.lab.expect(k.lab.run(k.flags("build")...), 0)
	b, unnamed := start("b"), start("")

	for name, want := range map[string]string{"a": "vm-a\n", "b": "vm-b\n", "": "vm-\n"} {
		r := k.lab.expect(k.lab.run(k.flags("exec", "--name="+name, "--", "hostname")...), 0)
		if r.stdout != want {
			t.Errorf("in %q: %q", name, r.stdout)
		}
		log := filepath.Join(k.build, ".run-kernel", "vm", name, "console.log")
		if name == "" {
			log = filepath.Join(k.build, ".run-kernel/console.log")
		}
		if data, err := os.ReadFile(log); err != nil || !strings.Contains(string(data), "Linux version") {
			t.Errorf("the console's log of %q: %v, %.100q", name, err, data)
		}
		config := filepath.Join(filepath.Dir(log), "ssh_config")
		if out, err := exec.Command("ssh", "-F", config, "guest", "hostname").CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("ssh to %q: %s, %v", name, out, err)
		}
	}
	// The kernel of each has its own name: struct new_utsname, nodename in it.
	const nodename = "output (char *)&init_uts_ns + 65"
	for name, want := range map[string]string{"a": `"vm-a"`, "b": `"vm-b"`} {
		r := k.lab.expect(k.lab.run(k.flags("gdb", "--name="+name, "--", "-batch", "-ex", nodename)...), 0)
		if !strings.Contains(r.stdout, want) {
			t.Errorf("gdb of %q: %s%s", name, r.stdout, r.stderr)
		}
		core := filepath.Join(t.TempDir(), "core")
		k.lab.expect(k.lab.run(k.flags("dump", "--virtual", "--name="+name, core)...), 0)
		out, err := exec.Command("gdb", "-batch", "-ex", nodename, filepath.Join(k.build, "vmlinux"), core).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("dump of %q: %v, %s", name, err, out)
		}
		if err := os.Remove(core); err != nil { // as large as the guest's memory
			t.Error(err)
		}
	}
	for _, command := range []string{"exec", "stop", "console", "gdb", "ssh"} {
		r := k.lab.expect(k.lab.run(k.flags(command)...), statusFailed)
		if !strings.Contains(r.stderr, "3 run-kernels work in") || !strings.Contains(r.stderr, "--name= (the one without a name), --name a, --name b") {
			t.Errorf("%s: %s", command, r.stderr)
		}
	}
	r := k.lab.expect(k.lab.run(k.flags("status")...), 0)
	if n := strings.Count(r.stdout, "guest: answers"); n != 3 || !strings.Contains(r.stdout, "name: a\n") || !strings.Contains(r.stdout, "name: b\n") {
		t.Errorf("status: %s", r.stdout)
	}
	r = k.lab.expect(k.boot("--name", "a", "--", "true"), statusFailed)
	if !strings.Contains(r.stderr, `has a VM "a" of `) {
		t.Errorf("a name that is taken: %s", r.stderr)
	}

	// The end of one leaves the others alone.
	k.lab.expect(k.lab.run(k.flags("stop", "--name", "a")...), 0)
	a.awaitEnd()
	for _, name := range []string{"b", ""} {
		k.lab.expect(k.lab.run(k.flags("exec", "--name="+name, "--", "true")...), 0)
	}
	k.lab.expect(k.lab.run(k.flags("stop", "--name=")...), 0)
	unnamed.awaitEnd()
	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	b.awaitEnd()
	if err := os.RemoveAll(filepath.Join(k.build, ".run-kernel/vm")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Four VMs of two trees run at once, each with two commands that somebody talks
// to. The end of one leaves the others and their commands alone.
func TestFourVMs(t *testing.T) {
	type guest struct {
		k       *kernel
		name    string
		vm      *ongoing
		parrots []*parrot
	}
	var guests []*guest
	for _, k := range []*kernel{bootKernel(t), inTreeKernel(t)} {
		for _, name := range []string{"one", "two"} {
			g := &guest{k: k, name: name}
			g.vm = k.lab.start(k.flags("boot", "--no-build", "--memory-gib=1", "--name="+name, "--", "echo up; exec sleep infinity")...)
			guests = append(guests, g)
		}
	}
	for _, g := range guests {
		g.vm.wait("up\n")
		for range 2 {
			g.parrots = append(g.parrots, newParrot(g.k, g.name))
		}
	}
	for i, g := range guests {
		for j, p := range g.parrots {
			p.say(fmt.Sprintf("%d of guest %d", j, i))
		}
	}
	for len(guests) > 0 {
		g := guests[0]
		g.k.lab.expect(g.k.lab.run(g.k.flags("stop", "--name", g.name)...), 0)
		g.vm.awaitEnd()
		for _, p := range g.parrots {
			p.awaitLoss()
		}
		guests = guests[1:]
		for i, g := range guests {
			for j, p := range g.parrots {
				p.say(fmt.Sprintf("%d of guest %d of those left", j, i))
			}
		}
	}
}

// A parrot is a command in a guest that repeats what it is told.
type parrot struct {
	*ongoing
	in io.Writer
}

func newParrot(k *kernel, name string) *parrot {
	k.lab.t.Helper()
	s := k.lab.newOngoing(k.flags("exec", "--name", name, "--", "cat")...)
	in, err := s.cmd.StdinPipe()
	if err != nil {
		k.lab.t.Fatal(err)
	}
	s.collect()
	return &parrot{s, in}
}

func (p *parrot) say(text string) {
	p.l.t.Helper()
	if _, err := io.WriteString(p.in, text+"\n"); err != nil {
		p.l.t.Fatal(err)
	}
	if got := p.wait(text + "\n"); got != text+"\n" {
		p.l.t.Fatalf("of %q came back %q", text, got)
	}
}

// awaitLoss waits until the command has ended, as the guest's end ends it.
func (p *parrot) awaitLoss() {
	p.l.t.Helper()
	if status := p.awaitEnd(); status != 128+int(syscall.SIGTERM) {
		p.l.t.Errorf("status %d, want that of SIGTERM", status)
	}
}
