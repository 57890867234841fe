// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
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
	done := &Swapped{Idle: p.idle, Same: p.same}
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
	for _, c := range complaints {
		if (result.Taint&^state.Taint)>>c.bit&1 != 0 {
			done.Reports = append(done.Reports, report.Report{Title: c.title, Class: c.class})
		}
	}
	for _, m := range p.plan.Load {
		if parameters, ok := result.Parameters[m.Name]; ok {
			done.Modules = append(done.Modules, SwappedModule{Name: m.Name, Parameters: parameters, Lost: p.lost[m.Name]})
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

// A swapPlan is what a swap will do.
type swapPlan struct {
	plan       guest.ModulePlan
	idle, same []string
	lost       map[string][]string
}

// crashed are the bits of taint of a kernel in which nothing is certain any more: a bad
// page and an oops.
const crashed = 1<<5 | 1<<7

// plan says how modules are replaced in a guest: each that is loaded is unloaded after
// those that need it, and these are loaded again after it. A module that needs another one
// now gets it.
func (s Swap) plan(state guest.ModuleState, files *moduleFiles) (*swapPlan, error) {
	p := &swapPlan{lost: map[string][]string{}}
	loaded := map[string]*guest.LoadedModule{}
	for i := range state.Loaded {
		loaded[state.Loaded[i].Name] = &state.Loaded[i]
	}
	unloaded := map[string]bool{}
	// unload plans to unload a module, after those that need it.
	var unload func(name string) error
	unload = func(name string) error {
		m := loaded[name]
		switch {
		case unloaded[name]:
			return nil
		case m == nil || !m.Live:
			return refuse("%s is being loaded or unloaded", name)
		case m.Users < 0:
			return refuse("the guest's kernel can't unload modules: CONFIG_MODULE_UNLOAD isn't set")
		case m.Users > len(m.Holders):
			return refuse("%s is in use", name)
		}
		unloaded[name] = true
		for _, h := range m.Holders {
			if err := unload(h); err != nil {
				return err
			}
		}
		p.plan.Unload = append(p.plan.Unload, name)
		return nil
	}
	for _, name := range s.Names {
		m := loaded[name]
		if m == nil {
			if slices.Contains(state.BuiltIn, name) {
				return nil, refuse("%s is built into the guest's kernel", name)
			}
			p.idle = append(p.idle, name)
			continue
		}
		f, err := files.get(name)
		if err != nil {
			return nil, err
		}
		if f.buildID != "" && f.buildID == m.BuildID || s.Differing && (f.buildID == "" || m.BuildID == "") {
			p.same = append(p.same, name)
			continue
		}
		if err := unload(name); err != nil {
			return nil, err
		}
	}
	if len(p.plan.Unload) > 0 && state.Taint&crashed != 0 {
		return nil, refuse("the guest's kernel has crashed")
	}
	wanted := map[string]bool{}
	var load func(name string) error
	load = func(name string) error {
		if wanted[name] || loaded[name] != nil && !unloaded[name] {
			return nil
		}
		wanted[name] = true
		f, err := files.get(name)
		if err != nil {
			return err
		}
		if f.release != state.Release {
			return refuse("%s was built for Linux %s, and the guest runs %s", name, f.release, state.Release)
		}
		for _, need := range f.needs {
			if err := load(need); err != nil {
				return err
			}
		}
		var kept []string
		for _, parameter := range f.parameters {
			switch {
			case loaded[name] == nil:
			case f.plain[parameter] && slices.Contains(loaded[name].Parameters, parameter):
				kept = append(kept, parameter)
			default:
				p.lost[name] = append(p.lost[name], parameter)
			}
		}
		p.plan.Load = append(p.plan.Load, guest.ModuleFile{Name: name, Size: int64(len(f.data)), Parameters: kept})
		return nil
	}
	for _, name := range slices.Backward(p.plan.Unload) {
		if err := load(name); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// A moduleFile is a module as make built it.
type moduleFile struct {
	data       []byte
	release    string // of the kernel that it is for
	needs      []string
	parameters []string
	plain      map[string]bool // parameters that the kernel shows as it takes them
	buildID    string
}

// moduleFiles are read once each.
type moduleFiles struct {
	find  func(name string) string
	known map[string]*moduleFile
}

func (f *moduleFiles) get(name string) (*moduleFile, error) {
	if m := f.known[name]; m != nil {
		return m, nil
	}
	path := f.find(name)
	if path == "" {
		return nil, refuse("%s isn't among the modules that were built", name)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := parseModule(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.known[name] = m
	return m, nil
}

// plainTypes are those of parameters that the kernel shows as it takes them; see
// module_param in include/linux/moduleparam.h.
var plainTypes = []string{
	"byte", "short", "ushort", "int", "uint", "long", "ulong", "ullong", "hexint", "charp", "string", "bool", "invbool", "bint",
}

// parseModule reads what a module says of itself in its section .modinfo: words of the
// form key=value, each with a zero byte at its end.
func parseModule(data []byte) (*moduleFile, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("not a kernel module")
	}
	text, err := section.Data()
	if err != nil {
		return nil, err
	}
	m := &moduleFile{data: data, plain: map[string]bool{}}
	names := map[string]bool{}
	for word := range strings.SplitSeq(string(text), "\x00") {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "vermagic":
			m.release, _, _ = strings.Cut(value, " ")
		case "depends":
			for need := range strings.SplitSeq(value, ",") {
				if need != "" {
					m.needs = append(m.needs, strings.ReplaceAll(need, "-", "_"))
				}
			}
		case "parm", "parmtype":
			name, kind, _ := strings.Cut(value, ":")
			names[name] = true
			if key == "parmtype" {
				m.plain[name] = slices.Contains(plainTypes, strings.TrimPrefix(kind, "array of "))
			}
		}
	}
	m.parameters = slices.Sorted(maps.Keys(names))
	if section := f.Section(".note.gnu.build-id"); section != nil {
		if note, err := section.Data(); err == nil {
			m.buildID = guest.BuildID(note)
		}
	}
	return m, nil
}

// Swap replaces modules in the guest. What the kernel reports meanwhile is in the result.
func (vm *VM) Swap(ctx context.Context, s Swap) (*Swapped, error) {
	mark := vm.console.Mark()
	done, err := s.Swap(ctx, vm.Client())
	if err != nil || len(done.Modules) == 0 {
		return done, err
	}
	vm.console.Settle(quietTime, settleTime)
	if reports := vm.console.Reports(mark); len(reports) > 0 {
		done.Reports = reports
	}
	return done, nil
}

// String is the module with its parameters, as in a line for modprobe.
func (m SwappedModule) String() string {
	return strings.TrimSpace(m.Name + " " + m.Parameters)
}
