// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model/modeltest"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

func requirements(t *testing.T, text string) []kconfig.Requirement {
	t.Helper()
	var list []kconfig.Requirement
	for _, word := range strings.Fields(text) {
		fragment := strings.HasSuffix(word, "=m|y")
		r, err := kconfig.ParseRequire(strings.TrimSuffix(word, "|y"))
		if err != nil {
			t.Fatal(err)
		}
		r.Want.Builtin = fragment
		list = append(list, r)
	}
	return list
}

func TestSolve(t *testing.T) {
	for _, c := range []struct {
		name, text, config, require string

		want    string // the settings, and for what
		refused string // the proof
	}{
		{name: "a prompt", text: "config A\n\tbool \"a\"\n", require: "A=y", want: "A=y"},
		{name: "nothing to do", text: "config A\n\tbool \"a\"\n\tdefault y\n", require: "A=y"},
		{
			name: "dependencies come first", text: "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\nconfig C\n\tbool \"c\"\n\tdepends on B\n",
			require: "C=y", want: "A=y for B, B=y for C, C=y",
		},
		{
			name: "the fewest", text: "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\nconfig C\n\tbool \"c\"\nconfig D\n\tbool \"d\"\n\tdepends on B || C\n",
			require: "D=y", want: "C=y for D, D=y",
		},
		{
			name: "what is required costs nothing", text: "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\nconfig C\n\tbool \"c\"\nconfig D\n\tbool \"d\"\n\tdepends on B || C\n",
			require: "D=y A=y B=y", want: "A=y, B=y, D=y",
		},
		{
			name: "EXPERT comes last", text: "config EXPERT\n\tbool \"e\"\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\nconfig C\n\tbool \"c\"\n\tdepends on EXPERT || B\n",
			require: "C=y", want: "A=y for B, B=y for C, C=y",
		},
		{
			name: "what the user declined comes after what nobody spoke of", text: "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nconfig C\n\tbool \"c\"\n\tdepends on A || B\n",
			config: "# CONFIG_A is not set\n", require: "C=y", want: "B=y for C, C=y",
		},
		{
			name: "a selector", text: "config A\n\tbool\n\tdepends on X\nconfig X\n\tbool \"x\"\nconfig B\n\tbool \"b\"\n\tselect A\n",
			require: "A=y", want: "B=y for A, X=y for A",
		},
		{
			name: "a default", text: "config A\n\tbool\n\tdefault y if B\nconfig B\n\tbool \"b\"\n",
			require: "A=y", want: "B=y for A",
		},
		{
			name: "a default that another one hides", text: "config A\n\tbool\n\tdefault n if C\n\tdefault y if B\nconfig B\n\tbool \"b\"\nconfig C\n\tbool \"c\"\n\tdefault y\n",
			require: "A=y", want: "B=y for A, C=n for A",
		},
		{
			name: "a default doesn't help where .config says no", text: "config A\n\tbool \"a\"\n\tdefault y if B\nconfig B\n\tbool \"b\"\n",
			config: "# CONFIG_A is not set\n", require: "A=y", want: "A=y",
		},
		{
			name: "a negation", text: "config A\n\tbool \"a\"\n\tdefault y\nconfig B\n\tbool \"b\"\n\tdepends on !A\n",
			require: "B=y", want: "A=n for B, B=y",
		},
		{
			name: "a negation of what is selected", text: "config S\n\tbool \"s\"\n\tdefault y\n\tselect A\nconfig A\n\tbool\nconfig B\n\tbool \"b\"\n\tdepends on !A\n",
			require: "B=y", want: "S=n for A, B=y",
		},
		{
			name: "a comparison", text: "config A\n\tint \"a\"\n\tdefault 1\nconfig B\n\tbool \"b\"\n\tdepends on A > 3\n",
			require: "B=y", want: "A=4 for B, B=y",
		},
		{
			name: "modules", text: "config MODULES\n\tbool \"m\"\n\tmodules\nconfig A\n\ttristate \"a\"\n\tdepends on m\n",
			require: "A=m", want: "MODULES=y for A, A=m",
		},
		{
			name: "a module that something needs as well", text: "config MODULES\n\tbool \"m\"\n\tmodules\nconfig A\n\ttristate \"a\"\nconfig B\n\ttristate \"b\"\n\tdepends on A\n",
			require: "B=m A=m", want: "MODULES=y for B, A=m, B=m",
		},
		{name: "y where a fragment has m", text: "config A\n\ttristate \"a\"\n\tdefault y\n", require: "A=m|y"},
		{
			name: "rather the module", text: "config MODULES\n\tbool \"m\"\n\tdefault y\n\tmodules\nconfig A\n\ttristate \"a\"\n",
			require: "A=m|y", want: "A=m",
		},
		{
			name: "y without modules", text: "config MODULES\n\tbool \"m\"\n\tmodules\nconfig A\n\ttristate \"a\"\n",
			require: "A=m|y", want: "A=y",
		},
		{
			name: "a module will do", text: "config MODULES\n\tbool \"m\"\n\tdefault y\n\tmodules\nconfig A\n\ttristate \"a\"\n\tdefault m\nconfig B\n\ttristate \"b\"\n\tdepends on A\n",
			config: "CONFIG_A=m\n", require: "B=y|m", want: "B=m",
		},
		{
			name: "what a choice's member selects", text: "config D\n\tbool \"d\"\n\tdefault y\nif D\nchoice\n\tprompt \"c\"\nconfig A\n\tbool \"a\"\n\tselect S\nconfig B\n\tbool \"b\"\nendchoice\nendif\nconfig S\n\tbool \"s\"\n",
			config: "CONFIG_A=y\n# CONFIG_B is not set\n", require: "S=n", want: "B=y for A, S=n",
		},
		{
			name: "a number by its defaults", text: "choice\n\tprompt \"c\"\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nendchoice\nconfig N\n\tint\n\tdefault 1 if A\n\tdefault 2 if B\n",
			require: "N=2", want: "B=y for N",
		},
		{
			name: "a default behind another", text: "config A\n\tbool \"a\"\n\tdefault y\nconfig N\n\thex\n\tdefault 0x5 if A\n\tdefault 0x10\n",
			require: "N=0x10", want: "A=n for N",
		},
		{
			name: "a text by another's", text: "config A\n\tbool \"a\"\nconfig S\n\tstring\n\tdefault T if A\n\tdefault \"s\"\nconfig T\n\tstring \"t\"\n",
			require: `S="u"`, want: `T="u" for S, A=y for S`,
		},
		{
			name: "no such default", text: "config N\n\tint\n\tdefault 1\n",
			require: "N=2", refused: "Kconfig:1: N=2: it is 1, and has neither a prompt nor a default of 2",
		},
		{
			name: "a module by its selector", text: "config MODULES\n\tbool \"m\"\n\tdefault y\n\tmodules\nconfig S\n\ttristate\nconfig A\n\ttristate \"a\"\n\tdefault y\n\tselect S\n",
			require: "S=m", want: "A=m for S",
		},
		{
			name: "a module by its default", text: "config MODULES\n\tbool \"m\"\n\tdefault y\n\tmodules\nconfig S\n\ttristate\n\tdefault A\nconfig A\n\ttristate \"a\"\n",
			require: "S=m", want: "A=m for S",
		},
		{
			name: "a module by what implies it", text: "config MODULES\n\tbool \"m\"\n\tdefault y\n\tmodules\nconfig S\n\ttristate\nconfig A\n\ttristate \"a\"\n\timply S\n",
			require: "S=m", want: "A=m for S",
		},
		{name: "a bool that is to be m", text: "config A\n\tbool \"a\"\n", require: "A=m", refused: "Kconfig:1: A=m: it is a bool, which is y or n"},
		{name: "a number that is to be y", text: "config A\n\tint \"a\"\n\trange 1 5\n", require: "A=y", refused: "Kconfig:1: A=y: it is an int, a decimal number"},
		{name: "a text without quotes", text: "config A\n\tstring \"a\"\n", require: "A=y", refused: "Kconfig:1: A=y: it is a string, which comes in \"quotes\""},
		{name: "hex or decimal", text: "config A\n\thex \"a\"\n", require: "A=16", refused: "Kconfig:1: A=16: it is a hex number: is 0x10 meant, or 0x16?"},
		{
			name: "a choice", text: "choice\n\tprompt \"c\"\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nendchoice\n",
			config: "CONFIG_A=y\n# CONFIG_B is not set\n", require: "B=y", want: "B=y",
		},
		{
			name: "not this one of a choice", text: "choice\n\tprompt \"c\"\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nendchoice\n",
			config: "CONFIG_A=y\n# CONFIG_B is not set\n", require: "A=n", want: "B=y for A",
		},
		{
			name: "room in a range", text: "config END\n\tint\n\tdefault 8 if !BIG\n\tdefault 64\nconfig BIG\n\tbool \"big\"\nconfig N\n\tint \"n\"\n\trange 1 END\n",
			require: "N>=32", want: "BIG=y for END, N=32",
		},
		{
			name: "an optional requirement gets no more than itself", text: "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\nconfig C\n\tbool \"c\"\n",
			require: "B?=y C?=y", want: "C=y", refused: "B=y: an optional requirement isn't worth other edits: it would take A=y, B=y",
		},
		{
			name: "an optional requirement gives way", text: "choice\n\tprompt \"c\"\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nendchoice\n",
			require: "A=y B?=y", refused: "it is in one choice with A, which must be y",
		},
		{
			name: "a default of what is required", text: "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A || C\nconfig C\n\tbool\n\tdefault y if D\nconfig D\n\tbool \"d\"\n",
			require: "B=y D=y", want: "D=y, B=y",
		},

		{
			name: "a choice that is reconsidered", text: "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nconfig C\n\tbool\n\tdefault y if A\n\tdefault y if B\nconfig D\n\tbool \"d\"\n\tdepends on C && !A\n",
			require: "D=y", want: "B=y for C, D=y",
		},

		{
			name: "a number by a conditional default", text: "config X\n\tbool \"x\"\nconfig N\n\tint\n\tdefault 14 if X\n\tdefault 8\nconfig B\n\tbool \"b\"\n\tdepends on N>=12\n",
			require: "B=y", want: "X=y for N, B=y",
		},
		{
			name: "a hex number", text: "config N\n\thex \"n\"\n\tdefault 0x10\nconfig B\n\tbool \"b\"\n\tdepends on N > 0x1f\n",
			require: "B=y", want: "N=0x20 for B, B=y",
		},
		{
			name: "two numbers that are equal", text: "config L\n\tint \"l\"\n\tdefault 1\nconfig R\n\tint\n\tdefault 5\nconfig B\n\tbool \"b\"\n\tdepends on L=R\n",
			require: "B=y", want: "L=5 for B, B=y",
		},
		{
			name: "of two numbers the greater", text: "config L\n\tint\n\tdefault 3\nconfig R\n\tint \"r\"\n\tdefault 5\nconfig B\n\tbool \"b\"\n\tdepends on L>R\n",
			require: "B=y", want: "R=2 for B, B=y",
		},
		{
			name: "not this text", text: "config S\n\tstring \"s\"\n\tdefault \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on S!=\"a\"\n",
			require: "B=y", want: `S="" for B, B=y`,
		},
		{
			name: "some text", text: "config S\n\tstring \"s\"\nconfig B\n\tbool \"b\"\n\tdepends on S!=\"\"\n",
			require: "B=y", want: `S=" " for B, B=y`,
		},
		{
			name: "a range with a condition", text: "config X\n\tbool \"x\"\n\tdefault y\nconfig N\n\tint \"n\"\n\trange 1 8 if X\n\trange 1 64\n",
			require: "N=32", want: "X=n for N, N=32",
		},
		{
			name: "a range whose low end is a symbol", text: "config X\n\tbool \"x\"\nconfig LOW\n\tint\n\tdefault 1 if X\n\tdefault 4\nconfig N\n\tint \"n\"\n\trange LOW 64\n\tdefault 8\n",
			require: "N=2", want: "X=y for LOW, N=2",
		},
		{
			name: "a number that its range makes", text: "config SMP\n\tbool \"smp\"\nconfig LOW\n\tint\n\tdefault 1 if !SMP\n\tdefault 2\nconfig N\n\tint \"n\" if SMP\n\trange LOW LOW if !SMP\n\trange 2 64\n\tdefault 8\n",
			config: "CONFIG_SMP=y\nCONFIG_N=8\n", require: "N=1", want: "SMP=n for N",
		},
		{
			name: "a default that counts where users can't see it", text: "config V\n\tbool \"v\"\n\tdefault y\nconfig A\n\tbool \"a\" if V\n\tdefault y\nconfig N\n\tint \"n\" if V\n\trange 2 8 if V\n\tdefault 1\n",
			config: "CONFIG_V=y\nCONFIG_N=8\n", require: "N=1", want: "V=n for N, N=1",
		},
		{
			name: "a default in a place without dependencies", text: "config X\n\tbool \"x\"\nif X\nconfig N\n\tint \"n\"\nendif\nconfig N\n\tint\n\tdefault D\nconfig D\n\tint \"d\"\n",
			require: "N=5 X=n", want: "D=5 for N",
		},
		{
			name: "tristates that are compared", text: "config MODULES\n\tbool \"m\"\n\tdefault y\n\tmodules\nconfig A\n\ttristate \"a\"\nconfig C\n\ttristate \"c\"\n\tdefault m\nconfig B\n\tbool \"b\"\n\tdepends on A>C\n",
			require: "B=y", want: "A=y for B, B=y",
		},
		{
			name: "who selects it", text: "config X\n\tdef_bool y\n\tselect A\nconfig A\n\tbool \"a\"\n", require: "A=n",
			refused: "A=n: needs X=n",
		},

		{name: "unknown", text: "config A\n\tbool \"a\"\n", require: "X=y", refused: "no Kconfig file that belongs to this architecture mentions it"},
		{
			name: "undefined", text: "config A\n\tbool \"a\"\n\tdepends on ARM && B\nconfig B\n\tbool \"b\"\n", require: "A=y",
			refused: "Kconfig:3: A=y: depends on ARM=y\n\tARM=y: no Kconfig file that belongs to this architecture defines it",
		},
		{
			name: "a conflict", text: "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\nconfig C\n\tbool \"c\"\n\tdepends on B\n", require: "C=y A=n",
			refused: "Kconfig:8: C=y: depends on B=y\n\tKconfig:5: B=y: depends on A=y\n\t\tKconfig:1: A=y: it must be n, needed by require (asked for)",
		},
		{
			name: "a conflict of dependencies", text: "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\nconfig C\n\tbool \"c\"\n\tdepends on !A\n", require: "B=y C=y",
			want: "A=y for B, B=y", refused: "Kconfig:8: C=y: depends on A=n\n\tKconfig:1: A=n: it must be y, needed by B",
		},
		{
			name: "no prompt, and nobody sets it", text: "config A\n\tbool\n", require: "A=y", refused: "Kconfig:1: A=y: it has no prompt, and nothing sets it",
		},
		{
			name: "a failed probe", text: "config A\n\tbool \"a\"\n\tdepends on $(shell,echo n)\n", require: "A=y", refused: "A=y: depends on something else than the n that is written there",
		},
		{
			name: "selected", text: "config S\n\tbool \"s\"\n\tselect A\nconfig A\n\tbool \"a\"\n", require: "S=y A=n", want: "S=y",
			refused: "Kconfig:3: A=n: needs S=n\n\tKconfig:1: S=n: it must be y, needed by require",
		},
		{
			name: "always y", text: "config S\n\tdef_bool y\nconfig B\n\tbool \"b\"\n\tdepends on !S\n", require: "B=y",
			refused: "Kconfig:5: B=y: depends on S=n\n\tKconfig:2: S=n: needs something else than the y that is written there",
		},
		{
			name: "a text", text: "config S\n\tstring \"s\"\nconfig B\n\tbool \"b\"\n\tdepends on S = \"y z\"\n", require: "B=y",
			want: `S="y z" for B, B=y`,
		},
		{
			name: "a text that isn't the user's", text: "config S\n\tstring\n\tdefault \"x\"\nconfig B\n\tbool \"b\"\n\tdepends on S = \"y z\"\n", require: "B=y",
			refused: "Kconfig:6: B=y: depends on S=\"y z\"\n\tKconfig:1: S=\"y z\": it is \"x\", and has neither a prompt nor a default of \"y z\"",
		},
		{
			name: "out of range", text: "config N\n\tint \"n\"\n\trange 1 8\n", require: "N=9", refused: "its range is 1 to 8, by Kconfig:3",
		},
		{
			name: "a select isn't forced past dependencies", text: "config A\n\tbool\n\tdepends on X\nconfig X\n\tbool\nconfig B\n\tbool \"b\"\n\tselect A\n", require: "A=y",
			refused: "Kconfig:1: A=y: selected by B, which needs X=y\n\tKconfig:4: X=y: it has no prompt, and nothing sets it",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.text, "$(shell") {
				c.text = strings.ReplaceAll(c.text, "$(shell,echo n)", "n")
			}
			m := modeltest.New(t, c.text)
			f, err := kconfig.Parse(".config", []byte(c.config))
			if err != nil {
				t.Fatal(err)
			}
			s, err := Solve(m, f, requirements(t, c.require))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, set := range s.Settings {
				text := set.Symbol + "=" + set.Value
				if set.For != "" {
					text += " for " + set.For
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
				t.Error(diff)
			}
			proof := ""
			for _, r := range s.Refused {
				proof += r.Proof.String()
			}
			if (c.refused == "") != (proof == "") || !strings.Contains(proof, c.refused) {
				t.Errorf("refused:\n%s\nwant:\n%s", proof, c.refused)
			}
			if c.config != "" && strings.Contains(c.name, "this one of a choice") {
				if v, _ := s.File.Get("A"); v != "n" {
					t.Errorf("A is %q", v)
				}
			}
		})
	}
}

