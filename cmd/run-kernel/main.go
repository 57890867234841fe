// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
)

func main() {
	proc.Main()
	virtiofs.Main()
	if guest.IsInit() {
		guest.Main()
	}
	t := time.Now()
	wd, _ := os.Getwd()
	vm, err := boot.Start(context.Background(), boot.Options{Kernel: os.Args[1], Accel: "auto", CPUs: 2, MemoryGiB: 2, Network: true, Userland: "/", Tree: os.Getenv("TREE"), Dir: wd, Hostname: "guest", ConsoleLog: "/tmp/console.log", Timeout: time.Minute, KernelArgs: nil,
		Events: func(e event.Event) {
			if _, ok := e.(event.Console); !ok {
				fmt.Fprintf(os.Stderr, "%T %+v\n", e, e)
			}
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprintln(os.Stderr, "up", time.Since(t))
	st, err := boot.Run(context.Background(), vm.Client(), boot.Command{Argv: os.Args[2:], Stdout: os.Stdout, Stderr: os.Stderr})
	fmt.Fprintln(os.Stderr, st, err, time.Since(t))
	fmt.Fprintln(os.Stderr, vm.Stop(), time.Since(t))
}
