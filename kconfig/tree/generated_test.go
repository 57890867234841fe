// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/kconfig/model"
)

// A generator writes Kconfig files that nobody would, and a .config for them.
// What depends on what is such that symbols don't depend on themselves, mostly.
type generator struct {
	r       *rand.Rand
	dialect model.Dialect
	b       strings.Builder
	names   []string // of the symbols so far
	types   map[string]string
	levels  int
	choice  string // type of the one that is open
	members map[string]bool
}

func (g *generator) chance(percent int) bool { return g.r.IntN(100) < percent }

func pick[T any](g *generator, list []T) T { return list[g.r.IntN(len(list))] }

func (g *generator) line(format string, args ...any) { fmt.Fprintf(&g.b, format+"\n", args...) }

// symbol is one that was defined, or now and then one that never is.
func (g *generator) symbol() string {
	if len(g.names) == 0 || g.chance(4) {
		return pick(g, []string{"UNDEFINED", "y", "m", "n"})
	}
	return pick(g, g.names)
}

func (g *generator) expr(depth int) string {
	switch n := g.r.IntN(14); {
	case n < 5 || depth == 0:
		return g.symbol()
	case n < 6:
		return "!" + g.symbol()
	case n < 7:
		return "!(" + g.expr(depth-1) + ")"
	case n < 9:
		s := g.symbol()
		return s + pick(g, []string{"=", "!=", "=", "!=", "<", "<=", ">", ">="}) + pick(g, []string{"y", "m", "n", `"y"`, "5", "0x10", `"x"`, `""`, g.symbol(), "010", "0b1"})
	case n < 12:
		return g.expr(depth-1) + " && " + g.expr(depth-1)
	default:
		return "(" + g.expr(depth-1) + " || " + g.expr(depth-1) + ")"
	}
}

func (g *generator) cond(percent int) string {
	if g.chance(percent) {
		return " if " + g.expr(2)
	}
	return ""
}

func (g *generator) value(kind string) string {
	switch kind {
	case "int":
		return pick(g, []string{"0", "7", "42", "-3", "100000", g.symbol()})
	case "hex":
		return pick(g, []string{"0x0", "0xff", "1000", "0xDEADbeef", "0xffffffff80000000", g.symbol()})
	case "string":
		return pick(g, []string{`""`, `"a b"`, `"q\"\\s"`, `'single'`, `"$(greeting)"`, g.symbol()})
	}
	return pick(g, []string{"y", "m", "n", "y", g.expr(1)})
}

// later are symbols that a symbol may select: they're defined after it. S1, which
// is that of modules, isn't one: most of what selects it depends on it, too, and
// the traps have the rest.
func (g *generator) later() string { return fmt.Sprintf("S%d", max(2, len(g.names)+1+g.r.IntN(4))) }

func (g *generator) attributes(name, kind string, prompt bool) {
	if prompt {
		g.line("\t%s \"%s\"%s", kind, name, g.cond(20))
	} else if boolean := kind == "bool" || kind == "tristate"; boolean && g.chance(40) {
		g.line("\tdef_%s %s%s", kind, g.value(kind), g.cond(30))
	} else {
		g.line("\t%s", kind)
	}
	if g.chance(35) {
		if g.line("\tdepends on %s", g.expr(3)); g.dialect.ConditionalOn && g.chance(40) {
			g.line("\tdepends on %s if %s", g.expr(2), g.expr(2))
		}
	}
	if g.dialect.DefconfigList && g.chance(5) {
		g.line("\toption allnoconfig_y")
	}
	if g.choice == "" || g.chance(3) {
		for g.chance(40) {
			g.line("\tdefault %s%s", g.value(kind), g.cond(50))
		}
	}
	if kind == "bool" || kind == "tristate" {
		for g.chance(25) {
			g.line("\t%s %s%s", pick(g, []string{"select", "select", "imply"}), g.later(), g.cond(40))
		}
	} else if kind != "string" {
		for g.chance(40) {
			a, b := g.value(kind), g.value(kind)
			g.line("\trange %s %s%s", a, b, g.cond(30))
		}
	}
	if g.chance(10) {
		g.line("\thelp\n\t  What it does.\n\n\t    And more.")
	}
}

