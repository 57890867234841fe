// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/arch"
)

func TestEmbeddedGroups(t *testing.T) {
	names := GroupNames()
	if len(names) < 5 {
		t.Fatalf("only %v are embedded", names)
	}
	chosen := map[string]bool{"debug": true, "kasan": true, "kcsan": true, "lockdep": true, "bpf": true, "kunit": true, "tracing": true}
	kernels := []string{""}
	for _, a := range arch.Guests() {
		kernels = append(kernels, a.Kernel)
	}
	for _, arch := range kernels {
		groups, err := Groups(arch, map[string]string{"smp": "8"}, names...)
		if err != nil {
			t.Fatal(err)
		}
		var lists [][]Requirement
		seen := make(map[string]Requirement)
		for _, g := range groups {
			if g.Description == "" {
				t.Errorf("%s: no description", g.Name)
			}
			for _, r := range g.Requirements {
				at := arch + " " + g.Name + " " + r.Symbol
				if r.Why == "" || r.Symptom == "" || r.Group != g.Name {
					t.Errorf("%s: why %q, symptom %q, group %q", at, r.Why, r.Symptom, r.Group)
				}
				if !validValue(r.Want.Value) || r.Want.Min && number(r.Want.Value) == nil {
					t.Errorf("%s: value %q", at, r.Want.Value)
				}
				if strings.Contains(r.Why+r.Symptom, "#") && !strings.Contains(r.Why, "#!") {
					t.Errorf("%s: an annotation is part of the text: %q", at, r.Why+r.Symptom)
				}
				// What is optional in one group, another may insist on. Those that users
				// choose stand for themselves.
				if old, ok := seen[r.Symbol]; arch != "" && ok && old.Optional == r.Optional && !chosen[g.Name] && !chosen[old.Group] {
					t.Errorf("%s: it is in %s, too", at, old.Group)
				}
				seen[r.Symbol] = r
			}
			lists = append(lists, g.Requirements)
		}
		if _, err := Merge(lists...); err != nil {
			t.Errorf("%s: %v", arch, err)
		}
	}
}

// Notes that are misspelt would silently become architectures.
func TestEmbeddedAnnotations(t *testing.T) {
	known := map[string]bool{"optional": true, "seen": true, "m": true, "min": true}
	for _, a := range arch.Guests() {
		known[a.Kernel] = true
	}
	for _, name := range GroupNames() {
		data, err := profiles.ReadFile("profile/" + name + ".config")
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(data)) {
			if notes, ok := strings.CutPrefix(l, "#:"); ok {
				for _, n := range strings.Fields(notes) {
					room, atLeast := strings.CutPrefix(n, "min:")
					if !known[n] && !(atLeast && number(room) != nil) && !strings.HasPrefix(n, "before:") {
						t.Errorf("%s: unknown annotation %q", name, n)
					}
				}
			}
		}
	}
}

func TestGroupsErrors(t *testing.T) {
	if _, err := Groups("x86", nil, "nonesuch"); err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("unknown group: got %v", err)
	}
	if _, err := Groups("x86", nil, "base"); err == nil || !strings.Contains(err.Error(), "smp") {
		t.Errorf("missing variable: got %v", err)
	}
}

const profile = `# What the group
# is for.

# Reason of A,
# on two lines.
# Without: no A,
# at all
CONFIG_A=y
# Without: no B
CONFIG_B=m

#: m optional seen before:6.2
# Reason of C.
# Without: no C
CONFIG_C=y

#: x86 arm64
# Reason of D.
CONFIG_D="d"
#: min
CONFIG_E=0x8

# Reason of F.
# CONFIG_F is not set
`

