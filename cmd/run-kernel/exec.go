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
	c.Flags().BoolVarP(&a.pty, "tty", "t", false, "give the command a terminal, as the shell has")
	c.Flags().SetInterspersed(false)
	return c
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "say what runs for this tree",
		Example: `  run-kernel status
  run-kernel status --json`,
		Annotations: map[string]string{helpFlags: "output config-file json"},
		Args:        noArgs,
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.ownerStatus()
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.env.Stdout).Encode(s)
			}
			fmt.Fprintf(a.env.Stdout, "run-kernel %s, process %d, for %s\n", s.Command, s.PID, time.Since(s.Started).Round(time.Second))
			fmt.Fprintf(a.env.Stdout, "build directory: %s\nphase: %s\n", s.Build, s.Phase)
			if s.Guest {
				fmt.Fprintf(a.env.Stdout, "guest: answers, on %s\n", s.Image)
			} else {
				fmt.Fprintln(a.env.Stdout, "guest: none")
			}
			return nil
		},
	}
}

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "stop",
		Short:       "end the run-kernel that runs for this tree, and its guest",
		Example:     `  run-kernel stop`,
		Annotations: map[string]string{helpFlags: "output config-file"},
		Args:        noArgs,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			return client.Stop()
		},
	}
}

// dial connects to the run-kernel that works on our tree.
func (a *app) dial() (*control.Client, error) {
	tree, err := a.existingTree()
	if err != nil {
		return nil, err
	}
	client, err := control.Dial(tree.BuildDir)
	if errors.Is(err, control.ErrNone) {
		return nil, &noneError{tree.BuildDir}
	}
	return client, err
}

// ownerStatus asks the run-kernel that works on our tree what it does.
func (a *app) ownerStatus() (control.Status, error) {
	client, err := a.dial()
	if err != nil {
		return control.Status{}, err
	}
	defer client.Close()
	return client.Status()
}

// A noneError says that there is nothing to act on.
type noneError struct{ build string }

func (e *noneError) Error() string { return "no run-kernel works in " + e.build }
func (e *noneError) Hint() string {
	return "start one: run-kernel watch, or run-kernel boot; with another build directory, say so here as well: -O DIR"
}
