// SPDX-License-Identifier: GPL-3.0-only

package testflake

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Usable tells why this user can't use nix, which is here. To start the daemon
// takes root.
func Usable() error {
	if os.Geteuid() == 0 || unix.Access("/nix/var/nix/db", unix.W_OK) == nil {
		return nil
	}
	conn, err := net.Dial("unix", "/nix/var/nix/daemon-socket/socket")
	if err != nil {
		return errors.New("nix's store belongs to root, and no nix-daemon runs")
	}
	return conn.Close()
}
