// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/control"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/cycle"
)

func (a *app) gdbCommand() *cobra.Command {
	var stdio bool
	c := &cobra.Command{
		Use:   "gdb [-- GDB-ARG...]",
		Short: "debug the kernel of the guest that runs for this tree",
		Long: `Gdb starts gdb on the guest's vmlinux, attached to the guest, which stops. The
kernel's own commands for gdb (lx-dmesg, lx-ps …) are there when they were built:
CONFIG_GDB_SCRIPTS=y and make scripts_gdb. When gdb ends, the guest goes on.

With --debug, or [run] debug, the guest waits for it before its first instruction,
and has the addresses that vmlinux says (nokaslr). Before the kernel has set up its
page tables, hbreak works where break may not.

With --stdio it starts no gdb, but speaks gdb's remote protocol on standard input
and output: target remote | run-kernel gdb --stdio.`,
		Example: `  run-kernel gdb
  run-kernel gdb -- -ex 'hbreak start_kernel' -ex continue`,
		Annotations: map[string]string{helpFlags: "output config-file"},
		Args:        a.afterDash,
		RunE: func(c *cobra.Command, args []string) error {
			if stdio {
				return a.debugOnStdio(c.Context())
			}
			return a.gdb(dashed(c, args))
		},
	}
	a.addNameFlag(c)
	c.Flags().BoolVar(&stdio, "stdio", false, "speak gdb's remote protocol on standard input and output")
	return c
}

// debugOnStdio joins standard input and output with the stub.
func (a *app) debugOnStdio(ctx context.Context) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	stub, err := client.Debugger()
	if err != nil {
		return err
	}
	defer stub.Close()
	go func() {
		_, _ = io.Copy(stub, a.env.Stdin)
		_ = stub.Close() // gdb has ended
	}()
	return a.print(ctx, stub)
}

// gdb becomes gdb.
func (a *app) gdb(args []string) error {
	tree, err := a.existingTree()
	if err != nil {
		return err
	}
	address, err := a.address()
	if err != nil {
		return err
	}
	status, err := a.ownerStatus(address)
	if err != nil {
		return err
	}
	gdb, err := boot.FindGDB(cycle.GuestArch(tree.SrcArch()))
	if err != nil {
		return err
	}
	vmlinux := filepath.Join(tree.BuildDir, "vmlinux")
	if status.Image != "" && filepath.Base(status.Image) == "vmlinux" {
		vmlinux = status.Image
	}
	if _, err := os.Stat(vmlinux); err != nil {
		return &advisedError{fmt.Errorf("no symbols to debug with: %w", err), "run-kernel build makes them; for another kernel's, start gdb yourself and attach it: target remote | run-kernel gdb --stdio"}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := []string{
		"gdb", "-q", "-iex", "add-auto-load-safe-path " + tree.BuildDir,
		// By default it waits for 2 s, takes what comes later for the answer to another
		// question, and shows what is in the file for what is in the guest. A guest
		// without KVM on a busy host takes longer.
		"-iex", "set remotetimeout 60", vmlinux,
		"-ex", "target remote | " + qemu.Quote([]string{self, "gdb", "--stdio", "-O", tree.BuildDir, "--name=" + address.Name}),
	}
	command = append(command, args...)
	return fmt.Errorf("gdb: %w", unix.Exec(gdb, command, a.env.Environ))
}

func (a *app) dumpCommand() *cobra.Command {
	var virtual bool
	c := &cobra.Command{
		Use:   "dump [flags] FILE",
		Short: "write the guest's memory to a file, for crash, drgn or gdb",
		Long: `Dump writes the memory of the guest that runs for this tree to a new file, as an
ELF core file of its size. The guest stands still meanwhile, and goes on. The file
is of physical memory, as crash and drgn read it; with --virtual it has the kernel's
addresses, as gdb needs them.`,
		Example: `  run-kernel dump vmcore                     # then: crash vmlinux vmcore
  run-kernel dump --virtual core             # then: gdb vmlinux core`,
		Annotations: map[string]string{helpFlags: "output config-file"},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{problem: "dump takes one file", hint: "run-kernel dump vmcore"}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			path := args[0]
			if !filepath.IsAbs(path) {
				path = filepath.Join(a.env.Dir, path)
			}
			client, err := a.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			_, absent := os.Lstat(path)
			defer context.AfterFunc(c.Context(), func() { _ = client.Close() })()
			err = client.Dump(path, virtual)
			var refused *control.RefusedError
			switch {
			case c.Context().Err() != nil:
				if errors.Is(absent, os.ErrNotExist) {
					_ = os.Remove(path) // the owner may still write; nobody will read it
				}
				return context.Cause(c.Context())
			case errors.As(err, &refused) && strings.Contains(refused.Reason, unix.EEXIST.Error()):
				return &advisedError{err, "remove it first, or name another"}
			case errors.As(err, &refused) && strings.Contains(refused.Reason, "No space left"):
				return &advisedError{err, "the file takes as much room as the guest has memory; name one elsewhere"}
			}
			return err
		},
	}
	a.addNameFlag(c)
	c.Flags().BoolVar(&virtual, "virtual", false, "with the kernel's virtual addresses, for gdb")
	return c
}
