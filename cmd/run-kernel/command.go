// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/tty"
)

// guestCommand is what words of the command line mean in the guest: one is a
// line for the shell, several are a program and its arguments.
func guestCommand(argv []string) boot.Command {
	if len(argv) == 1 {
		return boot.Command{Shell: argv[0]}
	}
	return boot.Command{Argv: argv}
}

// runCommand runs a command, or a shell without one, by the agent at the other
// end of client, and returns its status. A shell at a terminal gets that
// terminal.
func (a *app) runCommand(ctx context.Context, client *ssh.Client, argv []string) (int, error) {
	began := time.Now()
	c := guestCommand(argv)
	c.Stdin = a.env.Stdin
	c.Stdout, c.Stderr = a.writers()
	var status int
	var err error
	if (len(argv) == 0 || a.pty) && a.onTerminal() && !a.json {
		status, err = a.runAtTerminal(ctx, client, c)
	} else {
		status, err = boot.Run(ctx, client, c)
	}
	if err == nil && (a.json || a.verbose) && len(argv) > 0 {
		a.events.Emit(event.CommandFinished{Command: strings.Join(argv, " "), Status: status, Elapsed: time.Since(began)})
	}
	return status, err
}

func (a *app) runAtTerminal(ctx context.Context, client *ssh.Client, c boot.Command) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rows, columns, err := tty.Size(a.env.Stdin)
	if err != nil {
		return 0, err
	}
	in, restore, err := a.rawInput(cancel)
	if err != nil {
		return 0, err
	}
	defer restore()

	resized, stop := tty.Resized()
	defer stop()
	sizes := make(chan boot.Size)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-resized:
			}
			rows, columns, err := tty.Size(a.env.Stdin)
			if err != nil {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case sizes <- boot.Size{Rows: rows, Columns: columns}:
			}
		}
	}()
	c.Terminal = &boot.Terminal{Type: config.Getenv(a.env.Environ, "TERM"), Rows: rows, Columns: columns, Resize: sizes}
	c.Stdin = in
	return boot.Run(ctx, client, c)
}
