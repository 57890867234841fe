// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot/boottest"
	"github.com/metaspace/run-kernel/boot/guest"
)

// builtModules are modules as make would build them, by their names.
func builtModules(t *testing.T) *moduleFiles {
	t.Helper()
	const magic = "vermagic=6.1.0 SMP mod_unload "
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"lib":   boottest.Module("02", magic, "depends=base"),
		"user":  boottest.Module("03", magic, "depends=lib,fresh-one", "parmtype=debug:int", "parm=debug:how much to say", "parmtype=hidden:int", "parmtype=list:array of int", "parm=odd:"),
		"other": boottest.Module("04", magic, "depends=lib"),
		"base":  boottest.Module("05", magic, "depends="), "fresh_one": boottest.Module("", magic, "depends=base"),
		"foreign": boottest.Module("06", "vermagic=6.2.0 SMP"), "lonely": boottest.Module("07", magic, "depends=nowhere"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".ko"), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	find := func(name string) string {
		path := filepath.Join(dir, name+".ko")
		if _, err := os.Stat(path); err != nil {
			return ""
		}
		return path
	}
	return &moduleFiles{find: find, known: map[string]*moduleFile{}}
}

func TestPlanSwap(t *testing.T) {
	live := func(name, id string, users int, holders ...string) guest.LoadedModule {
		return guest.LoadedModule{Name: name, Live: true, BuildID: id, Users: users, Holders: holders}
	}
	user := live("user", "01", 0)
	user.Parameters = []string{"debug", "list", "odd"}
	state := func(modules ...guest.LoadedModule) guest.ModuleState {
		return guest.ModuleState{Release: "6.1.0", Loaded: modules, BuiltIn: []string{"printk"}}
	}
	usual := state(live("base", "05", 1, "lib"), live("lib", "01", 2, "user", "other"), user, live("other", "04", 0))
	tainted := usual
	tainted.Taint = 1 << 7
	harmless := usual
	harmless.Taint = 1<<9 | 1<<12 // a warning, and a module that isn't the kernel's
	for name, c := range map[string]struct {
		state        guest.ModuleState
		names        []string
		unload, load string
		idle, same   []string
		lost         []string // of user
		differing    bool
		refused      string
	}{
		"one that nobody needs": {state: usual, names: []string{"user"}, unload: "user", load: "fresh_one user", lost: []string{"hidden", "odd"}},
		"those that need it are loaded again, though they are as they were": {
			state: usual, names: []string{"lib"}, unload: "user other lib", load: "lib other fresh_one user", lost: []string{"hidden", "odd"},
		},
		"several, once each":    {state: harmless, names: []string{"user", "lib", "other"}, unload: "user other lib", load: "lib other fresh_one user", same: []string{"other"}, lost: []string{"hidden", "odd"}},
		"as it was":             {state: usual, names: []string{"base"}, same: []string{"base"}},
		"not loaded":            {state: usual, names: []string{"fresh_one", "unheard_of"}, idle: []string{"fresh_one", "unheard_of"}},
		"in use":                {state: state(live("lib", "01", 1)), names: []string{"lib"}, refused: "lib is in use"},
		"one that needs it is":  {state: state(live("lib", "01", 1, "other"), live("other", "04", 1)), names: []string{"lib"}, refused: "other is in use"},
		"built in":              {state: usual, names: []string{"printk"}, refused: "printk is built into the guest's kernel"},
		"no unloading":          {state: state(live("lib", "01", -1)), names: []string{"lib"}, refused: "the guest's kernel can't unload modules: CONFIG_MODULE_UNLOAD isn't set"},
		"of another kernel":     {state: state(live("foreign", "01", 0)), names: []string{"foreign"}, refused: "foreign was built for Linux 6.2.0, and the guest runs 6.1.0"},
		"needs what isn't":      {state: state(live("lonely", "01", 0)), names: []string{"lonely"}, refused: "nowhere isn't among the modules that were built"},
		"a holder of elsewhere": {state: state(live("lib", "01", 1, "mine"), live("mine", "", 0)), names: []string{"lib"}, refused: "mine isn't among the modules that were built"},
		"a crash":               {state: tainted, names: []string{"user"}, refused: "the guest's kernel has crashed"},
		"on its way": {
			state: state(guest.LoadedModule{Name: "lib"}), names: []string{"lib"}, refused: "lib is being loaded or unloaded",
		},
		"only those that differ": {
			state: state(live("base", "", 0), live("lib", "01", 0)), names: []string{"base", "lib", "printk2"}, differing: true, unload: "lib", load: "lib",
			idle: []string{"printk2"}, same: []string{"base"},
		},
		"no ids": {state: state(live("base", "", 0)), names: []string{"base"}, unload: "base", load: "base"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Swap{Names: c.names, Differing: c.differing}.plan(c.state, builtModules(t))
			if c.refused != "" {
				var refused *SwapError
				if !errors.As(err, &refused) || refused.Reason != c.refused || refused.Touched {
					t.Errorf("%v, want: %s", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var load []string
			for _, m := range p.plan.Load {
				load = append(load, m.Name)
				if m.Name == "user" {
					if diff := cmp.Diff([]string{"debug", "list"}, m.Parameters); diff != "" {
						t.Errorf("parameters: %s", diff)
					}
				}
			}
			if got := strings.Join(p.plan.Unload, " "); got != c.unload {
				t.Errorf("unloads %s, want %s", got, c.unload)
			}
			if got := strings.Join(load, " "); got != c.load {
				t.Errorf("loads %s, want %s", got, c.load)
			}
			if diff := cmp.Diff([][]string{c.idle, c.same, c.lost}, [][]string{p.idle, p.same, p.lost["user"]}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// modulesAgent is an agent whose kernel has one module. It tells what it was asked for, and
// answers with result; where that is nil, never.
func modulesAgent(t *testing.T, result *guest.ModuleResult) (*ssh.Client, <-chan string) {
	asked := make(chan string, 1)
	client, _ := dialAgent(t, func(c ssh.NewChannel) {
		if c.ChannelType() != guest.ModulesChannel {
			_ = c.Reject(ssh.UnknownChannelType, "no such channel")
			return
		}
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		defer channel.Close()
		_ = json.NewEncoder(channel).Encode(guest.ModuleState{
			Release: "6.1.0", Taint: 1 << 12, Loaded: []guest.LoadedModule{{Name: "base", Live: true, BuildID: "01"}},
		})
		r := bufio.NewReader(channel)
		line, err := r.ReadBytes('\n')
		var plan guest.ModulePlan
		if err != nil || json.Unmarshal(line, &plan) != nil {
			asked <- "nothing"
			return
		}
		file := make([]byte, plan.Load[0].Size)
		if _, err := io.ReadFull(r, file); err != nil {
			return
		}
		m, err := parseModule(file)
		asked <- fmt.Sprint(plan.Unload, plan.Load[0].Name, m.buildID, err)
		if result == nil {
			_, _ = io.Copy(io.Discard, channel)
		}
		_ = json.NewEncoder(channel).Encode(result)
	})
	return client, asked
}

func TestSwap(t *testing.T) {
	s := Swap{Names: []string{"base"}, File: builtModules(t).find}
	client, asked := modulesAgent(t, &guest.ModuleResult{Parameters: map[string]string{"base": "a=1"}, Taint: 1<<12 | 1<<9})
	done, err := s.Swap(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-asked; got != "[base]base05<nil>" {
		t.Errorf("the agent was asked for %s", got)
	}
	if len(done.Modules) != 1 || done.Modules[0].String() != "base a=1" || len(done.Reports) != 1 || !strings.HasPrefix(done.Reports[0].Title, "taint W") {
		t.Errorf("%+v", done)
	}

	// A kernel that complained before, too.
	const log = "4,900,2000000,-;------------[ cut here ]------------\n4,901,2000100,-;WARNING: CPU: 0 PID: 9 at mine.c:7 base_init+0x10/0x20 [base]\n" +
		"4,902,2000200,-;RIP: 0010:base_init+0x10/0x20 [base]\n4,903,2000300,-;---[ end trace 0000000000000000 ]---\n"
	client, _ = modulesAgent(t, &guest.ModuleResult{Parameters: map[string]string{"base": ""}, Log: log, Taint: 1 << 12})
	done, err = s.Swap(t.Context(), client)
	if err != nil || len(done.Reports) != 1 || done.Reports[0].Title != "WARNING in base_init" {
		t.Errorf("%+v, %v", done, err)
	}

	client, asked = modulesAgent(t, nil)
	done, err = Swap{Names: []string{"other"}, File: s.File}.Swap(t.Context(), client)
	if got := <-asked; err != nil || got != "nothing" || len(done.Idle) != 1 {
		t.Errorf("nothing to do: %+v, %v; the agent was asked for %s", done, err, got)
	}

	client, _ = modulesAgent(t, &guest.ModuleResult{Error: "base is in use"})
	var refused *SwapError
	if _, err := s.Swap(t.Context(), client); !errors.As(err, &refused) || !refused.Touched || refused.Reason != "base is in use" {
		t.Errorf("refused: %v", err)
	}

	// A module's exit hangs.
	client, asked = modulesAgent(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	go func() {
		<-asked
		cancel(enough)
	}()
	if _, err := s.Swap(ctx, client); !errors.Is(err, enough) {
		t.Errorf("cancelled: %v", err)
	}

	// An older agent.
	client, _ = dialAgent(t, func(c ssh.NewChannel) { _ = c.Reject(ssh.UnknownChannelType, "only sessions") })
	if _, err := s.Swap(t.Context(), client); err == nil || err.Error() != "only sessions" {
		t.Errorf("an older agent: %v", err)
	}
}
