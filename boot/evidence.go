// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/boot/console"
	"github.com/metaspace/run-kernel/boot/qemu"
)

// Evidence is what a guest was doing that has been given up.
type Evidence struct {
	CPUs  []CPU
	Tasks []string // what the kernel says of blocked tasks and held locks; empty where it doesn't answer
	// Log has the last messages in the kernel's memory, where none has come to the
	// console. It needs Options.Vmlinux.
	Log []string
}

// busy says whether a processor was at work in the kernel, or has halted in it.
func (e *Evidence) busy() bool {
	return e != nil && slices.ContainsFunc(e.CPUs, func(c CPU) bool {
		return len(c.Frames) > 0 && (c.State == InKernel || c.State == Halted)
	})
}

// panicHead begins the message of a kernel that panics: see kernel/panic.c.
const panicHead = "Kernel panic - not syncing: "

// panicked returns the panic that stands in the kernel's memory, or nil.
func (e *Evidence) panicked() error {
	for i, line := range e.Log {
		if _, reason, found := strings.Cut(line, panicHead); found {
			return &CrashError{Crash: console.Crash{Message: panicHead + reason, Panic: true}, Tail: e.Log[i:]}
		}
	}
	return nil
}

// A CPU is what a processor was doing.
type CPU struct {
	Index int
	State State
	PC    uint64
	// Frames has the function that it was in, and then what looks like its callers: each
	// address on its stack that follows a call. It needs Options.Vmlinux.
	Frames []Location
}

// A State says what a processor was doing.
type State string

// The states.
const (
	InKernel State = "kernel"
	InUser   State = "user"   // it ran a program
	Idle     State = "idle"   // it had nothing to do
	Halted   State = "halted" // for good
	Off      State = "off"    // not started
)

const (
	// evidenceTime is how long a VM may take to tell about its processors. It takes
	// milliseconds, unless qemu itself hangs.
	evidenceTime = 3 * time.Second
	// answerTime is how long a kernel may take to begin to answer a request of the magic
	// SysRq, and answerLimit how long it may take to write it all.
	answerTime  = time.Second
	answerLimit = 3 * time.Second
	// answerQuiet is the silence that ends an answer.
	answerQuiet = 200 * time.Millisecond

	stackWords   = 256
	maxFrames    = 8
	answerLength = 400 // lines
)

// Evidence looks at what the guest is doing: at each processor from outside, whether
// the kernel still works or not, and then by the magic SysRq, as far as that answers.
// It takes some seconds at most, and ends with ctx.
func (vm *VM) Evidence(ctx context.Context) *Evidence {
	e, ok := vm.lookBriefly(ctx, len(vm.console.Tail()) == 0)
	if !ok {
		return e
	}
	// w: blocked tasks; d: held locks, with lockdep only.
	for _, key := range []string{"w", "d"} {
		lines := vm.sysRq(ctx, key)
		if len(lines) == 0 {
			break
		}
		e.Tasks = append(e.Tasks, lines...)
	}
	return e
}

// lookBriefly is look with a limit of evidenceTime. It is not ok, and the evidence empty,
// where the VM or ctx ends before, or where qemu itself hangs.
func (vm *VM) lookBriefly(ctx context.Context, log bool) (e *Evidence, ok bool) {
	seen := make(chan *Evidence, 1)
	go func() { seen <- vm.look(log) }()
	select {
	case e := <-seen:
		return e, true
	case <-vm.done:
	case <-ctx.Done():
	case <-time.After(evidenceTime):
	}
	return new(Evidence), false
}

// look looks at the guest from outside, and with log also at the kernel's messages.
func (vm *VM) look(log bool) *Evidence {
	e := new(Evidence)
	registers, err := vm.qmp.CPUs()
	if err != nil {
		return e // qemu has just ended, or lacks the command
	}
	stacks := make([][]uint64, len(registers))
	for i, r := range registers {
		if !r.User && !r.Off {
			// Where its memory can't be read, the function alone is known.
			stacks[i], _ = vm.qmp.Words(r.Index, r.SP, stackWords)
		}
	}
	s, err := openSymbols(vm.vmlinux)
	if err != nil {
		s = new(symbols) // addresses are something, too
	} else {
		defer s.close()
		s.moved = s.slide(slices.Concat(stacks...))
	}
	for i, r := range registers {
		c := CPU{Index: r.Index, PC: r.PC}
		if !r.User && !r.Off {
			c.Frames = s.frames(r.PC, stacks[i])
		}
		c.State = state(r, c.Frames)
		e.CPUs = append(e.CPUs, c)
	}
	if log {
		e.Log = s.log.messages(s.order, func(address uint64, n int) []uint64 {
			words, _ := vm.qmp.Words(0, address+s.moved, n) // where it can't be read there are no messages
			return words
		})
	}
	return e
}

// frames returns where a processor is, and what looks like its callers.
func (s *symbols) frames(pc uint64, stack []uint64) []Location {
	at, ok := s.at(pc - s.moved)
	if !ok {
		return nil
	}
	frames := []Location{at}
	for _, word := range stack {
		word -= s.moved
		if at, ok := s.at(word); ok && s.returnsTo(word) {
			if frames = append(frames, at); len(frames) == maxFrames {
				break
			}
		}
	}
	return frames
}

func state(r qemu.CPU, frames []Location) State {
	switch {
	case r.Off:
		return Off
	case r.User:
		return InUser
	case len(frames) > 0 && idles(frames[0].Function), len(frames) == 0 && r.Idle:
		return Idle
	case r.Idle:
		return Halted
	}
	return InKernel
}

// idles says whether a processor that has nothing to do is in a function, of any
// architecture and driver: default_idle, cpu_do_idle, acpi_safe_halt, pv_native_safe_halt,
// mwait_idle …
func idles(function string) bool {
	return strings.Contains(function, "idle") || strings.Contains(function, "safe_halt")
}

// sysRq sends a request of the magic SysRq over the serial port, and returns the
// lines that the kernel writes then.
func (vm *VM) sysRq(ctx context.Context, key string) []string {
	vm.overheard.begin()
	sent := make(chan error, 1)
	go func() {
		err := vm.qmp.Break(qemu.ConsoleID)
		if err == nil {
			_, err = vm.serial.Write([]byte(key))
		}
		sent <- err
	}()
	vm.awaitAnswer(ctx, sent)
	return vm.overheard.end()
}

// awaitAnswer waits until the kernel has answered a request, or won't. sent gets the
// result of sending it.
func (vm *VM) awaitAnswer(ctx context.Context, sent <-chan error) {
	began := time.Now()
	for {
		heard := vm.console.Heard()
		switch {
		case time.Since(began) > answerLimit,
			!heard.After(began) && time.Since(began) > answerTime,
			heard.After(began) && time.Since(heard) > answerQuiet:
			return
		}
		select {
		case err := <-sent:
			if err != nil {
				return
			}
			sent = nil
		case <-vm.done:
			return
		case <-ctx.Done():
			return
		case <-time.After(answerQuiet / 4):
		}
	}
}

// overheard has the lines of the console while somebody wants them.
type overheard struct {
	mu    sync.Mutex
	on    bool
	lines []string
}

func (o *overheard) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on, o.lines = true, nil
}

func (o *overheard) line(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.on && len(o.lines) < answerLength {
		o.lines = append(o.lines, text)
	}
}

// end returns the lines since begin, without what is no answer of the kernel's.
func (o *overheard) end() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = false
	for i, line := range o.lines {
		if strings.Contains(line, "sysrq: Show ") {
			return o.lines[i:]
		}
	}
	return nil
}
