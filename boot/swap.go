// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/report"
)

// A Swap replaces modules in a guest that runs.
type Swap struct {
	Names []string // of the modules, as modprobe knows them
	// File returns the path of a module's file by its name; empty, where there is none.
	File func(name string) string
	// Differing leaves those alone of which it isn't known that they differ.
	Differing bool
}

// Swapped is what a swap did.
type Swapped struct {
	Modules []SwappedModule // in the order in which they were loaded
	Idle    []string        // modules that the guest hasn't loaded
	Same    []string        // modules that the guest has as they are
	Reports []report.Report // what the kernel complained of meanwhile, where that is known

	taint uint64 // of the kernel, before
}

// A SwappedModule is a module that was loaded.
type SwappedModule struct {
	Name       string
	Parameters string   // that it was loaded with
	Lost       []string // parameters that can't be read from the kernel, or given back
}

// A SwapError says why modules weren't replaced.
type SwapError struct {
	Reason  string
	Touched bool // some may have been unloaded or loaded: the guest isn't as it was
}

func (e *SwapError) Error() string { return e.Reason }

func refuse(format string, args ...any) error {
	return &SwapError{Reason: fmt.Sprintf(format, args...)}
}

// swapTime is how long unloading and loading may take. A module's exit that hangs can't be
// interrupted.
const swapTime = 30 * time.Second

// maxAnswer is how much the agent may answer. The guest's root can be anybody.
const maxAnswer = 16 << 20

// Swap replaces modules by the agent at the other end of client. The error is a
// *SwapError where the guest, or its kernel, is the reason. When ctx ends first, its cause
// is returned.
func (s Swap) Swap(ctx context.Context, client *ssh.Client) (*Swapped, error) {
	type answer struct {
		done *Swapped
		err  error
	}
	answered := make(chan answer, 1)
	ctx, cancel := context.WithTimeoutCause(ctx, swapTime, &SwapError{Reason: fmt.Sprintf("the guest hasn't replaced them within %s", swapTime), Touched: true})
	defer cancel()
	go func() {
		done, err := s.swap(client, ctx.Done())
		answered <- answer{done, err}
	}()
	select {
	case a := <-answered:
		return a.done, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// swap does it. The connection ends with stop.
func (s Swap) swap(client *ssh.Client, stop <-chan struct{}) (*Swapped, error) {
	channel, requests, err := client.OpenChannel(guest.ModulesChannel, nil)
	if open := (*ssh.OpenChannelError)(nil); errors.As(err, &open) {
		return nil, errors.New(open.Message)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	go ssh.DiscardRequests(requests)
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-stop:
		case <-over:
		}
		_ = channel.Close()
	}()
	answers := bufio.NewReader(io.LimitReader(channel, maxAnswer))
	var state guest.ModuleState
	if err := readAnswer(answers, &state); err != nil {
		return nil, err
	}
	files := moduleFiles{find: s.File, known: map[string]*moduleFile{}}
	p, err := s.plan(state, &files)
	if err != nil {
		return nil, err
	}
	done := &Swapped{Idle: p.idle, Same: p.same, taint: state.Taint}
	if len(p.plan.Load) == 0 {
		return done, nil
	}
	if err := json.NewEncoder(channel).Encode(p.plan); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	for _, m := range p.plan.Load {
		if _, err := channel.Write(files.known[m.Name].data); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrGone, err)
		}
	}
	var result guest.ModuleResult
	if err := readAnswer(answers, &result); err != nil {
		return nil, err
	}
	// A kernel that complained before is tainted already. That there were too many reports
	// is no reason to tell none.
	done.Reports, _ = report.Parse(strings.NewReader(result.Log))
	said := len(done.Reports) > 0
	for _, c := range complaints {
		if !said && (result.Taint&^state.Taint)>>c.bit&1 != 0 {
			done.Reports = append(done.Reports, report.Report{Title: c.title, Class: c.class})
		}
	}
	for _, m := range p.plan.Load {
		if parameters, ok := result.Parameters[m.Name]; ok {
			done.Modules = append(done.Modules, SwappedModule{Name: m.Name, Parameters: parameters, Lost: slices.Concat(p.lost[m.Name], result.Lost[m.Name])})
		}
	}
	if result.Error != "" {
		return done, &SwapError{Reason: result.Error, Touched: true}
	}
	return done, nil
}

func readAnswer(r *bufio.Reader, to any) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return json.Unmarshal(line, to)
}

// Swap replaces modules in the guest. What the kernel reports meanwhile is in the result.
// What it reported before is none of Reports any more: it was of the modules before.
func (vm *VM) Swap(ctx context.Context, s Swap) (*Swapped, error) {
	mark := vm.console.Mark()
	done, err := s.Swap(ctx, vm.Client())
	if err != nil || len(done.Modules) == 0 {
		return done, err
	}
	vm.Settle()
	if reports := vm.console.Reports(mark); len(reports) > 0 {
		done.Reports = reports
	}
	vm.up.Store(mark)
	vm.taint.restart(done.taint)
	return done, nil
}

// String is the module with its parameters, as in a line for modprobe.
func (m SwappedModule) String() string {
	return strings.TrimSpace(m.Name + " " + m.Parameters)
}
