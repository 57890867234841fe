// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kconfig"
)

// newWantedLab is one with a .config, and with Kconfig files that the engine
// understands, of which a symbol is required.
func newWantedLab(t *testing.T) *lab {
	l := newLab(t)
	for _, name := range []string{"lexer.l", "parser.y", "symbol.c", "confdata.c", "expr.c"} {
		l.Write("scripts/kconfig/"+name, "")
	}
	l.Write("scripts/kconfig/expr.h", "#define SYMBOL_HASHSIZE 9973\n")
	l.Write("arch/x86/Kconfig", "")
	l.Write(".config", "CONFIG_WANTED=y\n")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	l.kernel.Config.Kconfig.Require = []string{"WANTED=y"}
	return l
}

// TestCheckAgain sees that a check is as good as the first one whatever has
// changed since, and reads no Kconfig file where nothing has.
func TestCheckAgain(t *testing.T) {
	l := newWantedLab(t)
	const kconfig = "config WANTED\n\tbool \"one\"\n\tdepends on \"$(shell,echo $PROBED)\" = \"yes\"\n"
	l.Write("Kconfig", kconfig)
	t.Setenv("PROBED", "yes")
	check := func(what, want string) {
		t.Helper()
		results, err := l.kernel.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Symbol == "WANTED" && (r.Have != want || r.Met != (want == "y")) {
				t.Errorf("%s: have %q, met: %v", what, r.Have, r.Met)
			}
		}
	}
	check("at first", "y")
	if _, err := os.Stat(filepath.Join(l.Dir, ".run-kernel")); !os.IsNotExist(err) {
		t.Errorf("a check made a state directory: %v", err)
	}
	if _, err := l.kernel.Tree.StateDir(); err != nil {
		t.Fatal(err)
	}
	check("at first, where a fix or a build has been", "y")

	// A change that can't be seen tells whether the files were read.
	path := filepath.Join(l.Dir, "Kconfig")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Write("Kconfig", "config WANTED\n\tbool \"one\"\n\tdepends on \"$(shell,echo $PROBED)\" = \"not\"\n")
	if err := os.Chtimes(path, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	check("nothing has changed", "y")

	l.Write("Kconfig", kconfig+"config OTHER\n\tbool\n")
	t.Setenv("PROBED", "no")
	check("the environment has changed", "")
	t.Setenv("PROBED", "yes")
	check("the environment is as it was", "y")
	l.Write(".config", "# CONFIG_WANTED is not set\n")
	check(".config has changed", "n")
	l.Write(".config", "CONFIG_WANTED=y\n")
	check(".config is as it was", "y")
	l.Write("Kconfig", "config OTHER\n\tbool\n")
	check("a Kconfig file has changed", "")
	l.kernel.Config.Kconfig.Require = []string{"WANTED=n"}
	if results, err := l.kernel.Check(t.Context()); err != nil || !results[len(results)-1].Met {
		t.Errorf("another requirement: %+v %v", results[len(results)-1], err)
	}
}

// TestSlipAgain sees that each check and each fix tells of options that the kernel doesn't
// know.
func TestSlipAgain(t *testing.T) {
	l := newWantedLab(t)
	l.Write("fragment", "#: optional\nCONFIG_WANTE=y\n")
	l.kernel.Config.Kconfig.Fragments = []string{filepath.Join(l.Dir, "fragment")}
	requirements, err := l.kernel.Requirements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Nothing else is to be fixed.
	var options, config strings.Builder
	for _, r := range requirements {
		if r.Symbol == "WANTE" {
			continue
		}
		kind, value := "bool", r.Want.Setting()
		if strings.Trim(value, "0123456789") == "" {
			kind = "int"
		}
		fmt.Fprintf(&options, "config %s\n\t%s \"prompt\"\n", r.Symbol, kind)
		fmt.Fprintf(&config, "CONFIG_%s=%s\n", r.Symbol, value)
	}
	l.Write("Kconfig", options.String())
	l.Write(".config", config.String()+"CONFIG_WNTED=y\n")
	if _, err := l.kernel.Tree.StateDir(); err != nil {
		t.Fatal(err)
	}
	told := func(what string) {
		t.Helper()
		want := []event.Warning{{Text: ".config sets WNTED, and this kernel has no such option; it drops it", Hint: "did you mean WANTED?"}}
		if diff := cmp.Diff(want, of[event.Warning](l)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		l.events = nil
	}
	for _, what := range []string{"the first fix", "the second fix"} {
		if _, err := l.kernel.Fix(t.Context(), FixOptions{}); err != nil {
			t.Fatal(err)
		}
		told(what)
	}
	for _, what := range []string{"the first check", "the second check"} {
		if _, err := l.kernel.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		told(what)
	}
	l.Write(".config", config.String())
	// What is optional and can't be met is in each report.
	for _, what := range []string{"the first fix", "the second fix"} {
		report, err := l.kernel.Fix(t.Context(), FixOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Unmet) != 1 || report.Unmet[0].Symbol != "WANTE" || report.Unmet[0].Proof == nil || report.Unmet[0].Why != "asked for" {
			t.Errorf("%s: unmet: %+v", what, report.Unmet)
		}
	}
	for _, what := range []string{"the first check of the fragment", "the second check of the fragment"} {
		results, err := l.kernel.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(results, func(r kconfig.Result) bool { return r.Symbol == "WANTE" })
		if i < 0 || results[i].Proof == nil || !strings.Contains(results[i].Proof.Text, "did you mean WANTED?") {
			t.Errorf("%s: %+v", what, results)
		}
	}
}

// TestCheckDuringASave has a Kconfig file saved while it is read: the next check reads it.
func TestCheckDuringASave(t *testing.T) {
	l := newWantedLab(t)
	l.Write("next", "config OTHER\n\tbool\n")
	l.Write("Kconfig", fmt.Sprintf("config WANTED\n\tbool \"one\"\n\nsaved := $(shell,sleep 0.1; cp %[1]s/next %[1]s/Kconfig)\n", l.Dir))
	if _, err := l.kernel.Tree.StateDir(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"y", ""} {
		results, err := l.kernel.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Symbol == "WANTED" && r.Have != want {
				t.Errorf("check %d: have %q", i, r.Have)
			}
		}
	}
}
