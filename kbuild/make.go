// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/proc"
)

// grace is how long a cancelled make may take to remove half-made targets.
const grace = 2 * time.Second

// makeArgs are make's arguments that are the same for every target.
func (t *Tree) makeArgs() []string {
	args := []string{"-C", t.Source, "-j" + strconv.Itoa(t.Jobs())}
	if !t.InTree() {
		args = append(args, "O="+t.BuildDir)
	}
	for _, v := range t.variables() {
		args = append(args, v[0]+"="+v[1])
	}
	return args
}

// variables are those that make gets on its command line.
func (t *Tree) variables() [][2]string {
	return slices.DeleteFunc([][2]string{
		{"ARCH", t.options.Arch}, {"CROSS_COMPILE", t.options.CrossCompile}, {"LLVM", t.options.LLVM}, {"CC", t.options.CC},
	}, func(v [2]string) bool { return v[1] == "" })
}

// Variables are those that make gets on its command line, but for O.
func (t *Tree) Variables() map[string]string {
	set := map[string]string{}
	for _, v := range t.variables() {
		set[v[0]] = v[1]
	}
	return set
}

// Environ is the environment of every make: the caller's, but for what an outer
// make would pass on and what makeArgs says already, and with messages that a
// program can read.
func Environ() []string {
	var env []string
	for _, e := range os.Environ() {
		switch name, _, _ := strings.Cut(e, "="); name {
		case "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS",
			"KBUILD_OUTPUT", "ARCH", "CROSS_COMPILE", "LLVM", "CC", "KCONFIG_CONFIG",
			"LC_ALL", "LC_MESSAGES", "LANGUAGE", "GCC_COLORS":
		default:
			env = append(env, e)
		}
	}
	return append(env, "LC_MESSAGES=C", "GCC_COLORS=")
}

// command is make for the given targets and variables.
func (t *Tree) command(args ...string) (*exec.Cmd, error) {
	path, err := proc.Look("make")
	if err != nil {
		return nil, err
	}
	if err := t.CheckPaths(); err != nil {
		return nil, err
	}
	if err := t.lookCompiler(); err != nil {
		return nil, err
	}
	if err := t.checkClean(); err != nil {
		return nil, err
	}
	cmd := exec.Command(path, append(t.makeArgs(), args...)...)
	cmd.Env = Environ()
	return cmd, nil
}

// Command returns the command that Build would run.
func (t *Tree) Command(o BuildOptions) ([]string, error) {
	if t.options.Host != "" {
		return t.awayCommand(o), nil
	}
	cmd, err := t.command(o.goals()...)
	if err != nil {
		return nil, err
	}
	return cmd.Args, nil
}

// ExternalCommands returns the commands that BuildExternal would run.
func (t *Tree) ExternalCommands() ([][]string, error) {
	var list [][]string
	for _, dir := range t.External {
		command, err := t.Command(BuildOptions{external: dir})
		if err != nil {
			return nil, err
		}
		list = append(list, command)
	}
	return list, nil
}

// Compiler is the command of the compiler that make will call.
func (o *Options) Compiler() string {
	if o.CC != "" {
		return o.CC
	}
	if l := o.LLVM; l != "" && l != "0" {
		switch {
		case strings.HasPrefix(l, "-"):
			return "clang" + l
		case strings.HasSuffix(l, "/"):
			return l + "clang"
		}
		return "clang"
	}
	return o.CrossCompile + "gcc"
}

// lookCompiler looks for the compiler that make will use.
func (t *Tree) lookCompiler() error {
	wrap, compiler := proc.SplitCompiler(t.options.Compiler())
	for _, program := range append(wrap, compiler) {
		if program == "" {
			continue
		}
		if _, err := proc.Look(program); err != nil {
			return err
		}
	}
	return nil
}

