// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/spell"
)

// wordFlags are the variables that make takes as words and we as well.
var wordFlags = map[string]string{
	"O": "output", "KBUILD_OUTPUT": "output", "ARCH": "arch", "CROSS_COMPILE": "cross-compile", "LLVM": "llvm", "CC": "cc", "M": "external",
}

// otherNames are other names of flags, which users of qemu and of virtme-ng know.
var otherNames = map[string]string{
	"net": "network", "cpus": "smp", "append": "kernel-extra-args", "root": "userland", "configitem": "require", "qemu-opts": "qemu-extra-args",
}

// instead says what does here what flags of virtme-ng do that have no equal.
var instead = map[string]string{
	"build":         "run-kernel build makes the kernel, and boot and watch do so first",
	"config":        "--fragment FILE requires the options of a file",
	"custom":        "--fragment FILE requires the options of a file",
	"disable-kvm":   "--accel tcg does without KVM",
	"force-9p":      "--mount-type 9p does without virtiofs",
	"kconfig":       "run-kernel kconfig fix sets in .config what the guest needs; boot and watch do so first",
	"overlay-rwdir": "the guest can write anywhere in its root, and nothing of that reaches the host",
	"rodir":         "the guest sees this host's files anyway; --share TAG:PATH:ro shares another directory",
	"run":           "--kernel IMAGE boots an image; without it, boot makes one from the source tree",
	"rw":            "the guest can write anywhere in its root, and nothing of that reaches the host; --rwdir DIR is for what should",
	"systemd":       "--userland nix boots a NixOS system",
}

// normalizeFlag gives a flag its own name.
func normalizeFlag(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if own := otherNames[name]; own != "" {
		name = own
	}
	return pflag.NormalizedName(name)
}

// makeFlags makes flags of the words that are make's, such as O=DIR, wherever
// make would take them: before the command and after it. What is the guest's or
// make's own, after -- or after the first word of exec, stays as it is; for ssh's
// own, the -- is added.
func makeFlags(root *cobra.Command, args []string) []string {
	var out, tail []string
	c, rest := root, args
	if len(args) > 1 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		// The last word is still being typed.
		last := len(args) - 1
		out, rest, tail = args[:1:1], args[1:last], args[last:]
	}
	positional := false
	for len(rest) > 0 {
		arg := rest[0]
		if c.Annotations[othersFlags] != "" && !ownFlag(arg) {
			out = append(out, "--")
			break
		}
		if arg == "--" {
			break
		}
		rest = rest[1:]
		if len(arg) > 1 && arg[0] == '-' {
			out = append(out, arg)
			if takesNext(c, arg) && len(rest) > 0 {
				out, rest = append(out, rest[0]), rest[1:]
			}
			continue
		}
		name, value, ok := strings.Cut(arg, "=")
		if flag := wordFlags[name]; ok && flag != "" {
			out = append(out, "--"+flag+"="+value)
			continue
		}
		out = append(out, arg)
		if sub := subcommand(c, arg); sub != nil && !positional {
			c = sub
			continue
		}
		positional = true
		if c.Annotations[wordsEnd] != "" {
			break
		}
	}
	return slices.Concat(out, rest, tail)
}

// wordsEnd marks a command all of whose arguments are the guest's.
const wordsEnd = "words-end"

// othersFlags marks a command whose arguments are another program's, flags
// included, from the first one on that isn't ours.
const othersFlags = "others-flags"

// ownFlag says whether such a command takes an argument for itself: ssh has no
// long flags, and what it does by -O has no use here.
func ownFlag(arg string) bool {
	name, _, word := strings.Cut(arg, "=")
	return len(arg) > 2 && arg[:2] == "--" || strings.HasPrefix(arg, "-O") || arg == "-h" || word && wordFlags[name] != ""
}

// takesNext says whether the next argument is the value of a flag.
func takesNext(c *cobra.Command, arg string) bool {
	if name, long := strings.CutPrefix(arg, "--"); long {
		f := c.Flag(name)
		return f != nil && f.NoOptDefVal == ""
	}
	for i := 1; i < len(arg); i++ {
		f := shorthand(c, arg[i:i+1])
		if f == nil {
			return false
		}
		if f.NoOptDefVal == "" {
			return i == len(arg)-1
		}
	}
	return false
}

func shorthand(c *cobra.Command, letter string) *pflag.Flag {
	for _, set := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags(), c.InheritedFlags()} {
		if f := set.ShorthandLookup(letter); f != nil {
			return f
		}
	}
	return nil
}

func subcommand(c *cobra.Command, name string) *cobra.Command {
	for _, sub := range c.Commands() {
		if sub.Name() == name || sub.HasAlias(name) {
			return sub
		}
	}
	return nil
}

// noArgs refuses arguments.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unexpected(c, args[0])
	}
	return nil
}