func (g *generator) config() {
	name := fmt.Sprintf("S%d", len(g.names))
	kind := pick(g, []string{"bool", "bool", "bool", "bool", "tristate", "tristate", "tristate", "int", "hex", "string"})
	if g.choice != "" {
		kind = g.choice
		if g.choice == "tristate" && g.chance(20) {
			kind = "bool"
		}
	}
	again := len(g.names) > 3 && g.choice == "" && g.chance(7)
	if again {
		name = pick(g, g.names)
		kind = g.types[name]
		if g.members[name] {
			again, name, kind = false, fmt.Sprintf("S%d", len(g.names)), "bool"
		}
	}
	if len(g.names) == 1 && g.choice == "" {
		modules := "modules"
		if g.dialect.OptionModules {
			modules = "option modules"
		}
		g.line("config %s\n\tbool \"%s\"\n\tdefault y\n\t%s", name, name, modules)
		g.names = append(g.names, name)
		g.types[name] = "bool"
		return
	}
	if g.dialect.Transitional && !again && g.choice == "" && g.levels == 1 && g.chance(12) {
		// Those before and after it may have their defaults from it.
		g.line("config %s\n\t%s\n\ttransitional", name, kind)
		g.names, g.types[name] = append(g.names, name), kind
		return
	}
	prompt := !again && (g.choice != "" || g.chance(65))
	keyword := "config"
	if prompt && g.choice == "" && g.chance(30) {
		keyword = "menuconfig"
	}
	g.line("%s %s", keyword, name)
	if again {
		// Nothing but what comes before the first definition may be mentioned.
		known := g.names
		g.names = g.names[:slices.Index(g.names, name)]
		g.line("\t%s", kind)
		if g.chance(50) {
			g.line("\tdepends on %s", g.expr(2))
		}
		if g.chance(50) {
			g.line("\tdefault %s%s", g.value(kind), g.cond(50))
		}
		g.names = known
		return
	}
	g.attributes(name, kind, prompt)
	g.types[name] = kind
	if g.choice != "" {
		g.members[name] = true
	}
	g.names = append(g.names, name)
}

func (g *generator) openChoice() {
	g.choice = "bool"
	if !g.dialect.Priority && g.chance(40) {
		g.choice = "tristate"
	}
	g.line("choice")
	g.line("\tprompt \"choice\"%s", g.cond(25))
	if !g.dialect.Priority && (g.choice == "tristate" || g.chance(50)) {
		g.line("\t%s", g.choice)
	}
	if g.chance(30) {
		g.line("\tdepends on %s", g.expr(2))
	}
	if g.dialect.OptionalChoice && g.chance(15) {
		g.line("\toptional")
	}
	n := 1 + g.r.IntN(4)
	for g.chance(40) {
		g.line("\tdefault S%d%s", len(g.names)+g.r.IntN(n), g.cond(40))
	}
	for range n {
		if g.chance(10) {
			g.line("if %s", g.expr(1))
			g.config()
			g.line("endif")
			continue
		}
		g.config()
	}
	g.line("endchoice")
	g.choice = ""
}

func (g *generator) block(n int) {
	g.levels++
	for range n {
		switch k := g.r.IntN(20); {
		case k < 2 && g.levels < 4:
			g.line("if %s", g.expr(2))
			g.block(1 + g.r.IntN(4))
			g.line("endif")
		case k < 4 && g.levels < 4:
			g.line("menu \"menu %d\"", g.r.IntN(100))
			if g.chance(40) {
				g.line("\tdepends on %s", g.expr(2))
			}
			if g.chance(30) {
				g.line("\tvisible if %s", g.expr(2))
			}
			g.block(1 + g.r.IntN(4))
			g.line("endmenu")
		case k < 5:
			g.line("comment \"a comment\"")
			if g.chance(60) {
				g.line("\tdepends on %s", g.expr(2))
			}
		case k < 7:
			g.openChoice()
		default:
			g.config()
		}
	}
	g.levels--
}