// Configure runs one of the kernel's configuration targets, such as
// olddefconfig, on the file at path, in the environment of the build. The variables are
// make's: NAME=VALUE.
func (t *Tree) Configure(ctx context.Context, target, path string, variables ...string) error {
	cmd, err := t.command(append(variables, target)...)
	if err != nil {
		return fmt.Errorf("make %s: %w", target, err)
	}
	cmd.Env = append(append(cmd.Env, proc.CompileHere...), "KCONFIG_CONFIG="+path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = proc.Run(ctx, cmd, grace)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		lines = slices.DeleteFunc(lines, makeDirectory.MatchString)
		lines = lines[max(0, len(lines)-12):]
		return &ConfigureError{Target: target, Output: lines, hint: toolHint(lines), err: err}
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", target, err)
	}
	return nil
}

// environTarget ends in config, so that the Makefile exports what it exports for
// the targets of conf.
const environTarget = "run-kernel-environconfig"

// ConfEnviron returns the environment in which make runs the kernel's conf.
func (t *Tree) ConfEnviron(ctx context.Context) ([]string, error) {
	// The Makefile runs itself once more before it gets anywhere; only that one has
	// all of it.
	rule := "$(if $(sub_make_done),$(eval " + environTarget + ": ; @env -0))"
	cmd, err := t.command("--no-print-directory", "-s", "--eval="+rule, environTarget)
	if err == nil {
		var out []byte
		if out, err = proc.Output(ctx, cmd, grace); err == nil {
			list := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
			if slices.ContainsFunc(list, func(v string) bool { return strings.HasPrefix(v, "SRCARCH=") }) {
				return list, nil
			}
			err = errors.New("make didn't print it")
		}
	}
	return nil, fmt.Errorf("the environment of conf: %w", err)
}

// makeDirectory is what make says because of -C and O=.
var makeDirectory = pattern.New(`^make(?:\[\d+\])?: (?:Entering|Leaving) directory `)

// A ConfigureError says that a configuration target failed.
type ConfigureError struct {
	Target string
	Output []string // its last lines
	hint   string
	err    error
}

func (e *ConfigureError) Error() string {
	return fmt.Sprintf("make %s: %v:\n\t%s", e.Target, e.err, strings.Join(e.Output, "\n\t"))
}

// Hint names the package of a tool that is missing, or is empty.
func (e *ConfigureError) Hint() string { return e.hint }

var (
	// As dash, bash and make itself say it.
	noTool = pattern.New(`(?:^|[ /])([\w.+-]+): (?:command )?not found$|^make(?:\[\d+\])?: (?:\S*/)?([\w.+-]+): No such file or directory$`)
	// scripts/link-vmlinux.sh, on the one for BTF.
	noPahole = pattern.New(`pahole \(.*\) is not available`)
)

// toolHint looks for messages of tools and headers that aren't installed, and
// of what else isn't the fault of the source.
func toolHint(lines []string) string {
	for _, l := range lines {
		if m := noTool.FindStringSubmatch(l); m != nil {
			tool := m[1] + m[2]
			if h := proc.InstallHint(tool); h != "" {
				return h
			}
			return "the build needs " + tool + ": install it"
		}
		switch {
		case noPahole.MatchString(l):
			return proc.InstallHint("pahole")
		case strings.Contains(l, "libelf.h") || strings.Contains(l, "gelf.h") || strings.Contains(l, "Please install libelf"):
			return proc.InstallHint("libelf")
		case strings.Contains(l, "openssl/") && (strings.Contains(l, "No such file") || strings.Contains(l, "file not found")):
			return proc.InstallHint("openssl")
		case strings.Contains(l, "failed to distribute and fallbacks are disabled"):
			return "none of distcc's hosts compiles: `run-kernel doctor` asks each; without DISTCC_FALLBACK=0, distcc compiles here then"
		case strings.Contains(l, "No space left on device"):
			return fullHint
		case strings.Contains(l, "Killed signal terminated program") || strings.Contains(l, "terminated with signal 9") ||
			strings.HasSuffix(l, "] Error 137") || strings.HasSuffix(l, "] Killed"):
			return "the machine is out of memory: use fewer jobs, such as -j2"
		case strings.Contains(l, "Error in reading or end of file"):
			return "the configuration has questions open: `make olddefconfig` takes the defaults, `make oldconfig` asks"
		}
	}
	return ""
}

const fullHint = "the disk is full: make room, then run it again"