// A refusal names what said no on the host, how sure it is, and what it excludes.
func TestRefused(t *testing.T) {
	const text = `cc-option = $(shell,{ gcc-that-is-absent -Werror $(1); } >/dev/null 2>&1 && echo "y" || echo "n")
config A
	bool "a"
	depends on $(cc-option,-fa)
config B
	def_bool $(shell,echo n)
config C
	bool "c"
	depends on B
config V
	int
	default "$(TOOL_VERSION)"
config D
	bool "d"
	depends on V >= 116
config X
	bool
	depends on NEVER
config F
	bool "f"
	select X
config E
	bool "e"
	depends on !G
config G
	bool "g"
config S
	def_bool y
	select K
config K
	bool "k"
config T
	string "t"
config L
	bool "l"
	depends on T > "a"
config N
	int "n"
	range 1 8
	default 4
	depends on G
`
	m := modeltest.NewProbed(t, text, map[string]string{"TOOL_VERSION": "0"}, func(command string) (syntax.Output, error) { return syntax.Output{Stdout: "n\n"}, nil })
	f, err := kconfig.Parse(".config", nil)
	if err != nil {
		t.Fatal(err)
	}
	for require, want := range map[string]string{
		"A=y": `impossible: Kconfig:4: A=y: depends on something else than the n that the command "gcc-that-is-absent -Werror -fa" (there is no gcc-that-is-absent) came to`,
		"C=y": "impossible: Kconfig:9: C=y: depends on B=y\n\tKconfig:6: B=y: has its default from something else than the n that the command \"echo n\" came to",
		"D=y": "impossible: Kconfig:15: D=y: depends on V >= 116\n\tKconfig:12: V >= 116: it is the 0 that $(TOOL_VERSION) came to",
		"X=y": "forced: Kconfig:16: X=y: selected by F, which needs NEVER=y\n\tNEVER=y: no Kconfig file that belongs to this architecture defines it",
		// The search knows no order of texts, and the bounds don't either.
		"L=y":     `not found: Kconfig:34: L=y: depends on T>"a"`,
		"T=n":     `not found: Kconfig:32: T=n: only an option that is y, m or n can be unset; of type string, it is absent where what it depends on isn't met; T="" makes it empty`,
		"N=n G=y": `not found: Kconfig:37: N=n: only an option that is y, m or n can be unset; of type int, it is absent where what it depends on isn't met`,
		"N>=9":    "impossible: Kconfig:37: N >= 9: its range is 1 to 8, by Kconfig:39",
		"G=y E=y": "impossible, with G=y: Kconfig:24: E=y: depends on G=n\n\tKconfig:25: G=n: it must be y, needed by require (asked for)",
		"K=n":     "impossible: Kconfig:29: K=n: needs S=n\n\tKconfig:28: S=n: needs something else than the y that is written there",
	} {
		s, err := Solve(m, f, requirements(t, require))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range s.Refused {
			got += string(r.Verdict)
			if len(r.With) > 0 {
				got += ", with " + strings.Join(r.With, " ")
			}
			got += ": " + r.Proof.String()
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", require, d)
		}
	}
}

// A setting by which something is selected past its dependencies is told.
func TestStrained(t *testing.T) {
	m := modeltest.New(t, "config D\n\tbool \"d\"\n\tdefault y\nconfig X\n\tbool\n\tdepends on D\nconfig F\n\tbool \"f\"\n\tdefault y\n\tselect X\n")
	f, err := kconfig.Parse(".config", nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Solve(m, f, requirements(t, "D=n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"X"}, s.Strained); d != "" {
		t.Error(d)
	}
}
