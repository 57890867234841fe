// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// The dialects of 6.1 and 6.12.
var (
	older = Dialect{
		Dialect: syntax.Dialect{NamedChoice: true, OptionalChoice: true, TristateChoice: true},
		Buckets: 9973, ResetRange: true, LooseNotSet: true, EndsEmpty: true,
	}
	newer = Dialect{Buckets: 1 << 14, Priority: true, Zero: true, Stripped: true, MenuOrder: true, BrokenUnequal: true, Folds: true, EndsEmpty: true}
)

func newModel(text string, d Dialect) (*Model, error) {
	tree, err := syntax.Parse(syntax.Options{
		Dialect:  d.Dialect,
		ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
		Getenv:   func(string) (string, bool) { return "", false },
	})
	if err != nil {
		return nil, err
	}
	return New(tree, d)
}

// olddefconfig returns the lines of symbols that follow from those of a user, and
// the warnings.
func olddefconfig(t *testing.T, text string, d Dialect, config string) (lines, warnings string) {
	t.Helper()
	m, err := newModel(text, d)
	if err != nil {
		t.Fatal(err)
	}
	s := m.NewState()
	s.Load(".config", []byte(config))
	for line := range strings.Lines(string(s.Config())) {
		if strings.Contains(line, "CONFIG_") {
			lines += line
		}
	}
	return lines, s.Warnings.String()
}

const modules = "config MODULES\n\tbool \"m\"\n\tdefault y\n\tmodules\n"

// What differs between kernels, and what both make the same of. All of it was
// seen in the output of their own conf.
func TestConfig(t *testing.T) {
	for _, c := range []struct{ name, text, config, older, newer string }{
		{"a number without a default", "config A\n\tint \"a\"\n", "", "CONFIG_A=\n", "CONFIG_A=0\n"},
		{"hex without a default", "config A\n\thex \"a\"\n", "", "CONFIG_A=\n", "CONFIG_A=0x0\n"},
		{
			"out of range", "config A\n\tint \"a\"\n\trange 1 5\n\tdefault 3\n", "CONFIG_A=9\n",
			"CONFIG_A=3\n", "CONFIG_A=5\n",
		},
		{"a range is spelled as it is", "config A\n\thex \"a\"\n\trange 0x0F 0xFF\n", "CONFIG_A=0x1\n", "CONFIG_A=0x0F\n", "CONFIG_A=0x0F\n"},
		{"hex keeps its spelling", "config A\n\thex \"a\"\n", "CONFIG_A=aB\n", "CONFIG_A=aB\n", "CONFIG_A=aB\n"},
		{"loosely not set", "config A\n\tbool \"a\"\n\tdefault y\n", "# CONFIG_A is not settled\n", "# CONFIG_A is not set\n", "CONFIG_A=y\n"},
		{"lines of DOS", "config A\n\tbool \"a\"\nconfig B\n\tint \"b\"\n", "CONFIG_A=y\r\nCONFIG_B=7\r\n", "CONFIG_A=y\nCONFIG_B=7\n", "CONFIG_A=y\nCONFIG_B=7\n"},
		{"the last line counts", "config A\n\tbool \"a\"\n", "CONFIG_A=y\n# CONFIG_A is not set\n", "# CONFIG_A is not set\n", "# CONFIG_A is not set\n"},
		{"escapes", "config A\n\tstring \"a\"\n", `CONFIG_A="a\"b\\c\d"`, `CONFIG_A="a\"b\\cd"` + "\n", `CONFIG_A="a\"b\\cd"` + "\n"},
		{
			"the last y of a choice", "choice\n\tprompt \"c\"\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nconfig C\n\tbool \"c\"\nendchoice\n",
			"CONFIG_C=y\nCONFIG_B=y\n", "# CONFIG_A is not set\nCONFIG_B=y\n# CONFIG_C is not set\n", "# CONFIG_A is not set\nCONFIG_B=y\n# CONFIG_C is not set\n",
		},
		{
			"a choice's default set to n", "choice\n\tprompt \"c\"\n\tdefault A\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nendchoice\n",
			"# CONFIG_A is not set\n", "CONFIG_A=y\n# CONFIG_B is not set\n", "# CONFIG_A is not set\nCONFIG_B=y\n",
		},
		{
			"select, whatever it depends on", "config A\n\tbool \"a\"\n\tdefault y\n\tselect B\nconfig B\n\tbool \"b\"\n\tdepends on C\nconfig C\n\tbool \"c\"\n", "",
			"CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n", "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n",
		},
		{
			"imply only suggests", "config A\n\tbool \"a\"\n\tdefault y\n\timply B\n\timply C\n\timply D\nconfig B\n\tbool \"b\"\nconfig C\n\tbool \"c\"\n\tdepends on X\nconfig D\n\tbool \"d\"\n", "# CONFIG_D is not set\n",
			"CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\n", "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\n",
		},
		{
			"m is the limit", modules + "config A\n\ttristate \"a\"\nconfig B\n\ttristate \"b\"\n\tdepends on A\nconfig C\n\tbool \"c\"\n\tdepends on A\nconfig D\n\ttristate \"d\"\n\tdepends on m\n",
			"CONFIG_A=m\nCONFIG_B=y\nCONFIG_C=y\nCONFIG_D=y\n",
			"CONFIG_MODULES=y\nCONFIG_A=m\nCONFIG_B=m\nCONFIG_C=y\nCONFIG_D=m\n", "CONFIG_MODULES=y\nCONFIG_A=m\nCONFIG_B=m\nCONFIG_C=y\nCONFIG_D=m\n",
		},
		{
			"comparisons", "config A\n\tint \"a\"\n\tdefault 10\nconfig B\n\tbool \"b\"\n\tdepends on A > 9 && A != UNDEFINED && UNDEFINED = UNDEFINED\nconfig C\n\tbool \"c\"\n\tdepends on A < 9 || A = 0xa\n", "",
			"CONFIG_A=10\n# CONFIG_B is not set\n# CONFIG_C is not set\n", "CONFIG_A=10\n# CONFIG_B is not set\n# CONFIG_C is not set\n",
		},
		{
			"visible if is for prompts", "menu \"m\"\n\tvisible if X\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdefault y\nendmenu\n", "CONFIG_A=y\n# CONFIG_B is not set\n",
			"CONFIG_B=y\n", "CONFIG_B=y\n",
		},
	} {
		for _, v := range []struct {
			name string
			d    Dialect
			want string
		}{{"older", older, c.older}, {"newer", newer, c.newer}} {
			got, _ := olddefconfig(t, c.text, v.d, c.config)
			if diff := cmp.Diff(v.want, got); diff != "" {
				t.Errorf("%s, %s: %s", c.name, v.name, diff)
			}
		}
	}
}