func TestParseProfile(t *testing.T) {
	got, err := parseProfile("g", "x86", profile, false)
	if err != nil {
		t.Fatal(err)
	}
	want := Group{Name: "g", Description: "What the group is for.", Requirements: []Requirement{
		{Symbol: "A", Want: Want{Value: "y"}, Group: "g", Why: "Reason of A, on two lines.", Symptom: "no A, at all"},
		{Symbol: "B", Want: Want{Value: "m"}, Group: "g", Why: "Reason of A, on two lines.", Symptom: "no B"},
		{Symbol: "C", Want: Want{Value: "y", Module: true}, Optional: true, Group: "g", Why: "Reason of C.", Symptom: "no C", SymptomSeen: true, Before: "6.2"},
		{Symbol: "D", Want: Want{Value: `"d"`}, Group: "g", Why: "Reason of D."},
		{Symbol: "E", Want: Want{Value: "0x8", Min: true}, Group: "g", Why: "Reason of D."},
		{Symbol: "F", Want: Want{Value: "n"}, Group: "g", Why: "Reason of F."},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for arch, n := range map[string]int{"x86": 6, "arm64": 6, "riscv": 5, "": 6} {
		if g, err := parseProfile("g", arch, profile, false); err != nil || len(g.Requirements) != n {
			t.Errorf("%s: got %d requirements (%v), want %d", arch, len(g.Requirements), err, n)
		}
	}
}

func TestFragment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "debug.config")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# Find bugs.\r\nCONFIG_KASAN=y\r\n# CONFIG_KASLR is not set\r\n\r\nCONFIG_X=\"${HOME}\"\r\n")
	got, err := Fragment(path, "x86")
	if err != nil {
		t.Fatal(err)
	}
	want := []Requirement{
		{Symbol: "KASAN", Want: Want{Value: "y"}, Group: path, Why: "Find bugs."},
		{Symbol: "KASLR", Want: Want{Value: "n"}, Group: path, Why: "Find bugs."},
		{Symbol: "X", Want: Want{Value: `"${HOME}"`}, Group: path, Why: "asked for"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// As conf has it: the last line of an option counts.
	write("CONFIG_A=y\nCONFIG_B=y\n# Not so fast.\nCONFIG_A=m\n")
	if got, err = Fragment(path, "x86"); err != nil || len(got) != 2 || got[1].Symbol != "A" || got[1].Want.Value != "m" || got[1].Why != "Not so fast." {
		t.Errorf("an option that comes twice: %+v, %v", got, err)
	}
	// What a fragment wants as a module may be built in, unless it insists.
	write("CONFIG_A=m\n#: exact\nCONFIG_B=m\n")
	if got, err = Fragment(path, "x86"); err != nil || len(got) != 2 || !got[0].Want.Met("y") || !got[0].Want.Met("m") || got[0].Want.Met("n") || got[1].Want.Met("y") {
		t.Errorf("modules: %+v, %v", got, err)
	}
	write("CONFIG_A=y\nbroken\n")
	var syntax *SyntaxError
	if _, err := Fragment(path, "x86"); !errors.As(err, &syntax) || syntax.Line != 2 || syntax.Path != path {
		t.Errorf("broken: got %v", err)
	}
	// conf reads \b as b.
	write("CONFIG_A=\"a\\b\"\n")
	if got, err = Fragment(path, "x86"); err != nil || len(got) != 1 || got[0].Want.Value != `"ab"` {
		t.Errorf("a backslash: %+v, %v", got, err)
	}
	// An annotation with a slip in it isn't passed over.
	write("CONFIG_A=y\n#: exakt\nCONFIG_B=m\n")
	if _, err := Fragment(path, "x86"); err == nil || !strings.HasPrefix(err.Error(), path+`:2: there is no annotation "exakt"; there are optional, m, exact, `) {
		t.Errorf("an unknown annotation: got %v", err)
	}
	write("#: x86 optional min:8 before:6.2 seen\nCONFIG_A=4\n")
	if got, err = Fragment(path, "x86"); err != nil || len(got) != 1 || !got[0].Optional || got[0].Want.Room != "8" {
		t.Errorf("annotations: %+v, %v", got, err)
	}
	write("#: arm64\nCONFIG_A=y\n#: x86\nCONFIG_B=y\nCONFIG_C=y\n")
	for arch, want := range map[string]string{"x86": "BC", "arm64": "AC", "": "ABC"} {
		symbols := ""
		got, err := Fragment(path, arch)
		for _, r := range got {
			symbols += r.Symbol
		}
		if symbols != want || err != nil {
			t.Errorf("for %s: got %s, %v", arch, symbols, err)
		}
	}
	if _, err := Fragment(path+".absent", ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: got %v", err)
	}
}
