// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strconv"
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
	// listenTime is how long an sshd that runs may take until it listens.
	listenTime = 5 * time.Second
)

// inSSH does what the configuration asks for, in a guest whose sshd may still be
// starting.
func (g *Guest) inSSH(ctx context.Context, atTerminal bool) (int, error) {
	vm, r := g.vm, &g.session.Config.Run
	if r.Network == "none" {
		return g.inAgent(ctx, atTerminal)
	}
	port, err := vm.ForwardSSH()
	if err != nil {
		return 0, err
	}
	g.session.Events.Emit(event.Notice{Text: fmt.Sprintf("127.0.0.1:%d is the guest's port 22", port)})
	if r.PingSSH {
		if err := vm.AwaitSSHD(ctx, port, r.BootTimeout.Std()); err != nil {
			return 0, err
		}
		g.session.Events.Emit(event.Notice{Text: "the guest's sshd answers"})
	} else if !g.hasSSHD(ctx, port) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		g.session.Events.Emit(event.Notice{Text: "no sshd answers in the guest: the session is the agent's"})
		return g.inAgent(ctx, atTerminal)
	}
	if !r.SSH && r.SSHCommand == "" {
		return 0, nil
	}
	return g.runSSH(ctx, port, atTerminal)
}

// hasSSHD says whether the guest's sshd answers, or soon does: OpenSSH's goes to the
// background before it listens, so that the command that starts it has ended by then.
func (g *Guest) hasSSHD(ctx context.Context, port int) bool {
	if g.vm.HasSSHD(ctx, port) {
		return true
	}
	status, err := boot.Run(ctx, g.vm.Client(), boot.Command{
		Shell: "grep -qsx sshd /proc/[0-9]*/comm", Stdout: io.Discard, Stderr: io.Discard,
	})
	return err == nil && status == 0 && g.vm.AwaitSSHD(ctx, port, listenTime) == nil
}

// inAgent runs the session without any sshd.
func (g *Guest) inAgent(ctx context.Context, atTerminal bool) (int, error) {
	var argv []string
	if line := g.session.Config.Run.SSHCommand; line != "" {
		argv = []string{line}
	}
	return g.session.Terminal.Run(ctx, g.vm.Client(), argv, atTerminal)
}

// sshArgs are ssh's arguments for the guest's sshd, whose key is made anew at each
// boot and which nobody else can stand in for.
func sshArgs(port int, key *identity, command string, atTerminal bool) []string {
	args := []string{
		"-F", "none", "-p", strconv.Itoa(port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "GlobalKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
	}
	if key != nil {
		args = append(args, "-i", key.path())
	}
	if atTerminal {
		args = append(args, "-t")
	}
	args = append(args, "root@127.0.0.1")
	if command != "" {
		args = append(args, "--", command)
	}
	return args
}

// runSSH runs ssh on our terminal and returns its status.
func (g *Guest) runSSH(ctx context.Context, port int, atTerminal bool) (int, error) {
	t := g.session.Terminal
	path, err := proc.Look("ssh")
	if err != nil {
		return 0, err
	}
	key := g.handOver(ctx)
	if key != nil {
		defer key.close()
	}
	cmd := exec.CommandContext(ctx, path, sshArgs(port, key, g.session.Config.Run.SSHCommand, atTerminal)...)
	cmd.Env, cmd.Stdin = t.Environ, t.Stdin
	cmd.Stdout, cmd.Stderr = t.writers()
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
		case <-g.vm.Done():
			return 0, boot.ErrGone
		case <-time.After(endTime):
		}
	}
	return status, nil
}
