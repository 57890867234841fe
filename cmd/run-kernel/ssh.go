// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/internal/proc"
)

func (a *app) sshCommand() *cobra.Command {
	var stdio bool
	c := &cobra.Command{
		Use:   "ssh [flags] [SSH-ARG...]",
		Short: "connect OpenSSH to the guest",
		Long: `Ssh starts OpenSSH's client for the guest that another run-kernel has booted for this
source tree. The arguments are what ssh takes after the host name: ssh's own flags, and
a command. -O, and flags that begin with --, are run-kernel's, and come first. The guest
needs no sshd and no network.

For scp, sftp, rsync and other programs, the file .run-kernel/ssh_config in the build
directory has an entry for the host "guest". Each boot writes this file, and so does
this command. A path without a directory is in root's home.`,
		Example: `  run-kernel ssh
  run-kernel ssh uname -r
  run-kernel ssh -N -L 8080:localhost:80     # the guest's port 80 is the host's 8080`,
		Annotations: map[string]string{othersFlags: "ssh's", helpFlags: "output config-file"},
		Args:        cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if stdio {
				if len(args) > 0 {
					return unexpected(c, args[0])
				}
				return a.sshProxy(c.Context())
			}
			return a.execSSH(args)
		},
	}
	a.addNameFlag(c)
	c.Flags().BoolVar(&stdio, "stdio", false, "speak the SSH protocol on standard input and output, as ssh's ProxyCommand")
	return c
}

// execSSH becomes ssh. It returns only an error.
func (a *app) execSSH(args []string) error {
	ssh, err := proc.Look("ssh")
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
	if !status.Guest {
		return &advisedError{control.ErrNoGuest, "run-kernel status says what is being done instead"}
	}
	tree, err := a.treeIn(address.Build)
	if err != nil {
		return err
	}
	path, err := session.RefreshSSHConfig(tree, address.Name, a.config.Run.Hostname)
	if err != nil {
		return err
	}
	argv := append([]string{"ssh", "-F", path, session.GuestHost}, args...)
	return fmt.Errorf("become %s: %w", ssh, unix.Exec(ssh, argv, a.env.Environ))
}

// sshProxy connects the standard streams with the run-kernel that has the guest.
// It works from anywhere, since ssh is started anywhere.
func (a *app) sshProxy(ctx context.Context) error {
	build := a.config.Build.Output
	if build == "" {
		tree, err := a.existingTree()
		if err != nil {
			return err
		}
		build = tree.BuildDir
	}
	address, err := a.addressIn(build)
	if err != nil {
		return err
	}
	conn, err := control.Connect(address)
	if errors.Is(err, control.ErrNone) {
		return a.none(address)
	} else if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() {
		_, _ = io.Copy(conn, a.env.Stdin)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_, err = io.Copy(a.env.Stdout, conn)
	var signal proc.SignalError
	switch {
	case errors.As(context.Cause(ctx), &signal):
		return statusError(exitStatus(signal)) // ssh ends it so when it has ended itself
	case errors.Is(err, os.ErrClosed), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return nil // ssh knows
	}
	return err
}
