// SPDX-License-Identifier: GPL-3.0-only

package syntax

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parseFiles parses files that are in memory; the first is Kconfig.
func parseFiles(files map[string]string, d Dialect) (*Tree, error) {
	return Parse(Options{
		Dialect: d,
		Getenv:  func(name string) (string, bool) { return "env-ARCH", name == "ARCH" },
		Shell:   func(command string) (Output, error) { return Output{Stdout: "[" + command + "]\n\n"}, nil },
		ReadFile: func(path string) ([]byte, error) {
			text, ok := files[filepath.Base(path)]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return []byte(text), nil
		},
	})
}

func TestMacros(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"X = a\nY := $(X)\nX = b", "$(X)$(Y)|ba"},
		{"X = a\nX += b\nX += $(Z)\nZ = c", "$(X)|a b c"},
		{"Z = c\nX := a\nX += $(Z)\nZ = d", "$(X)|a c"},
		{"f = <$(2)$(1)>", "$(f,a,b)|<ba>"},
		{"f = <$(1)>", "$(f, a )|< a >"},
		{"f = $(1)", "$(f,(a,b))|(a,b)"},
		{"f = $(1)", "$(f)|"},
		{"N = ARCH", "$($(N))|env-ARCH"},
		{"", "$(UNSET)|"},
		{"", "$ARCH $$(ARCH)|$ARCH $env-ARCH"},
		{"ARCH = mine", "$(ARCH)|mine"},
		{"comma := ,", "$(shell,echo a$(comma)b)|[echo a,b]"},
		{"", "$(filename):$(lineno)|Kconfig:2"},
		{"X :=  keeps # all  ", "$(X)|keeps # all  "},
		{"info = mine", "$(info)|mine"},
	} {
		expr, want, _ := strings.Cut(c.want, "|")
		tree, err := parseFiles(map[string]string{"Kconfig": c.text + "\nmainmenu \"" + expr + "\"\n"}, Dialect{})
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got := tree.Root.Prompt.Text; got != want {
			t.Errorf("%q: %s is %q, want %q", c.text, expr, got, want)
		}
	}
}

