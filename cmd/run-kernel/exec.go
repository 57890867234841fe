// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/control"
	"github.com/metaspace/run-kernel/internal/event"
)

func (a *app) execCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "exec [flags] [--] [COMMAND [ARG...]]",
		Short: "run a command in the guest that runs for this tree",
		Long: `Exec runs a command, or without one a shell, in the guest that another run-kernel
has booted for this tree, and ends with its status. A single word is a line for
the guest's shell; more are a program and its arguments.`,
		Example: `  run-kernel exec                            # a shell
  run-kernel exec -- dmesg --level=err
  run-kernel exec -t -- top
  run-kernel exec 'cat > /tmp/module.ko' <module.ko`,
		Annotations: map[string]string{wordsEnd: "yes", helpFlags: "output config-file json verbose"},
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			status, err := a.runCommand(c.Context(), client.Client, args)
			if errors.Is(err, boot.ErrGone) {
				return &boot.DeathError{Reason: "the guest has gone"}
			} else if errors.As(err, new(*boot.CrashError)) {
				return err
			} else if err != nil {
				if s, asked := client.Status(); asked == nil && !s.Guest {
					return &advisedError{err, "run-kernel status says what is being done instead"}
				}
				return err
			}
			if status != 0 {
				return statusError(status)
			}
			return nil
		},
	}
	a.addNameFlag(c)
	c.Flags().BoolVarP(&a.pty, "tty", "t", false, "give the command a terminal, as the shell has")
	c.Flags().SetInterspersed(false)
	return c
}

func (a *app) statusCommand() *cobra.Command {
	return a.addNameFlag(&cobra.Command{
		Use:   "status",
		Short: "say what runs for this tree",
		Long: `Status says what each run-kernel that works in the tree's build directory does, and
which guest it has.`,
		Example: `  run-kernel status
  run-kernel status --json`,
		Annotations: map[string]string{helpFlags: "output config-file json"},
		Args:        noArgs,
		RunE:        func(c *cobra.Command, args []string) error { return a.status() },
	})
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
	for _, address := range list {
		s, err := statusOf(address)
		if errors.Is(err, control.ErrNone) {
			continue // it has ended since
		} else if err != nil {
			return err
		}
		statuses = append(statuses, s)
	}
	if len(statuses) == 0 {
		return a.none(control.Address{Build: tree.BuildDir, Name: a.name})
	}
	for i, s := range statuses {
		if a.json {
			if err := json.NewEncoder(a.env.Stdout).Encode(s); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			fmt.Fprintln(a.env.Stdout)
		}
		a.showStatus(s)
	}
	return nil
}

func (a *app) showStatus(s control.Status) {
	fmt.Fprintf(a.env.Stdout, "run-kernel %s, process %d, for %s\n", s.Command, s.PID, time.Since(s.Started).Round(time.Second))
	if s.Name != "" {
		fmt.Fprintf(a.env.Stdout, "name: %s\n", s.Name)
	}
	fmt.Fprintf(a.env.Stdout, "build directory: %s\nphase: %s\n", s.Build, s.Phase)
	if s.Guest {
		fmt.Fprintf(a.env.Stdout, "guest: answers, on %s\n", s.Image)
	} else {
		fmt.Fprintln(a.env.Stdout, "guest: none")
	}
}

func (a *app) stopCommand() *cobra.Command {
	return a.addNameFlag(&cobra.Command{
		Use:   "stop",
		Short: "end the run-kernel that runs for this tree, and its guest",
		Long: `Stop asks the guest that runs for this tree to power itself off: systemd, where
that is its first process, else all of its processes are asked to end. A guest that
writes nothing for 8 seconds meanwhile, or hasn't after a minute, is ended as if the plug
were pulled. It says which it was. The run-kernel that has booted the guest ends as well.`,
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
			outcome, err := client.Stop()
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