func TestWarnings(t *testing.T) {
	text := "config A\n\tbool \"a\"\n\tselect B\nconfig B\n\tbool\n\tdepends on C && (D || !A)\nconfig C\n\tbool \"c\"\nconfig D\n\tint \"d\"\n"
	_, got := olddefconfig(t, text, older, "CONFIG_A=y\nCONFIG_D=x\njunk\nCONFIG_A=y\n")
	want := `.config:2:warning: symbol value 'x' invalid for D
.config:3:warning: unexpected data: junk
.config:4:warning: override: reassigning to symbol A

WARNING: unmet direct dependencies detected for B
  Depends on [n]: C [=n] && (D [=] || !A [=y])
  Selected by [y]:
  - A [=y]
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		text, want string
		d          Dialect
		as         any
	}{
		{"config A\n\tbool\n\tdepends on B\nconfig B\n\tbool\n\tdepends on A\n", "recursive dependency detected:\n\tKconfig:1: A depends on B\n\tKconfig:4: B depends on A", older, new(*RecursionError)},
		{"config A\n\tbool \"a\"\n\tselect A\n", "recursive dependency detected:\n\tKconfig:1: A depends on A", newer, new(*RecursionError)},
		{"config A\n\tbool\nconfig B\n\tbool \"b\"\n\tdepends on A!=y\n", "Kconfig:3: A!=y, where A is bool: the conf of this kernel reads it wrong", newer, new(*UnsupportedError)},
		{
			"config MODULES\n\tbool\n\tmodules\nchoice\n\tprompt \"c\"\nconfig A\n\tbool \"a\"\n\timply MODULES\nendchoice\n",
			"Kconfig:6: a member of a choice selects or implies MODULES: the conf of this kernel reads it before it is known", newer, new(*UnsupportedError),
		},
		{"choice\n\tprompt \"c\"\nconfig A\n\tbool\nendchoice\n", "Kconfig:3: choice value must have a prompt", newer, new(*syntax.Error)},
	} {
		_, err := newModel(c.text, c.d)
		if err == nil || err.Error() != c.want || !errors.As(err, c.as) {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
}

// What is no kernel's tree is refused with what is missing.
func TestNoTree(t *testing.T) {
	dir := t.TempDir()
	scripts := filepath.Join(dir, "scripts/kconfig")
	for _, c := range []struct {
		missing string
		add     func() error
	}{
		{"scripts/kconfig", func() error { return os.MkdirAll(scripts, 0o755) }},
		{"scripts/kconfig/lexer.l", func() error { return os.WriteFile(filepath.Join(scripts, "lexer.l"), nil, 0o644) }},
		{"scripts/kconfig/parser.y", func() error { return nil }},
	} {
		_, err := DetectDialect(dir)
		var e *NotTreeError
		if !errors.As(err, &e) || e.Dir != dir || e.Missing != c.missing || e.Hint() == "" {
			t.Errorf("got %v, want that %s is missing", err, c.missing)
		}
		if err := c.add(); err != nil {
			t.Fatal(err)
		}
	}
}

// What is written is read again as it was, whatever was read before.
func FuzzRead(f *testing.F) {
	text := modules + "config S\n\tstring \"s\"\nconfig I\n\tint \"i\"\n\trange 1 5\nconfig H\n\thex \"h\"\nconfig T\n\ttristate \"t\"\nchoice\n\tprompt \"c\"\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on T\nendchoice\n"
	for _, s := range []string{"", "CONFIG_S=\"a\\\"b\\\\\"\nCONFIG_I=3\nCONFIG_H=0xAb\nCONFIG_T=m\n# CONFIG_A is not set\nCONFIG_B=y\n", "CONFIG_S=\"\x00\nCONFIG_I=-1\r\n\r", "CONFIG_S\n#\n# CONFIG_T is not set"} {
		f.Add(s)
	}
	var models []*Model
	for _, d := range []Dialect{older, newer} {
		m, err := newModel(text, d)
		if err != nil {
			f.Fatal(err)
		}
		models = append(models, m)
	}
	f.Fuzz(func(t *testing.T, config string) {
		for _, m := range models {
			s := m.NewState()
			s.Load(".config", []byte(config))
			first := s.Config()
			s = m.NewState()
			s.Load(".config", first)
			second := s.Config()
			if diff := cmp.Diff(string(first), string(second)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// Whatever parses has a value, or is refused.
func FuzzModel(f *testing.F) {
	for _, s := range []string{
		modules + "config A\n\ttristate \"a\"\n\tselect B if m\n\tdefault B\nconfig B\n\ttristate\n\tdepends on MODULES\n|CONFIG_A=m\n",
		"choice\n\tprompt \"c\"\n\tdefault B\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\nendchoice\n|CONFIG_B=y\n",
		"config A\n\tint \"a\"\n\trange B C if A != 5\nconfig B\n\thex\n\tdefault 0x5\nconfig C\n\tstring\n\tdefault \"9\"\n|CONFIG_A=7\n",
		"menu \"m\"\n\tvisible if A\nif B\ncomment \"c\"\n\tdepends on !A\nendif\nendmenu\nconfig A\n\tdef_bool y\n\timply B\nconfig B\n\tbool\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text, config, _ := strings.Cut(text, "|")
		for _, d := range []Dialect{older, newer} {
			m, err := newModel(text, d)
			if err != nil {
				continue
			}
			s := m.NewState()
			s.Load(".config", []byte(config))
			s.Config()
			s.Defconfig()
			s.NewSymbols()
			for _, mode := range []Mode{AllDefault, AllNo, AllMod, AllYes} {
				s := m.NewState()
				s.SetAll(mode)
				s.Config()
			}
		}
	})
}
