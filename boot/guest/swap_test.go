// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// note is a section with the build id 0xabcd.
const note = "\x04\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00GNU\x00\xab\xcd"

// table is that of a kernel with three modules, and logs what is done to it.
func table(t *testing.T, log *[]string) *moduleTable {
	t.Helper()
	sys := t.TempDir()
	for path, text := range map[string]string{
		"lib/initstate": "live\n", "lib/refcnt": "2\n", "lib/notes/.note.gnu.build-id": note, "lib/holders/user/x": "",
		"user/initstate": "live\n", "user/refcnt": "0\n",
		"user/parameters/debug": "Y\n", "user/parameters/label": "two words\n", "user/parameters/none": "(null)\n", "user/parameters/empty": "\n",
		"user/parameters/quote": "a\"b\n", "user/parameters/gone": "1\n", "user/parameters/list": "1,2\n",
		"young/initstate":        "coming\n",
		"printk/parameters/time": "Y\n",
	} {
		path = filepath.Join(sys, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &moduleTable{
		sys:      sys,
		messages: func() func() string { return func() string { return strings.Join(*log, "; ") } },
		unload: func(name string) error {
			*log = append(*log, "unload "+name)
			if name == "busy" {
				return unix.EWOULDBLOCK
			}
			return nil
		},
		load: func(image []byte, parameters string) error {
			*log = append(*log, "load "+string(image)+" "+parameters)
			if string(image) == "other" {
				return unix.ENOEXEC
			}
			return nil
		},
	}
}

func TestModuleState(t *testing.T) {
	got := table(t, nil).state()
	want := ModuleState{
		Loaded: []LoadedModule{
			{Name: "lib", Live: true, Users: 2, Holders: []string{"user"}, BuildID: "abcd"},
			{Name: "user", Live: true, Parameters: []string{"debug", "empty", "gone", "label", "list", "none", "quote"}},
			{Name: "young", Users: -1},
		},
		BuiltIn: []string{"printk"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", note[:12], strings.Replace(note, "GNU", "XYZ", 1)} {
		if id := BuildID([]byte(bad)); id != "" {
			t.Errorf("%q has the id %s", bad, id)
		}
	}
}

// duplex is what one end writes, and what it reads.
type duplex struct {
	bytes.Buffer
	in *strings.Reader
}

func (d *duplex) Read(p []byte) (int, error) { return d.in.Read(p) }

func TestModulesAreReplaced(t *testing.T) {
	known := []string{"debug", "label", "none", "empty", "quote", "list"}
	for name, c := range map[string]struct {
		plan   ModulePlan
		files  string
		log    []string
		result ModuleResult
	}{
		"in the plan's order, with their parameters": {
			ModulePlan{Unload: []string{"user", "lib"}, Load: []ModuleFile{{Name: "lib", Size: 3}, {Name: "user", Size: 4, Parameters: known}}},
			"LIBUSER",
			[]string{"unload user", "unload lib", "load LIB ", `load USER debug=Y label="two words" list=1,2`},
			ModuleResult{Parameters: map[string]string{"lib": "", "user": `debug=Y label="two words" list=1,2`}, Lost: map[string][]string{"user": {"quote"}}},
		},
		"one in use": {
			ModulePlan{Unload: []string{"user", "busy", "lib"}, Load: []ModuleFile{{Name: "lib", Size: 3}}},
			"LIB",
			[]string{"unload user", "unload busy"},
			ModuleResult{Error: "busy is in use"},
		},
		"one of another kernel": {
			ModulePlan{Unload: []string{"lib"}, Load: []ModuleFile{{Name: "lib", Size: 5}, {Name: "user", Size: 1}}},
			"otherX",
			[]string{"unload lib", "load other "},
			ModuleResult{Error: "lib is not a module for the guest's kernel; its log says why"},
		},
		"an incomplete file touches nothing": {ModulePlan{Unload: []string{"lib"}, Load: []ModuleFile{{Name: "lib", Size: 5}}}, "LIB", nil, ModuleResult{}},
	} {
		t.Run(name, func(t *testing.T) {
			var log []string
			plan, err := json.Marshal(c.plan)
			if err != nil {
				t.Fatal(err)
			}
			d := &duplex{in: strings.NewReader(string(plan) + "\n" + c.files)}
			err = table(t, &log).serve(d)
			if diff := cmp.Diff(c.log, log); diff != "" {
				t.Errorf("done: %s", diff)
			}
			answers := json.NewDecoder(&d.Buffer)
			var state ModuleState
			if err := answers.Decode(&state); err != nil || state.Release == "" || len(state.Loaded) != 3 {
				t.Errorf("the state: %+v, %v", state, err)
			}
			var result ModuleResult
			if answers.Decode(&result) != nil && err == nil {
				t.Error("no result, and no error")
			}
			if want := strings.Join(c.log, "; "); result.Log != want {
				t.Errorf("the kernel's log is %q, want %q", result.Log, want)
			}
			result.Log, result.Taint = "", 0 // which is this machine's
			if diff := cmp.Diff(c.result, result); diff != "" {
				t.Errorf("result: %s", diff)
			}
		})
	}
}
