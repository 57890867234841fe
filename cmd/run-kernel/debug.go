// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
)

func (a *app) gdbCommand() *cobra.Command {
	var stdio bool
	c := &cobra.Command{
		Use:   "gdb [flags] [-- GDB-ARG...]",
		Short: "debug the guest's kernel",
		Long: `Gdb starts gdb on the guest's vmlinux and attaches it to the guest, which pauses. When
gdb exits, the guest continues. The kernel's own gdb commands (lx-dmesg, lx-ps …) are
available with CONFIG_GDB_SCRIPTS=y: run-kernel builds them then.

A guest that was booted with --debug waits for gdb before its first instruction, and
runs at the addresses that vmlinux has (nokaslr). Until the kernel has set up its page
tables, use hbreak, because break may not work.

With --stdio, it doesn't start gdb. It speaks gdb's remote protocol on standard input and
output, for other debuggers: target remote | run-kernel gdb --stdio`,
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
	vmlinux, known := vmlinuxOf(address.Build, status.Image)
	gdb, err := boot.FindGDB(cmp.Or(archOf(vmlinux), prepare.GuestArch(tree.Arch())))
	if err != nil {
		return err
	}
	if _, err := os.Stat(vmlinux); err != nil {
		return &advisedError{fmt.Errorf("no symbols to debug with: %w", err), "run-kernel build makes them; for another kernel's, start gdb yourself and attach it: target remote | run-kernel gdb --stdio"}
	}
	if !known {
		a.events.Emit(event.Warning{
			Text: fmt.Sprintf("the symbols are those of %s, and the guest runs %s: they are wrong unless that is of the same build", vmlinux, status.Image),
			Hint: "for another kernel's, start gdb yourself and attach it: target remote | run-kernel gdb --stdio",
		})
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := gdbCommandLine(self, address.Build, address.Name, vmlinux)
	command = append(command, args...)
	return fmt.Errorf("gdb: %w", unix.Exec(gdb, command, a.env.Environ))
}

// vmlinuxOf is the vmlinux of the image that a guest of a build directory runs; empty: it
// runs none yet. It isn't known of an image from elsewhere: that may be installed from there.
func vmlinuxOf(build, image string) (path string, known bool) {
	if filepath.Base(image) == "vmlinux" {
		return image, true
	}
	return filepath.Join(build, "vmlinux"), image == "" || kbuild.Within(build, image)
}

// archOf is the architecture of a vmlinux, as in qemu-system-<arch>: that of the guest was
// said in the terminal where it was booted. It is empty where there is no vmlinux.
func archOf(vmlinux string) string {
	f, err := elf.Open(vmlinux)
	if err != nil {
		return ""
	}
	defer f.Close()
	return arch.OfELF(f.Machine, f.Class).Name
}

// gdbCommandLine is gdb's for the guest of a build directory. Of what is in that, gdb runs
// the kernel's own script, and none that vmlinux has in it: that may be a build host's.
func gdbCommandLine(self, build, name, vmlinux string) []string {
	return []string{
		"gdb", "-q", "-iex", "add-auto-load-safe-path " + filepath.Join(build, "vmlinux-gdb.py"),
		// By default it waits for 2 s, takes what comes later for the answer to another
		// question, and shows what is in the file for what is in the guest. A guest
		// without KVM on a busy host takes longer.
		"-iex", "set remotetimeout 60", vmlinux,
		"-ex", "target remote | " + qemu.Quote([]string{self, "gdb", "--stdio", "-O", build, "--name=" + name}),
	}
}

func (a *app) dumpCommand() *cobra.Command {
	var virtual bool
	c := &cobra.Command{
		Use:   "dump [flags] FILE",
		Short: "write the guest's memory to a file, for crash, drgn or gdb",
		Long: `Dump writes the guest's memory to a new file, an ELF core file as large as the memory.
The guest pauses meanwhile. The file has physical addresses, for crash and drgn. With
--virtual, it has the kernel's virtual addresses, for gdb.`,
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
			return adviseDump(client.Dump(c.Context(), path, virtual))
		},
	}
	a.addNameFlag(c)
	c.Flags().BoolVar(&virtual, "virtual", false, "use the kernel's virtual addresses, for gdb")
	return c
}

// adviseDump adds the next step to an error of dump, which isn't about the build directory.
func adviseDump(err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return &advisedError{err, "remove it first, or name another"}
	case errors.Is(err, unix.ENOSPC):
		return &advisedError{err, "the file takes as much room as the guest has memory; name one elsewhere"}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrNotExist):
		return &advisedError{err, "name a file in a directory that you may write"}
	}
	return err
}
