// SPDX-License-Identifier: GPL-3.0-only

// Run-kernel is the edit-build-boot loop for people who work on the Linux
// kernel. As the first process of a guest it is the guest's init.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/launch"
	"github.com/metaspace/run-kernel/boot/readonly"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/internal/tty"
)

func main() {
	// Other roles of this executable.
	proc.Main()
	private.Main()
	readonly.Main()
	launch.Main()
	tty.Main()
	guest.AgentMain()
	guest.SFTPMain()
	if guest.IsInit() {
		guest.Main()
	}

	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintf(os.Stderr, "run-kernel: error: the working directory is gone: %v\n", err)
		os.Exit(statusFailed)
	}
	os.Exit(Execute(signals(), Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Dir: dir,
	}))
}

// signals returns a context that ends with the first signal that asks for an
// end. The second one ends run-kernel at once: its children die with it. Under
// nohup, the terminal's hangup isn't one of them.
func signals() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	// Notify would undo what nohup has done.
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(c, syscall.SIGHUP)
	}
	go func() {
		cancel(proc.SignalError((<-c).(syscall.Signal)))
		os.Exit(128 + int((<-c).(syscall.Signal)))
	}()
	return ctx
}
