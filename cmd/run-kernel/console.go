// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) consoleCommand() *cobra.Command {
	return a.addNameFlag(&cobra.Command{
		Use:   "console",
		Short: "connect to the serial port of the guest that runs for this tree",
		Long: `Console shows what the guest writes to its serial port, beginning with the last of
what it wrote before, and sends it what is typed. Several may be connected. It ends
with the guest, or, at a terminal, by the keys ~. at the start of a line.

Somebody must read the port in the guest: NixOS has a login there; on the host's own
userland there is a shell with --serial=stdio or --serial=telnet.`,
		Example: `  run-kernel console
  run-kernel console </dev/null | grep -i warn`,
		Annotations: map[string]string{helpFlags: "output config-file"},
		Args:        noArgs,
		RunE:        func(c *cobra.Command, args []string) error { return a.console(c.Context()) },
	})
}

// errLeft is the cause with which the user leaves a console.
var errLeft = errors.New("left")

func (a *app) console(ctx context.Context) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	serial, err := client.Serial()
	if err != nil {
		return err
	}
	defer serial.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in, restore, err := a.rawInput(func(error) { cancel(errLeft) })
	if err != nil {
		return err
	}
	defer restore()
	go func() { _, _ = io.Copy(serial, in) }()
	if err := a.print(ctx, serial); !errors.Is(err, errLeft) {
		return err
	}
	return nil
}

// print copies what comes to standard output, until that or ctx ends.
func (a *app) print(ctx context.Context, from io.Reader) error {
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(a.env.Stdout, from)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
