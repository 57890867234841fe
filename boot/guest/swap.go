// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// A moduleTable is the kernel's, or a test's.
type moduleTable struct {
	sys    string // /sys/module
	unload func(name string) error
	load   func(image []byte, parameters string) error
	// messages begins to collect what the kernel logs, and since returns that.
	messages func() (since func() string)
}

// kernelModules is the table of the kernel that runs.
var kernelModules = moduleTable{
	sys:    "/sys/module",
	unload: func(name string) error { return unix.DeleteModule(name, unix.O_NONBLOCK) },
	load:   unix.InitModule,

	messages: kernelMessages,
}

// serveModules replaces modules for the host, by a plan of its own.
func serveModules(c ssh.NewChannel) {
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	go ssh.DiscardRequests(requests)
	_ = kernelModules.serve(channel) // the host sees the channel's end
}

func (t *moduleTable) serve(channel io.ReadWriter) error {
	state := t.state()
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		state.Release = unix.ByteSliceToString(name.Release[:])
	}
	state.Taint = taint().Taint
	if err := json.NewEncoder(channel).Encode(state); err != nil {
		return err
	}
	r := bufio.NewReader(channel)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err // it only wanted to know
	}
	var plan ModulePlan
	if err := json.Unmarshal(line, &plan); err != nil {
		return err
	}
	images := make([][]byte, len(plan.Load))
	for i, m := range plan.Load {
		// All of them before the first is unloaded: the host may end meanwhile.
		images[i] = make([]byte, m.Size)
		if _, err := io.ReadFull(r, images[i]); err != nil {
			return err
		}
	}
	since := t.messages()
	result := t.carryOut(plan, images)
	result.Log, result.Taint = since(), taint().Taint
	return json.NewEncoder(channel).Encode(result)
}

// state lists the modules that the kernel has, in the order of their names.
func (t *moduleTable) state() ModuleState {
	var s ModuleState
	entries, _ := os.ReadDir(t.sys) // without it, there is none
	for _, e := range entries {
		dir := filepath.Join(t.sys, e.Name())
		live, err := os.ReadFile(filepath.Join(dir, "initstate"))
		if errors.Is(err, os.ErrNotExist) {
			s.BuiltIn = append(s.BuiltIn, e.Name())
			continue
		}
		m := LoadedModule{Name: e.Name(), Live: strings.TrimSpace(string(live)) == "live", Users: -1}
		if text, err := os.ReadFile(filepath.Join(dir, "refcnt")); err == nil {
			if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				m.Users = n
			}
		}
		holders, _ := os.ReadDir(filepath.Join(dir, "holders"))
		for _, h := range holders {
			m.Holders = append(m.Holders, h.Name())
		}
		parameters, _ := os.ReadDir(filepath.Join(dir, "parameters"))
		for _, p := range parameters {
			m.Parameters = append(m.Parameters, p.Name())
		}
		note, _ := os.ReadFile(filepath.Join(dir, "notes/.note.gnu.build-id"))
		m.BuildID = BuildID(note)
		s.Loaded = append(s.Loaded, m)
	}
	return s
}

// BuildID returns what a section .note.gnu.build-id says, in hexadecimal; nothing, where
// it isn't one. See "Note Section" in elf(5): lengths of the name and of what it says, the
// type, and both of these.
func BuildID(note []byte) string {
	const header, name = 12, "GNU\x00"
	if len(note) < header+len(name) || string(note[header:header+len(name)]) != name {
		return ""
	}
	id := note[header+len(name):]
	size := min(binary.NativeEndian.Uint32(note[4:]), uint32(len(id)))
	return hex.EncodeToString(id[:size])
}

// carryOut unloads and loads what a plan says.
func (t *moduleTable) carryOut(plan ModulePlan, images [][]byte) ModuleResult {
	r := ModuleResult{Parameters: map[string]string{}, Lost: map[string][]string{}}
	kept := map[string]map[string]string{}
	for _, name := range plan.Unload {
		kept[name] = t.parameters(name)
		if err := t.unload(name); err != nil {
			r.Error = unloadError(name, err)
			return r
		}
	}
	for i, m := range plan.Load {
		parameters, lost := parameterLine(kept[m.Name], m.Parameters)
		if err := t.load(images[i], parameters); err != nil {
			r.Error = loadError(m.Name, parameters, err)
			return r
		}
		images[i] = nil
		r.Parameters[m.Name] = parameters
		if lost != nil {
			r.Lost[m.Name] = lost
		}
	}
	return r
}

func unloadError(name string, err error) string {
	switch {
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EBUSY):
		return name + " is in use"
	case errors.Is(err, unix.ENOENT):
		return name + " was unloaded meanwhile"
	}
	return fmt.Sprintf("%s can't be unloaded: %v", name, err)
}

func loadError(name, parameters string, err error) string {
	switch {
	case errors.Is(err, unix.ENOEXEC):
		return name + " is not a module for the guest's kernel; its log says why"
	case errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYREJECTED):
		return name + " isn't signed as the guest's kernel wants it"
	case errors.Is(err, unix.EEXIST):
		return name + " was loaded meanwhile"
	case parameters != "":
		return fmt.Sprintf("%s can't be loaded with %s: %v", name, parameters, err)
	}
	return fmt.Sprintf("%s can't be loaded: %v", name, err)
}

// noText is what the kernel shows for a parameter that is a string, and has none: the
// text of printk for a null pointer.
const noText = "(null)"

// parameters reads those of a module that can be read, and have a value. An array without
// elements has none, and the kernel wouldn't take it back.
func (t *moduleTable) parameters(name string) map[string]string {
	dir := filepath.Join(t.sys, name, "parameters")
	entries, _ := os.ReadDir(dir) // a module without any has no such directory
	values := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if value := strings.TrimSuffix(string(text), "\n"); err == nil && value != noText && value != "" {
			values[e.Name()] = value
		}
	}
	return values
}

// parameterLine writes parameters as the kernel reads them: next_arg in lib/cmdline.c
// knows double quotes, and nothing that stands for one. Those with such a value are lost.
func parameterLine(values map[string]string, known []string) (line string, lost []string) {
	var words []string
	for name, value := range values {
		switch {
		case !slices.Contains(known, name):
			continue
		case strings.ContainsAny(value, "\"\n"):
			lost = append(lost, name)
			continue
		case strings.ContainsAny(value, " \t"):
			value = `"` + value + `"`
		}
		words = append(words, name+"="+value)
	}
	slices.Sort(words)
	slices.Sort(lost)
	return strings.Join(words, " "), lost
}
