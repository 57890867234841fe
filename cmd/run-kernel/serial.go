// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/tty"
)

// Values of run.serial.
const (
	serialDisconnected = "disconnected"
	serialStdio        = "stdio"
	serialTelnet       = "telnet"
	serialLog          = "log"
)

// serial is who has the guest's serial port. log and stdin are how it was said
// before there was a key for it.
func (a *app) serial() string {
	switch r := a.config.Run; {
	case r.Serial != serialDisconnected:
		return r.Serial
	case r.Stdin:
		return serialStdio
	case r.Log:
		return serialLog
	}
	return serialDisconnected
}

// The port is the one that run-kernel always had, or else one of the next.
const (
	telnetPort  = 4000
	telnetPorts = 100
)

// serveTelnet lets telnet connect to the serial port of the guest that runs, until
// ctx ends.
func (a *app) serveTelnet(ctx context.Context, current *currentGuest) error {
	var l net.Listener
	var err error
	for port := telnetPort; port < telnetPort+telnetPorts; port++ {
		l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	a.events.Emit(event.Notice{Text: "the serial port is at: telnet localhost " + port})
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go talk(ctx, conn, current)
		}
	}()
	return nil
}

// talk joins one telnet with the guest, until either ends.
func talk(ctx context.Context, conn net.Conn, current *currentGuest) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	vm := current.get()
	if vm == nil {
		_, _ = io.WriteString(conn, "no guest runs at the moment\r\n")
		return
	}
	telnet, err := tty.NewTelnet(conn)
	if err != nil {
		return
	}
	serial := vm.Serial()
	defer serial.Close()
	go func() {
		_, _ = io.Copy(serial, telnet)
		_ = serial.Close()
	}()
	_, _ = io.Copy(telnet, serial)
}

// onStdio says whether the guest's serial port is to be our standard input and
// output.
func (a *app) onStdio(argv []string) bool {
	return a.serial() == serialStdio && len(argv) == 0 && !a.json
}

// terminalSize is that of our terminal, or zero.
func (a *app) terminalSize() *boot.Size {
	rows, columns, err := tty.Size(a.env.Stdin)
	if err != nil {
		return &boot.Size{}
	}
	return &boot.Size{Rows: rows, Columns: columns}
}

// lendTerminal makes our standard input and output the serial port of the guest
// that o describes, from its start on. What is no terminal is read once the guest
// is up: feed starts that. The context that it returns ends when the user leaves.
// When the guest has ended, takeBack gives the terminal back.
func (a *app) lendTerminal(ctx context.Context, current *currentGuest, o *boot.Options) (_ context.Context, feed, takeBack func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	in, restore, err := a.rawInput(cancel)
	if err != nil {
		cancel(nil)
		return nil, nil, nil, err
	}
	a.text.ShowConsole(false) // it comes as it is
	feed = func() {}
	// They may read on for as long as we live: a read can't be taken back.
	if a.onTerminal() {
		go func() { _, _ = io.Copy(current, in) }()
	} else {
		feed = func() {
			go func() {
				_, _ = io.Copy(current, in)
				if o.System == "" {
					current.endInput(ctx)
				}
			}()
		}
	}
	var output sync.WaitGroup
	o.Console = a.terminalSize()
	o.Started = func(vm *boot.VM) {
		current.started(vm)
		// As events, so that a message of ours starts a line.
		output.Go(func() { _, _ = io.Copy(outputEvents{a.events, false}, vm.Serial()) })
	}
	return ctx, feed, func() {
		output.Wait()
		restore()
		cancel(nil)
	}, nil
}

// endInput ends the input of the shell that has the serial port, and of what it runs,
// until ctx ends. A terminal knows no end that stays: each read takes a ^D of its own,
// and one that comes before a program asks for lines is lost. A system with logins
// would only greet again.
func (c *currentGuest) endInput(ctx context.Context) {
	const end, pause = "\x04", time.Second
	for {
		_, _ = io.WriteString(c, end)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// awaitEnd waits for the end of a guest, or for the user's wish for it.
func awaitEnd(ctx context.Context, vm *boot.VM) error {
	select {
	case <-vm.Done():
		return vm.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rawInput is standard input; a terminal is put into raw mode, and its escape keys
// are ours: ~. ends the context.
func (a *app) rawInput(cancel context.CancelCauseFunc) (in io.Reader, restore func(), err error) {
	if !a.onTerminal() {
		return a.env.Stdin, func() {}, nil
	}
	terminal, err := tty.Raw(a.env.Stdin)
	if err != nil {
		return nil, nil, err
	}
	if a.text != nil {
		a.text.SetRaw(true)
	}
	in = tty.NewEscapes(a.env.Stdin,
		func() { cancel(signalError{syscall.SIGHUP}) },
		func() { _, _ = io.WriteString(a.env.Stderr, "\r\n"+tty.EscapeHelp) },
	)
	return in, func() {
		_ = terminal.Restore()
		if a.text != nil {
			a.text.SetRaw(false)
		}
	}, nil
}
