// SPDX-License-Identifier: GPL-3.0-only

package explain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model/modeltest"
)

const text = `config MODULES
	bool "modules"
	modules
	default y
menu "m"
	depends on BUS
config A
	tristate "a"
	depends on ARM || B
	select S
	help
	  What A is.
endmenu
config BUS
	bool "bus"
config B
	tristate "b" if BUS
	default m
config S
	tristate
config I
	bool
	depends on BUS
config X
	bool "x"
	imply I
choice
	prompt "c"
config C1
	bool "c1"
config C2
	bool "c2"
endchoice
config N
	int "n"
	range 1 8 if BUS
	default 3
config D
	def_bool B
	depends on !BUS
config LONELY
	bool
`

func explain(t *testing.T, config, name, want string) *Explanation {
	t.Helper()
	m := modeltest.New(t, text)
	f, err := kconfig.Parse(".config", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	var wanted *kconfig.Requirement
	if want != "" {
		r, err := kconfig.ParseRequire(name + "=" + want)
		if err != nil {
			t.Fatal(err)
		}
		wanted = &r
	}
	e, err := Explain(m, f, m.Lookup(name), wanted)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWhy(t *testing.T) {
	for _, c := range []struct{ config, name, value, why, at string }{
		{"CONFIG_BUS=y\nCONFIG_A=y\nCONFIG_B=y\n", "A", "y", ".config says so", ""},
		{"CONFIG_BUS=y\nCONFIG_A=y\nCONFIG_B=m\n", "A", "m", ".config says so, and its dependencies allow no more than m", ""},
		{"CONFIG_BUS=y\nCONFIG_A=y\nCONFIG_B=y\n", "S", "y", "it is selected by A", "Kconfig:10"},
		{"", "A", "n", "it depends on BUS [=n]", "Kconfig:6"},
		{"CONFIG_BUS=y\n# CONFIG_B is not set\n", "A", "n", "it depends on ARM [not defined] || B [=n]", "Kconfig:9"},
		{"", "B", "m", "its default is m", "Kconfig:18"},
		{"", "S", "n", "nothing that selects it is set, and it has no prompt", ""},
		{"CONFIG_BUS=y\nCONFIG_X=y\n", "I", "y", "it is implied by X", "Kconfig:26"},
		{"", "C1", "y", "it is what its choice came to", ""},
		{"CONFIG_C2=y\n", "C1", "n", "its choice came to C2", "Kconfig:31"},
		{"", "N", "3", "its default is 3", "Kconfig:37"},
		{"CONFIG_BUS=y\n", "D", "n", "it depends on !BUS [=y]", "Kconfig:40"},
		{"", "LONELY", "n", "nothing sets it", ""},
		{"", "ARM", "", "no Kconfig file that belongs to this architecture defines it", ""},
	} {
		e := explain(t, c.config, c.name, "")
		if e.Value != c.value || e.Why.Text != c.why || e.Why.At != c.at {
			t.Errorf("%q: %s is %q: %q at %q; want %q: %q at %q", c.config, c.name, e.Value, e.Why.Text, e.Why.At, c.value, c.why, c.at)
		}
	}
}

func TestPlaces(t *testing.T) {
	e := explain(t, "CONFIG_BUS=y\n", "A", "y")
	want := []Place{{
		At: "Kconfig:7", Prompt: "a", Visible: "m", Help: "What A is.",
		Depends: []Term{{Text: "ARM [not defined] || B [=m]", Value: "m", At: "Kconfig:9"}, {Text: "BUS [=y]", Value: "y", At: "Kconfig:6"}},
	}}
	if diff := cmp.Diff(want, e.Places); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Link{{Symbol: "S", Value: "n", At: "Kconfig:10"}}, e.Selects); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&Path{Want: "y", Require: "A=y", Settings: []kconfig.Setting{
		{Symbol: "B", Value: "y", For: "A", At: "Kconfig:7"}, {Symbol: "A", Value: "y"},
	}}, e.Path); diff != "" {
		t.Error(diff)
	}
	if e = explain(t, "", "B", ""); !e.Places[0].Depends[0].Prompt || e.Path != nil {
		t.Errorf("%+v", e)
	}
	if e = explain(t, "", "N", "9"); len(e.Path.Settings) != 1 {
		t.Errorf("without a range: %+v", e.Path)
	}
	if e = explain(t, "CONFIG_BUS=y\n", "N", "9"); len(e.Path.Settings) != 2 || e.Path.Settings[0].Symbol != "BUS" || e.Path.Settings[0].Value != "n" {
		t.Errorf("with a range, which depends on BUS: %+v", e.Path)
	}
	if e = explain(t, "CONFIG_BUS=y\nCONFIG_X=y\n", "S", "y"); len(e.SelectedBy) != 1 || e.SelectedBy[0].Symbol != "A" {
		t.Errorf("%+v", e.SelectedBy)
	}
}

func parsed(t *testing.T, text string) *kconfig.File {
	t.Helper()
	f, err := kconfig.Parse(".config", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What a user decided comes before what follows from it.
func TestDiff(t *testing.T) {
	m := modeltest.New(t, text)
	var got []string
	for _, d := range Diff(m, parsed(t, "CONFIG_C2=y\n"), parsed(t, "CONFIG_BUS=y\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C1=y\n# CONFIG_C2 is not set\n")) {
		who := "follows"
		if d.User {
			who = "user"
		}
		got = append(got, d.Symbol+" "+d.From+" -> "+d.To+" "+who+": "+d.WhyFrom.Text+" / "+d.WhyTo.Text)
	}
	if d := cmp.Diff([]string{
		"A  -> y user: it depends on BUS [=n] / .config says so",
		"BUS n -> y user: nothing sets it / .config says so",
		"B m -> y user: its default is m / .config says so",
		"C2 y -> n user: it is what its choice came to / its choice came to C1",
		"S  -> y follows: nothing that selects it is set, and it has no prompt / it is selected by A",
		"C1 n -> y follows: its choice came to C2 / it is what its choice came to",
		"D y ->  follows: its default is B [=m] / it depends on !BUS [=y]",
	}, got); d != "" {
		t.Error(d)
	}
}

func TestSearch(t *testing.T) {
	m := modeltest.New(t, text)
	for words, want := range map[string]string{
		"C1":     "C1 name",
		"a":      "A name",
		"bus":    "BUS name",
		"A IS":   "A help",
		"absent": "",
	} {
		got := ""
		for i, match := range Search(m, m.NewState(), strings.Fields(words)) {
			if i < 2 {
				if i > 0 {
					got += ", "
				}
				got += match.Symbol + " " + match.In
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", words, got, want)
		}
	}
}
