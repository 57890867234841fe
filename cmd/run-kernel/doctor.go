// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/doctor"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/arch"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "list what this host lacks, and how to install it",
		Long: `Doctor checks what it takes to build, boot and watch a kernel: programs and their
versions, KVM, virtiofsd, memory, inotify limits, disk space. It changes nothing. In a
source tree, it checks what this tree needs. With --arch, it checks what a guest of that
architecture needs.

The exit status is 0 if nothing is missing, otherwise 1. With --json it prints an object
with the fields healthy, checks and install. Each check has the fields feature, name,
state, version, path, text and hint. The field install is the command that installs what
is missing.`,
		Example: `  run-kernel doctor
  run-kernel doctor --arch arm64 --cross-compile aarch64-linux-gnu-
  run-kernel doctor --json`,
		Annotations: map[string]string{helpTables: "build", helpFlags: "qemu guest-init mount-type virtiofsd memory memory-gib config-file json verbose"},
		Args:        noArgs,
		RunE: func(c *cobra.Command, args []string) error {
			b, r := a.config.Build, a.config.Run
			if b.Arch != "" && prepare.GuestArch(b.Arch) == "" {
				return &usageError{
					problem: fmt.Sprintf("there are no guests for the architecture %q (%s)", b.Arch, a.config.Origin("build.arch")),
					hint:    "those of " + prepare.GuestKernels("and") + " can be had",
				}
			}
			o := doctor.Options{
				Arch: cmp.Or(prepare.GuestArch(b.Arch), arch.Host().Name), QEMU: r.QEMU, GuestInit: r.GuestInit, MountType: r.MountType, Virtiofsd: r.Virtiofsd, MemoryMiB: r.MemoryMiB(),
				CrossCompile: b.CrossCompile, LLVM: b.LLVM, CC: b.CC, KernelArch: b.Arch, BuildHost: b.Host, BuildDir: a.env.Dir,
			}
			if tree, err := a.existingTree(); err == nil {
				o.Root, o.BuildDir = tree.Source, tree.BuildDir
			}
			checks := doctor.Examine(c.Context(), o)
			if err := a.showChecks(checks); err != nil {
				return err
			}
			if !doctor.Healthy(checks) {
				return statusError(statusUnmet)
			}
			return nil
		},
	}
}

func (a *app) showChecks(checks []doctor.Check) error {
	here := doctor.ThisDistribution()
	needed := doctor.Remedy(checks, here, false)
	if a.json {
		return json.NewEncoder(a.out).Encode(map[string]any{
			"healthy": doctor.Healthy(checks), "checks": checks, "install": needed,
		})
	}
	w := a.out
	feature := ""
	for _, c := range checks {
		if c.Feature != feature {
			feature = c.Feature
			fmt.Fprintf(w, "%s\n", feature)
		}
		writeCheck(w, c)
	}
	if needed != "" {
		fmt.Fprintf(w, "\nwhat is missing:  %s\n", needed)
	}
	if all := doctor.Remedy(checks, here, true); all != "" && all != needed {
		fmt.Fprintf(w, "\nall of it:        %s\n", all)
	}
	return nil
}

// writeCheck writes a check in lines of less than 80 columns, as far as what it
// says allows.
func writeCheck(w io.Writer, c doctor.Check) {
	const indent, width = 30, 79
	var words []string
	if c.Version != "" {
		words = append(words, c.Version)
	}
	if c.Text != "" {
		words = append(words, strings.Fields(c.Text)...)
	}
	if c.Path != "" {
		words = append(words, c.Path)
	}
	if c.Hint != "" {
		words = append(append(words[:len(words):len(words)], "→"), strings.Fields(c.Hint)...)
	}
	line := fmt.Sprintf("  %-8s %-18s", c.State, c.Name)
	for _, word := range words {
		if len(line)+1+len(word) > width && len(line) > indent {
			fmt.Fprintln(w, line)
			line = strings.Repeat(" ", indent-1)
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}