// doubling defines macros each of which calls the next twice; the last is empty.
func doubling(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "f%d = $(f%d)$(f%d)\n", i, i+1, i+1)
	}
	return b.String()
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"config\n", "Kconfig:1: missing a name"},
		{"\nconfig A\n\tbool \"a\" \"b\"\n", `Kconfig:3: unexpected "b"`},
		{"config A\n\tdepends A\n", `Kconfig:2: unexpected "A" instead of "on"`},
		{"config A\n\tdepends on (A\n", `Kconfig:2: missing ")"`},
		{"config A\n\tdepends on A &&\n", "Kconfig:2: missing a symbol"},
		{"menu \"a\"\n", "Kconfig:1: menu without endmenu"},
		{"if A\nendmenu\n", "Kconfig:2: unexpected endmenu"},
		{"endif\n", "Kconfig:1: unexpected endif"},
		{"bool\n", `Kconfig:1: unexpected option "bool"`},
		{"frob A\n", `Kconfig:1: unknown statement "frob"`},
		{"\"a\"\n", "Kconfig:1: invalid statement"},
		{"choice\nmenu \"a\"\n", "Kconfig:2: a menu within a choice"},
		{"choice\n\toptional\nendchoice\n", `Kconfig:2: unknown statement "optional"`},
		{"config A\n\ttransitional\n", `Kconfig:2: unknown statement "transitional"`},
		{"config A\n\tbool\n\tdepends on A if A\n", `Kconfig:3: unexpected "if"`},
		{"config A\n\tmodules\nconfig B\n\tmodules\n", "Kconfig:4: symbol B redefines option 'modules' already defined by symbol A"},
		{"source \"absent\"\n", `Kconfig:1: can't open file "absent"`},
		{"source \"Kconfig\"\n", "Kconfig:1: recursive inclusion of \"Kconfig\""},
		{"source \"sub\"\n", "sub:2: unknown statement \"broken\"\n\tsourced from Kconfig:1"},
		{"X = $(X)\n$(X)\n", "Kconfig:2: recursive variable 'X' references itself (eventually)"},
		{"X = $(Y)\nY = $(X)\nZ := $(Y)\n", "Kconfig:3: recursive variable 'Y' references itself (eventually)"},
		{"f = $(f,$(1))\n$(f,a)\n", "Kconfig:2: too deep recursive expansion of 'f'"},
		{"X := $(shell,a\n", "Kconfig:1: unterminated reference to 'shell,a': missing ')'"},
		{"$(error-if,y,no such luck)\n", "Kconfig:1: no such luck"},
		{"$(shell,a,b)\n", "Kconfig:1: too many function arguments passed to 'shell'"},
		{"$(shell)\n", "Kconfig:1: too few function arguments passed to 'shell'"},
		{"X = $(f" + strings.Repeat(",a", 17) + ")\n$(X)\n", "Kconfig:2: too many function arguments; at most 16 are allowed"},
		{"config A\n\tdepends on " + strings.Repeat("(", 5000) + "\n", "Kconfig:2: the expression is nested too deep"},
		{strings.Repeat("if A\n", 5000), "Kconfig:1000: if is nested too deep"},
		{"$" + strings.Repeat("($", 20000) + strings.Repeat(")", 20000) + "\n", "Kconfig:1: the reference is nested too deep"},
		{doubling(40) + "$(f0)\n", "Kconfig:41: the expansion has too many references"},
		{"config A\n\tdepends on " + strings.Repeat("!", 5000) + "A\n", "Kconfig:2: the expression is nested too deep"},
	} {
		_, err := parseFiles(map[string]string{"Kconfig": c.text, "sub": "\nbroken\n"}, Dialect{})
		var e *Error
		if !errors.As(err, &e) || err.Error() != c.want {
			t.Errorf("%.60q: got %v, want %s", c.text, err, c.want)
		}
	}
}

