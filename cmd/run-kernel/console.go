// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
)

func (a *app) consoleCommand() *cobra.Command {
	var follow bool
	c := a.addNameFlag(&cobra.Command{
		Use:   "console",
		Short: "attach to the guest's serial console",
		Long: `Console attaches to the guest's serial console. It prints the last lines that the guest
has written, then everything that the guest writes, and sends what you type. Several
terminals may be attached. It exits with the guest, or when you type ~. at the start of
a line.

If standard input isn't a terminal, console exits after the end of its input, once the
guest has been silent for 2 seconds. With --follow it continues.

A program in the guest must read the serial port. NixOS has a login there. On other
userlands, --serial=stdio and --serial=telnet start a shell there.`,
		Example: `  run-kernel console
  run-kernel console </dev/null | tail       # the last lines
  run-kernel console --follow </dev/null | grep -i warn`,
		Annotations: map[string]string{helpFlags: "output config-file"},
		Args:        noArgs,
		RunE:        func(c *cobra.Command, args []string) error { return a.console(c.Context(), follow) },
	})
	c.Flags().BoolVar(&follow, "follow", false, "continue after the end of standard input")
	return c
}

// consoleSilence is how long the guest must have been silent for a console without
// input to end.
const consoleSilence = 2 * time.Second

func (a *app) console(ctx context.Context, follow bool) error {
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
	terminal := a.terminal()
	in, restore, err := terminal.RawInput(cancel)
	if err != nil {
		return err
	}
	defer restore()
	output := &heard{r: serial}
	output.last.Store(time.Now().UnixNano())
	go func() {
		_, _ = io.Copy(serial, in)
		if !follow && !terminal.Interactive() {
			output.awaitSilence(ctx, consoleSilence)
			cancel(session.ErrLeft)
		}
	}()
	if err := a.print(ctx, output); !errors.Is(err, session.ErrLeft) {
		return err
	}
	return nil
}

// heard knows when something was read last, and whether who reads has passed that on.
type heard struct {
	r       io.Reader
	last    atomic.Int64 // time, in nanoseconds since 1970
	waiting atomic.Bool  // for more
}

func (h *heard) Read(p []byte) (int, error) {
	h.last.Store(time.Now().UnixNano())
	h.waiting.Store(true)
	n, err := h.r.Read(p)
	h.waiting.Store(false)
	h.last.Store(time.Now().UnixNano())
	return n, err
}

// awaitSilence waits until nothing has come for a time while somebody waited for it, or
// ctx ends. A slow pipe, as to a pager, isn't the guest's silence.
func (h *heard) awaitSilence(ctx context.Context, limit time.Duration) {
	for {
		waiting := h.waiting.Load() // first: since then, last is that of the wait or later
		rest := limit - time.Since(time.Unix(0, h.last.Load()))
		switch {
		case rest <= 0 && waiting:
			return
		case rest <= 0:
			rest = slowPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
	}
}

// slowPause is between two looks whether what was read has been passed on.
const slowPause = 20 * time.Millisecond

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
