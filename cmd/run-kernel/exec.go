// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/internal/event"
)

func (a *app) execCommand() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:   "exec [flags] [--] [COMMAND [ARG...]]",
		Short: "run a command in the guest",
		Long: `Exec runs a command in the guest that another run-kernel has booted for this source
tree, and exits with the command's status. A single word is a line for the guest's
shell. Several words are a program and its arguments. Without a command, it runs a
shell.

With --follow, exec starts the command again when run-kernel watch has replaced the guest
by the next one. A shell at a terminal does so anyway, in the loop; --follow=false ends it
with the guest.`,
		Example: `  run-kernel exec                            # a shell
  run-kernel exec -- dmesg --level=err
  run-kernel exec -t -- top
  run-kernel exec --follow -- dmesg --follow
  run-kernel exec 'cat > /tmp/module.ko' <module.ko`,
		Annotations: map[string]string{wordsEnd: "yes", helpFlags: "user output config-file json verbose"},
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.results.check(c, args); err != nil {
				return err
			}
			if err := a.results.begin(a.env.Dir); err != nil {
				return err
			}
			return a.results.finish(a, args, a.exec(c.Context(), args, follow, c.Flags().Changed(followFlag)))
		},
	}
	a.addNameFlag(c)
	c.Flags().BoolVar(&follow, followFlag, false, "when the guest is replaced, start again in the next one")
	c.Flags().BoolVarP(&a.pty, "tty", "t", false, "give the command a terminal, like a shell")
	a.results.addFlags(c)
	c.Flags().SetInterspersed(false)
	return c
}

const followFlag = "follow"

// exec runs a command in the guest of another run-kernel, and in those that replace it
// where it is to follow. Unless that is said, a shell at a terminal follows the loop.
func (a *app) exec(ctx context.Context, args []string, follow, said bool) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer func() {
		if client != nil {
			_ = client.Close()
		}
	}()
	terminal := a.terminal()
	a.results.start(terminal)
	if !said && len(args) == 0 && terminal.Interactive() && !a.json {
		s, err := client.Status()
		follow = err == nil && s.Command == "watch"
	}
	if follow && (len(args) == 0 || a.pty) {
		terminal.Share()
	}
	for waiting := false; ; {
		status, err := terminal.Run(ctx, client.Client, args, a.pty)
		switch {
		case err == nil && status != 0:
			return statusError(status)
		case err == nil, errors.As(err, new(*boot.CrashError)), errors.Is(err, session.ErrLeft), ctx.Err() != nil:
			return err
		}
		lost := errors.Is(err, boot.ErrGone)
		waiting = waiting && !lost
		// The agent may be gone a while before its guest, as in a shutdown that takes long.
		var refused *ssh.OpenChannelError
		leaving := follow && errors.As(err, &refused) && refused.Reason == ssh.ConnectionFailed
		if s, asked := client.Status(); !lost && !leaving && (asked != nil || s.Guest) {
			return err
		}
		switch {
		case follow:
			_ = client.Close()
			if !waiting {
				waiting = true
				a.events.Emit(event.Notice{Text: "the guest has gone; waiting for the next one"})
			}
			if client, err = a.nextGuest(ctx); err != nil {
				return err
			}
		case lost:
			return &boot.DeathError{Reason: "the guest has gone"}
		default:
			return &advisedError{err, "run-kernel status says what is being done instead"}
		}
	}
}

// nextGuestTime is between two looks for a guest that answers.
const nextGuestTime = 200 * time.Millisecond

// nextGuest waits until a guest answers again, and connects to its run-kernel.
func (a *app) nextGuest(ctx context.Context) (*control.Client, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(nextGuestTime):
		}
		client, err := a.dial()
		if err != nil {
			return nil, err
		}
		s, err := client.Status()
		if err == nil && s.Guest {
			return client, nil
		}
		_ = client.Close()
		if err != nil {
			return nil, err
		}
	}
}

