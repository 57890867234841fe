// SPDX-License-Identifier: GPL-3.0-only

package doctor

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/proc"
)

// versionTime is how long a program may take to tell its version.
const versionTime = 20 * time.Second

var versionNumber = pattern.New(`\d+(\.\d+)+`)

// versionOf returns the version that a program tells, or "".
func versionOf(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	out, _ := cmd.CombinedOutput() // one that doesn't tell has none
	line, _, _ := strings.Cut(string(out), "\n")
	// gcc puts the distribution's version in parentheses before its own.
	for open := strings.IndexByte(line, '('); open >= 0; open = strings.IndexByte(line, '(') {
		shut := strings.IndexByte(line[open:], ')')
		if shut < 0 {
			break
		}
		line = line[:open] + line[open+shut+1:]
	}
	return versionNumber.FindString(line)
}

// tool checks for a program whose package is known by the same name or another, in
// $PATH or else in dirs.
func tool(feature, name, pkg string, dirs ...string) func(context.Context) Check {
	return func(ctx context.Context) Check {
		c := Check{Feature: feature, Name: name, tool: pkg}
		path, err := proc.Look(name, dirs...)
		if err != nil {
			c.State, c.Text = Missing, err.Error()
			if proc.Packages(pkg).Debian == "" {
				c.tool, c.Hint = "", proc.InstallHint(pkg)
			}
			return c
		}
		c.State, c.Path, c.Version = OK, path, versionOf(ctx, path)
		return c
	}
}

// optional makes the lack of something no more than a note, with what it is for.
func optional(check func(context.Context) Check, purpose string) func(context.Context) Check {
	return func(ctx context.Context) Check {
		c := check(ctx)
		if c.State == Missing {
			c.State, c.Text = Note, "not found; "+purpose
		}
		return c
	}
}

// nixState is where nix keeps what it knows of its store.
const nixState = "/nix/var/nix"

// nix checks for nix, and that it works for a user: the store is root's mostly, and a daemon
// builds for others.
func nix(uid int, state string) func(context.Context) Check {
	return func(ctx context.Context) Check {
		c := optional(tool("nix", "nix", "nix", userland.NixDirs...), "a NixOS userland is built by it; the host's own needs none")(ctx)
		if c.State != OK || uid == 0 || os.Getenv("NIX_REMOTE") != "" || unix.Access(filepath.Join(state, "db"), unix.W_OK) == nil {
			return c
		}
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", filepath.Join(state, "daemon-socket/socket"))
		if err != nil {
			c.State, c.tool, c.Text = Note, "", "it can't be used: the store isn't yours, and no daemon of it answers"
			c.Hint = userland.NoDaemonHint
			return c
		}
		_ = conn.Close()
		return c
	}
}

// debugger checks for a gdb that knows the guest's processor.
func debugger(o Options) func(context.Context) Check {
	return func(ctx context.Context) Check {
		c := Check{Feature: "session", Name: "gdb", State: Note, Text: "not found; run-kernel gdb starts it", tool: "gdb"}
		foreign := o.Arch != arch.Host().Name
		if foreign {
			c.tool = "gdb-multiarch"
		}
		path, err := boot.FindGDB(o.Arch)
		if err != nil {
			return c
		}
		c.Path, c.Version = path, versionOf(ctx, path)
		if foreign {
			ctx, cancel := context.WithTimeout(ctx, versionTime)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, "-nx", "-batch", "-ex", "set architecture "+arch.Of(o.Arch).GDB)
			cmd.WaitDelay = time.Second
			if cmd.Run() != nil {
				c.Text = "it doesn't know the processors of " + o.Arch
				return c
			}
		}
		c.State, c.Text = OK, ""
		return c
	}
}

// compilerName is the C compiler that make will call.
func compilerName(o Options) string {
	k := o.kbuild()
	_, name := proc.SplitCompiler(k.Compiler())
	if name == "" { // CC is nothing but ccache and the like
		k.CC = ""
		name = k.Compiler()
	}
	return name
}