// Each construct is in the tree, with its place.
func TestParse(t *testing.T) {
	tree, err := parseFiles(map[string]string{"Kconfig": `mainmenu "top"
menu "a menu"
	depends on A
	visible if B || !C
config A
	tristate "it's \"A\"" if B
	default m if C != 'x y'
	select D \
		if A
	imply E
	help
	  What it does.

	    More.
if A = y
choice
	prompt "one of"
	default F
config F
	bool "f"
endchoice
endif
comment "end"
endmenu
config N
	hex
	range 0x0 MAX
	modules
`}, Dialect{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	var write func(n *Node, indent string)
	write = func(n *Node, indent string) {
		fmt.Fprintf(&b, "%s%d %s", indent, n.Pos.Line, n.Kind)
		if n.Symbol != nil {
			fmt.Fprintf(&b, " %s %s", n.Symbol.Name, n.Symbol.Type)
		}
		if n.Prompt != nil {
			fmt.Fprintf(&b, " %q", n.Prompt.Text)
			if n.Prompt.Cond != nil {
				fmt.Fprintf(&b, " if %s", n.Prompt.Cond)
			}
		}
		for _, d := range n.Depends {
			fmt.Fprintf(&b, " on(%d) %s", d.Pos.Line, d.Expr)
		}
		for _, v := range n.Visible {
			fmt.Fprintf(&b, " visible %s", v)
		}
		for _, p := range n.Properties {
			fmt.Fprintf(&b, " %s(%d)", p.Kind, p.Pos.Line)
			switch p.Kind {
			case Default:
				fmt.Fprintf(&b, " %s", p.Value)
			case Range:
				fmt.Fprintf(&b, " %s %s", p.Low.Name, p.High.Name)
			default:
				fmt.Fprintf(&b, " %s", p.Target.Name)
			}
			if p.Cond != nil {
				fmt.Fprintf(&b, " if %s", p.Cond)
			}
		}
		if h := n.Help(); h != "" {
			fmt.Fprintf(&b, " help %q", h)
		}
		b.WriteByte('\n')
		for _, c := range n.Children {
			write(c, indent+"  ")
		}
	}
	write(tree.Root, "")
	want := `1 menu "top"
  2 menu "a menu" on(3) A visible B || !C
    5 config A tristate "it's \"A\"" if B default(7) m if C!="x y" select(8) D if A imply(10) E help "What it does.\n\n  More."
    15 if on(15) A=y
      16 choice "one of" default(18) F
        19 config F bool "f"
    23 comment "end"
  25 config N hex range(27) 0x0 MAX
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	if tree.Modules == nil || tree.Modules.Name != "N" {
		t.Errorf("modules: %v", tree.Modules)
	}
}

func TestConditionalDependency(t *testing.T) {
	tree, err := parseFiles(map[string]string{"Kconfig": "config A\n\tbool\n\tdepends on B if C\n"}, Dialect{ConditionalOn: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := tree.Root.Children[0].Depends[0].Expr.String(); got != "B || C=n" {
		t.Errorf("got %s", got)
	}
}

// Nothing that depends on a command that still runs is believed, or run.
func TestPending(t *testing.T) {
	var asked []string
	known := map[string]string{}
	parse := func() (*Tree, error) {
		return Parse(Options{
			ReadFile: func(string) ([]byte, error) {
				return []byte("X := $(shell,one)\n$(error-if,$(shell,rm $(X)),failed)\nmainmenu \"$(X)\"\nsource \"$(X)\"\nY := $(shell,two)\n"), nil
			},
			Shell: func(command string) (Output, error) {
				asked = append(asked, command)
				if out, ok := known[command]; ok {
					return Output{Stdout: out}, nil
				}
				return Output{Stdout: Pending}, nil
			},
		})
	}
	if _, err := parse(); !errors.Is(err, ErrPending) {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff([]string{"one", "two"}, asked); diff != "" {
		t.Error(diff)
	}
}

// What isn't nested has no bound.
func TestLongExpression(t *testing.T) {
	text := "config A\n\tbool\n\tdepends on B" + strings.Repeat(" && (!B || C)", 5000) + "\n"
	if _, err := parseFiles(map[string]string{"Kconfig": text}, Dialect{}); err != nil {
		t.Error(err)
	}
}

// Macros expand in bounded time and memory, or are refused with their place.
func FuzzMacros(f *testing.F) {
	for _, s := range []string{
		"X = a$(Y)\nY := b\nX += $(X)\n|$(X)", "f = <$(1)$(2)>\n|$(f,$(f,a,(b,c)), )", "f = $(g,$(1))\ng = $(f,$(1))\n|$(f,x)",
		"c := ,\n|$(shell,a$(c)b)$(lineno)$(filename)", "|$(error-if,y,x)$(warning-if,y,z)", doubling(30) + "|$(f0)", "|$$($((()))",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		definitions, use, _ := strings.Cut(text, "|")
		if strings.ContainsAny(use, "\n\"'\\") {
			return
		}
		_, err := parseFiles(map[string]string{"Kconfig": definitions + "\nmainmenu \"" + use + "\"\n"}, Dialect{})
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("got %v", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"config A\n\tbool \"a\"\n\tdepends on B && (C || !D) # x\n", "X := $(shell,a)\n", "f = $(f,$(1))\n$(f,$(f,a))", "menu \"a\\\"\nif A\nchoice\n",
		"config A\n\thelp\n\t a\n b\nc\n", "source \"Kconfig\"\n", "X = $(X)$(X)\nX += $(X)\n\"$(X)\"", "a\\\nb := c\\\n", "config A\n\trange 1 0x2 if '$(A)'\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree, err := parseFiles(map[string]string{"Kconfig": text}, Dialect{NamedChoice: true, OptionalChoice: true, TristateChoice: true, Option: true, Transitional: true, ConditionalOn: true})
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || e.Pos.Line < 1 || e.Pos.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("got %v", err)
			}
			return
		}
		for _, s := range tree.Symbols {
			for _, n := range s.Nodes {
				_ = n.Help()
			}
		}
	})
}
