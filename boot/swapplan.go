// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/internal/elffile"
)

// A swapPlan is what a swap will do.
type swapPlan struct {
	plan       guest.ModulePlan
	idle, same []string
	lost       map[string][]string

	state    guest.ModuleState
	files    *moduleFiles
	loaded   map[string]*guest.LoadedModule // by name
	unloaded map[string]bool                // of these, what is planned to be unloaded
	wanted   map[string]bool                // what is planned to be loaded
}

// crashed are the bits of taint of a kernel in which nothing is certain any more: a bad
// page and an oops.
const crashed = 1<<5 | 1<<7

// plan says how modules are replaced in a guest: each that is loaded is unloaded after
// those that need it, and these are loaded again after it. A module that needs another one
// now gets it.
func (s Swap) plan(state guest.ModuleState, files *moduleFiles) (*swapPlan, error) {
	p := &swapPlan{
		lost: map[string][]string{}, state: state, files: files,
		loaded: map[string]*guest.LoadedModule{}, unloaded: map[string]bool{}, wanted: map[string]bool{},
	}
	for i := range state.Loaded {
		p.loaded[state.Loaded[i].Name] = &state.Loaded[i]
	}
	for _, name := range s.Names {
		m := p.loaded[name]
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
		if err := p.unload(name); err != nil {
			return nil, err
		}
	}
	if len(p.plan.Unload) > 0 && state.Taint&crashed != 0 {
		return nil, refuse("the guest's kernel has crashed")
	}
	for _, name := range slices.Backward(p.plan.Unload) {
		if err := p.load(name); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// unload plans to unload a module, after those that need it.
func (p *swapPlan) unload(name string) error {
	m := p.loaded[name]
	switch {
	case p.unloaded[name]:
		return nil
	case m == nil || !m.Live:
		return refuse("%s is being loaded or unloaded", name)
	case m.Users < 0:
		return refuse("the guest's kernel can't unload modules: CONFIG_MODULE_UNLOAD isn't set")
	case m.Users > len(m.Holders):
		return refuse("%s is in use", name)
	}
	p.unloaded[name] = true
	for _, h := range m.Holders {
		if err := p.unload(h); err != nil {
			return err
		}
	}
	p.plan.Unload = append(p.plan.Unload, name)
	return nil
}

// load plans to load a module, after those that it needs. One that was loaded keeps the
// parameters that the kernel shows as it takes them.
func (p *swapPlan) load(name string) error {
	if p.wanted[name] || p.loaded[name] != nil && !p.unloaded[name] {
		return nil
	}
	p.wanted[name] = true
	f, err := p.files.get(name)
	if err != nil {
		return err
	}
	if f.release != p.state.Release {
		return refuse("%s was built for Linux %s, and the guest runs %s", name, f.release, p.state.Release)
	}
	for _, need := range f.needs {
		if err := p.load(need); err != nil {
			return err
		}
	}
	var kept []string
	for _, parameter := range f.parameters {
		switch {
		case p.loaded[name] == nil:
		case f.plain[parameter] && slices.Contains(p.loaded[name].Parameters, parameter):
			kept = append(kept, parameter)
		default:
			p.lost[name] = append(p.lost[name], parameter)
		}
	}
	p.plan.Load = append(p.plan.Load, guest.ModuleFile{Name: name, Size: int64(len(f.data)), Parameters: kept})
	return nil
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
	f, err := elffile.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("not a kernel module")
	}
	text, err := elffile.Data(section)
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
		if note, err := elffile.Data(section); err == nil {
			m.buildID = guest.BuildID(note)
		}
	}
	return m, nil
}
