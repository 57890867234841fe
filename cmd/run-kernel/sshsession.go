// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
)

const (
	// sshFailed is ssh's own status when the connection failed or ended.
	sshFailed = 255
	// endTime is how long the end of a VM may take to show after ssh has seen it.
	endTime = 2 * time.Second
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

// sshSession says whether there shall be a session, not only a ping.
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
	if key := a.sshWanted(); key != "" && a.serial() == serialStdio {
		serial := "run.serial"
		if a.config.Run.Serial != serialStdio {
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

// inSSH does what the keys ask for, in a guest whose sshd may still be starting.
func (a *app) inSSH(ctx context.Context, vm *boot.VM) (int, error) {
	r := &a.config.Run
	if r.Network == "none" {
		return a.inAgent(ctx, vm)
	}
	port, err := vm.ForwardSSH()
	if err != nil {
		return 0, err
	}
	a.events.Emit(event.Notice{Text: fmt.Sprintf("127.0.0.1:%d is the guest's port 22", port)})
	if r.PingSSH {
		if err := vm.AwaitSSHD(ctx, port, r.BootTimeout.Std()); err != nil {
			return 0, err
		}
		a.events.Emit(event.Notice{Text: "the guest's sshd answers"})
	} else if !vm.HasSSHD(ctx, port) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		a.events.Emit(event.Notice{Text: "no sshd answers in the guest: the session is the agent's"})
		return a.inAgent(ctx, vm)
	}
	if !a.sshSession() {
		return 0, nil
	}
	return a.runSSH(ctx, vm, port)
}

// inAgent runs the session without any sshd.
func (a *app) inAgent(ctx context.Context, vm *boot.VM) (int, error) {
	var argv []string
	if line := a.config.Run.SSHCommand; line != "" {
		argv = []string{line}
	}
	return a.runCommand(ctx, vm.Client(), argv)
}

// sshArgs are ssh's arguments for the guest's sshd, whose key is made anew at each
// boot and which nobody else can stand in for.
func (a *app) sshArgs(port int) []string {
	args := []string{
		"-F", "none", "-p", strconv.Itoa(port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "GlobalKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
	}
	if a.pty {
		args = append(args, "-t")
	}
	args = append(args, "root@127.0.0.1")
	if line := a.config.Run.SSHCommand; line != "" {
		args = append(args, "--", line)
	}
	return args
}

// runSSH runs ssh on our terminal and returns its status.
func (a *app) runSSH(ctx context.Context, vm *boot.VM, port int) (int, error) {
	path, err := proc.Look("ssh")
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, path, a.sshArgs(port)...)
	cmd.Env, cmd.Stdin = a.env.Environ, a.env.Stdin
	cmd.Stdout, cmd.Stderr = a.writers()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	// Should we be killed, ssh gives the terminal its settings back. The signal
	// comes when the thread ends that started it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case cmd.ProcessState == nil:
		return 0, fmt.Errorf("start %s: %w", path, err)
	case err != nil && !errors.As(err, new(*exec.ExitError)):
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	status := proc.ExitStatus(cmd.ProcessState)
	if status == sshFailed {
		select {
		case <-vm.Done():
			return 0, boot.ErrGone
		case <-time.After(endTime):
		}
	}
	return status, nil
}