func (a *app) statusCommand() *cobra.Command {
	var all bool
	var turns int
	c := a.addNameFlag(&cobra.Command{
		Use:   "status",
		Short: "print what runs for this source tree",
		Long: `Status prints what each run-kernel in the build directory does, and which guest it has.
If none works there, it prints those in other build directories of the source tree. With
--all, or outside of a source tree, it prints all of yours.

With --turns, it prints the last turns of run-kernel watch in the build directory, with
the time of each part, whether a run-kernel works there or not.

With --json it prints one object per run-kernel, with the fields pid, command, build (the
build directory), name, started, phase, guest (whether there is one that has answered),
silent (the seconds that it owes an answer, if it doesn't) and image. With --turns as
well, it prints one object per turn, as watch --json does.`,
		Example: `  run-kernel status
  run-kernel status --all
  run-kernel status --turns=50
  run-kernel status --json`,
		Annotations: map[string]string{helpFlags: "output config-file json"},
		Args:        noArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("turns") {
				return a.showTurns(turns)
			}
			if all || a.config.Build.Output == "" && !a.inTree() {
				return a.statusOfAll()
			}
			return a.status()
		},
	})
	c.Flags().BoolVar(&all, "all", false, "print what runs in all build directories of yours")
	c.Flags().IntVar(&turns, "turns", 0, "print the last turns of watch, with this many of them")
	c.Flags().Lookup("turns").NoOptDefVal = "10"
	return c
}

// statusOfAll shows what all of the user's run-kernels do.
func (a *app) statusOfAll() error {
	statuses, err := control.All()
	if err == nil && len(statuses) == 0 {
		return &advisedError{errors.New("no run-kernel of yours works in any kernel tree"), "start one in a kernel tree: run-kernel watch, or run-kernel boot"}
	}
	return errors.Join(a.showStatuses(statuses), err)
}

func (a *app) status() error {
	tree, err := a.existingTree()
	if err != nil {
		return err
	}
	list := []control.Address{{Build: tree.BuildDir, Name: a.name}}
	if !a.named {
		if list, err = control.List(tree.BuildDir); err != nil {
			return err
		}
	}
	var statuses []control.Status
	var silent error
	for _, address := range list {
		s, err := statusOf(address)
		switch {
		case err == nil:
			statuses = append(statuses, s)
		case !errors.Is(err, control.ErrNone): // otherwise it has ended since
			silent = errors.Join(silent, err)
		}
	}
	if silent != nil {
		return errors.Join(a.showStatuses(statuses), silent)
	}
	if len(statuses) == 0 && a.config.Build.Output == "" {
		statuses = a.ofSource(tree.Source)
	}
	if len(statuses) == 0 {
		return a.none(control.Address{Build: tree.BuildDir, Name: a.name})
	}
	return a.showStatuses(statuses)
}

func (a *app) showStatuses(statuses []control.Status) error {
	for i, s := range statuses {
		if a.json {
			if err := json.NewEncoder(a.out).Encode(s); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		a.showStatus(s)
	}
	return nil
}

func (a *app) showStatus(s control.Status) {
	fmt.Fprintf(a.out, "run-kernel %s, process %d, for %s\n", s.Command, s.PID, time.Since(s.Started).Round(time.Second))
	if s.Name != "" {
		fmt.Fprintf(a.out, "name: %s\n", s.Name)
	}
	fmt.Fprintf(a.out, "build directory: %s\nphase: %s\n", s.Build, s.Phase)
	switch {
	case s.Guest && s.Silent > 0:
		silent := time.Duration(s.Silent * float64(time.Second))
		fmt.Fprintf(a.out, "guest: hasn't answered for %s, on %s (run-kernel console has the kernel's messages)\n", silent.Round(time.Second), s.Image)
	case s.Guest:
		fmt.Fprintf(a.out, "guest: answers, on %s\n", s.Image)
	default:
		fmt.Fprintln(a.out, "guest: none")
	}
}

func (a *app) stopCommand() *cobra.Command {
	return a.addNameFlag(&cobra.Command{
		Use:   "stop",
		Short: "power off the guest, and end its run-kernel",
		Long: `Stop asks the guest to power off: through systemd if that is its first process, otherwise
by signals to all its processes. It kills the guest after 8 seconds of console silence or
after one minute, and prints whether it had to. The run-kernel that has booted the guest
exits too.`,
		Example: `  run-kernel stop
  run-kernel stop --name second`,
		Annotations: map[string]string{helpFlags: "output config-file"},
		Args:        noArgs,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			outcome, err := client.Stop(c.Context())
			if err != nil {
				return err
			}
			switch outcome {
			case control.PoweredOff:
				a.events.Emit(event.Notice{Text: "the guest has powered itself off"})
			case control.Ended:
				a.events.Emit(event.Notice{Text: "the guest didn't power itself off, and was ended"})
			}
			return nil
		},
	})
}
