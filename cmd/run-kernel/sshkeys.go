// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/proc"
)

// sshKeys are those of the configuration by which a guest's sshd is used.
var sshKeys = []string{"run.ssh", "run.ssh_command", "run.ping_ssh"}

// sshWanted returns the key by which a session or a ping is asked for, or "".
func (a *app) sshWanted() string {
	r := &a.config.Run
	for i, set := range []bool{r.SSH, r.SSHCommand != "", r.PingSSH} {
		if set {
			return sshKeys[i]
		}
	}
	return ""
}

// sshSession says whether a session is asked for, not only a ping.
func (a *app) sshSession() bool { return a.config.Run.SSH || a.config.Run.SSHCommand != "" }

// checkSSH refuses what can't work before anything is started.
func (a *app) checkSSH() error {
	network := a.config.Run.Network != "none"
	if a.config.Run.PingSSH && !network {
		return &usageError{
			problem: fmt.Sprintf("ping_ssh (%s) needs a network, and network is none (%s)", a.config.Origin("run.ping_ssh"), a.config.Origin("run.network")),
			hint:    "give the guest one with --network user, or leave ping_ssh out: ssh works without",
		}
	}
	if key := a.sshWanted(); key != "" && a.config.SerialPort() == config.SerialStdio {
		serial := "run.serial"
		if a.config.Run.Serial != config.SerialStdio {
			serial = "run.stdin"
		}
		return &usageError{
			problem: fmt.Sprintf("%s (%s) and %s (%s) both want the terminal", serial, a.config.Origin(serial), key, a.config.Origin(key)),
			hint:    "leave one out, or use --serial=log",
		}
	}
	if a.sshSession() && network {
		if _, err := proc.Look("ssh"); err != nil {
			return err
		}
	}
	return nil
}

// noSSHInWatch refuses the keys where there is no session to have.
func (a *app) noSSHInWatch() error {
	key := a.sshWanted()
	if key == "" {
		return nil
	}
	_, name, _ := strings.Cut(key, ".")
	off := "false"
	if name == "ssh_command" {
		off = ""
	}
	return &usageError{
		problem: fmt.Sprintf("watch has no session of its own, and %s asks for one (%s)", key, a.config.Origin(key)),
		hint:    fmt.Sprintf("run-kernel ssh connects from another terminal; watch --%s=%s watches all the same", strings.ReplaceAll(name, "_", "-"), off),
	}
}