// dotConfig is a .config for the symbols of the file, with mistakes.
func (g *generator) dotConfig() []byte {
	var b bytes.Buffer
	for range 1 + g.r.IntN(2*len(g.names)) {
		name := pick(g, g.names)
		switch kind := g.types[name]; {
		case g.chance(2):
			b.WriteString(pick(g, []string{
				"", "# a comment", "junk", " CONFIG_S1=y", "CONFIG_S1", "CONFIG_=y", "# CONFIG_S2 is not settled", "# CONFIG_S2 is not set ", "#CONFIG_S2 is not set",
				"CONFIG_NEW=y", "# CONFIG_NEW is not set", "CONFIG_S3= y", "CONFIG_S3=yes", "CONFIG_S3=", "CONFIG_S4=\"open", "CONFIG_S4=\"a\"b", "CONFIG_S5=\"back\\", "CONFIG_S2=n\r", "\r", "# CONFIG_S2 is not set\r",
				"\x00CONFIG_S1=y", "CONFIG_S2=y\x00z", "## CONFIG_S2 is not set", "# CONFIG_S2=y is not set", "CONFIG_S2=y=n",
			}))
		case kind == "int":
			b.WriteString("CONFIG_" + name + "=" + pick(g, []string{"0", "5", "-7", "50", "99999999", "007", "x", "", "0x10", "9223372036854775808"}))
		case kind == "hex":
			b.WriteString("CONFIG_" + name + "=" + pick(g, []string{"0x0", "0XaB", "12", "0x", "", "xyz", "0xffffffffffffffff", "-0x1", "0x1ffffffffffffffff"}))
		case kind == "string":
			b.WriteString("CONFIG_" + name + "=" + pick(g, []string{`""`, `"a"`, `"\"\\"`, `bare`, `"open`, ``, `"tab	é"`, `"x"y"`}))
		case g.chance(40):
			b.WriteString("# CONFIG_" + name + " is not set")
		default:
			b.WriteString("CONFIG_" + name + "=" + pick(g, []string{"y", "y", "m", "n"}))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func generate(seed uint64, d model.Dialect) (kconfig string, config []byte) {
	g := &generator{r: rand.New(rand.NewPCG(seed, 7)), dialect: d, types: map[string]string{}, members: map[string]bool{}}
	g.line("mainmenu \"Main $(greeting)\"\ngreeting := hello world")
	g.config()
	g.config()
	g.block(3 + g.r.IntN(10))
	config = g.dotConfig()
	if seed%3 == 2 {
		return g.torn(), config
	}
	return g.b.String(), config
}

// torn is the file without some of its lines, so that types, prompts, names and
// ends are where nobody would put them.
func (g *generator) torn() string {
	lines := strings.SplitAfter(g.b.String(), "\n")
	for range 1 + g.r.IntN(3) {
		i := g.r.IntN(len(lines))
		lines = slices.Delete(lines, i, i+1)
	}
	return strings.Join(lines, "")
}

// TestGenerated compares on generated Kconfig files, which have in a few lines
// what a kernel's don't have in a million.
func TestGenerated(t *testing.T) {
	for _, srctree := range trees(t) {
		t.Run(filepath.Base(srctree), func(t *testing.T) {
			program := build(t, srctree).conf
			d, err := model.DetectDialect(srctree)
			if err != nil {
				t.Fatal(err)
			}
			failed, refused := 0, 0
			n := cases(t)
			for seed := range n {
				kconfig, config := generate(uint64(seed), d)
				differ, recursion := compareAll(t, program, d, writeKconfig(t, kconfig), config)
				if recursion {
					refused++
				}
				if differ != "" {
					failed++
					t.Errorf("seed %d: %s", seed, differ)
					if dir := os.Getenv("RUN_KERNEL_TEST_KEEP"); dir != "" {
						dir = filepath.Join(dir, fmt.Sprintf("%s-%d", filepath.Base(srctree), seed))
						_ = os.MkdirAll(dir, 0o755)
						_ = os.WriteFile(filepath.Join(dir, "Kconfig"), []byte(kconfig), 0o644)
						_ = os.WriteFile(filepath.Join(dir, ".config"), config, 0o644)
					}
					if failed == 5 {
						break
					}
				}
			}
			t.Logf("%d cases, %d of them refused by both", n, refused)
		})
	}
}

// writeKconfig writes a Kconfig file into a directory of its own.
func writeKconfig(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Kconfig"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