// llvm takes the value of LLVM= apart; see Documentation/kbuild/llvm.rst.
func llvm(value string) (suffix, prefix string) {
	switch {
	case strings.HasPrefix(value, "-"):
		return value, ""
	case strings.HasSuffix(value, "/"):
		return "", value
	}
	return "", ""
}

func compiler(o Options) func(context.Context) Check {
	name := compilerName(o)
	return func(ctx context.Context) Check {
		c := tool("build", name, family(name, "gcc", "clang"))(ctx)
		target := arch.OfKernel(o.KernelArch)
		// clang compiles for all: scripts/Makefile.clang of the kernel tells it for what.
		if c.State != OK || target.Guest == nil || strings.HasPrefix(filepath.Base(name), "clang") {
			return c
		}
		machine := machineOf(ctx, c.Path)
		if machine == nil || machine.Kernel == target.Kernel {
			return c
		}
		prefix := target.Name + "-linux-gnu-"
		c.State, c.tool = Missing, prefix+"gcc"
		c.Text = "it compiles for " + machine.Kernel + ", not for " + target.Kernel
		c.Hint = "--cross-compile " + prefix + ", or --llvm 1"
		return c
	}
}

// machineOf is what a compiler compiles for; nil where that isn't known.
func machineOf(ctx context.Context, path string) *arch.Arch {
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-dumpmachine")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	name, _, ok := strings.Cut(strings.TrimSpace(string(out)), "-")
	if a := arch.Of(name); err == nil && ok && a.Guest != nil {
		return a
	}
	return nil
}

func linker(o Options) func(context.Context) Check {
	if o.withLLVM() {
		suffix, prefix := llvm(o.LLVM)
		return tool("build", prefix+"ld.lld"+suffix, "ld.lld"+suffix)
	}
	return tool("build", o.CrossCompile+"ld", family(o.CrossCompile+"ld", "ld"))
}

// archiver stands for the programs that LLVM= takes beside compiler and linker: they come
// in one package, which neither of these depends on.
func archiver(o Options) func(context.Context) Check {
	suffix, prefix := llvm(o.LLVM)
	return tool("build", prefix+"llvm-ar"+suffix, "llvm-ar"+suffix)
}

// withLLVM says whether LLVM= has make build with LLVM.
func (o Options) withLLVM() bool { return o.LLVM != "" && o.LLVM != "0" }

// family is the tool that a program's name stands for, whatever its directory, and
// whatever its version where no package has that; a cross compiler is its own.
func family(name string, known ...string) string {
	base := filepath.Base(name)
	if proc.Packages(base).Debian != "" {
		return base
	}
	for _, k := range known {
		if base == k || strings.HasPrefix(base, k+"-") {
			return k
		}
	}
	return base
}

// header checks for a library's header file, with the compiler for programs of
// the host.
func header(o Options, name, file, purpose string) func(context.Context) Check {
	return func(ctx context.Context) Check {
		c := Check{Feature: "build", Name: name, tool: name}
		cc := "gcc"
		if o.withLLVM() {
			cc = compilerName(Options{LLVM: o.LLVM})
		}
		path, err := proc.Look(cc)
		if err != nil {
			c.State, c.Text = Missing, "its headers can't be looked for without "+cc+"; "+purpose
			return c
		}
		ctx, cancel := context.WithTimeout(ctx, versionTime)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, "-E", "-x", "c", "-o", "/dev/null", "-")
		cmd.Stdin = strings.NewReader("#include <" + file + ">\n")
		cmd.WaitDelay = time.Second
		if err := cmd.Run(); err != nil {
			c.State, c.Text = Missing, "no <"+file+">; "+purpose
			return c
		}
		c.State, c.Text = OK, "<"+file+">"
		return c
	}
}