// afterDash refuses arguments before --, since a command for the guest, or
// make's arguments, come after it.
func (a *app) afterDash(c *cobra.Command, args []string) error {
	if n := c.ArgsLenAtDash(); len(args) > 0 && n != 0 {
		return a.dashError(c, args[0])
	}
	return nil
}

// passesOn says whether a command passes on what comes after --.
func passesOn(c *cobra.Command) bool {
	return strings.Contains(c.Use, " -- ") || strings.Contains(c.Use, "[-- ")
}

// dashError tells of the -- that is missing before word.
func (a *app) dashError(c *cobra.Command, word string) error {
	return &usageError{
		problem: fmt.Sprintf("unexpected argument %q", word),
		hint:    fmt.Sprintf("what comes after -- is passed on: %s %s", c.CommandPath(), a.from(word)),
	}
}

// from is the command line from a word on, with the -- that belongs before it.
func (a *app) from(word string) string {
	i := max(0, slices.Index(a.env.Args, word))
	words := slices.DeleteFunc(slices.Clone(a.env.Args[i:]), func(w string) bool { return w == "--" })
	return qemu.Quote(append([]string{"--"}, words...))
}

// dashed returns the arguments after --.
func dashed(c *cobra.Command, args []string) []string {
	if n := c.ArgsLenAtDash(); n >= 0 {
		return args[n:]
	}
	return nil
}

func unexpected(c *cobra.Command, arg string) error {
	return &usageError{problem: fmt.Sprintf("unexpected argument %q", arg), hint: fmt.Sprintf("see %s --help", c.CommandPath())}
}

// unknownCommand tells what name may have been meant to be.
func (a *app) unknownCommand(c *cobra.Command, name string) error {
	e := &usageError{problem: fmt.Sprintf("unknown command %q", name), hint: fmt.Sprintf("see %s --help", c.CommandPath())}
	c.SuggestionsMinimumDistance = 2
	near := c.SuggestionsFor(name)
	best := spell.Nearest(name, near)
	if best == "" && len(near) > 0 {
		best = near[0]
	}
	for _, sub := range c.Commands() {
		if s := subcommand(sub, name); s != nil && s.IsAvailableCommand() {
			best = sub.Name() + " " + name
		}
	}
	switch {
	case best != "":
		e.hint = fmt.Sprintf("did you mean %s %s?", c.CommandPath(), best)
	case !c.HasParent():
		e.hint = fmt.Sprintf("a command for the guest comes after --: run-kernel boot %s; run-kernel --help lists our own", a.from(name))
	}
	return e
}

// flagError explains a flag that can't be parsed.
func (a *app) flagError(c *cobra.Command, err error) error {
	e := &usageError{problem: err.Error(), hint: fmt.Sprintf("see %s --help", c.CommandPath())}
	var (
		unknown *pflag.NotExistError
		empty   *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case errors.As(err, &unknown):
		// A word before it may be the whole mistake: boot uname -r.
		if words := c.Flags().Args(); len(words) > 0 && !c.HasParent() {
			return a.unknownCommand(c, words[0])
		} else if len(words) > 0 && passesOn(c) {
			return a.dashError(c, words[0])
		}
		name, shown := unknown.GetSpecifiedName(), "--"+unknown.GetSpecifiedName()
		if letters := unknown.GetSpecifiedShortnames(); letters != "" {
			// -no-build, as other programs have it.
			name, shown = letters, "-"+name
			if len(letters) > 2 {
				shown = "-" + letters
			}
		}
		e.problem = "unknown flag " + shown
		if hint := unknownFlagHint(c, name); hint != "" {
			e.hint = hint
		}
	case errors.As(err, &empty):
		e.problem = "--" + empty.GetFlag().Name + " needs a value"
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		what := invalid.Unwrap().Error()
		switch f.Value.Type() {
		case "int":
			what = "is not a number"
		case "bool":
			what = "is neither true nor false"
		case "duration":
			what = "is not a duration such as 500ms, 10s or 2m"
		}
		e.problem = fmt.Sprintf("--%s: %q %s", f.Name, invalid.GetValue(), what)
	}
	return e
}

// unknownFlagHint says which flag may have been meant, or whose it is.
func unknownFlagHint(c *cobra.Command, name string) string {
	if len(name) < 2 {
		return ""
	}
	if hint := instead[name]; hint != "" {
		return hint
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if owner := flagOwner(c.Root(), name); owner != nil {
		return fmt.Sprintf("--%s is a flag of %s", name, owner.CommandPath())
	}
	if near := spell.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean --%s?", near)
	}
	return ""
}

// flagOwner finds a command below c that has a flag of this name.
func flagOwner(c *cobra.Command, name string) *cobra.Command {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Flags().Lookup(name) != nil {
			return sub
		}
		if owner := flagOwner(sub, name); owner != nil {
			return owner
		}
	}
	return nil
}
