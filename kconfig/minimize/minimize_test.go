// SPDX-License-Identifier: GPL-3.0-only

package minimize

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model/modeltest"
)

func names(list []kconfig.Setting) string {
	var names []string
	for _, s := range list {
		names = append(names, s.Symbol+"="+s.Value)
	}
	return strings.Join(names, " ")
}

// Of 300 options, those that are to blame are found in less than 40 steps, two of
// them in less than 25.
func TestMinimize(t *testing.T) {
	var all []kconfig.Setting
	for i := range 300 {
		all = append(all, kconfig.Setting{Symbol: fmt.Sprintf("S%d", i), Value: "y"})
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var guilty []kconfig.Setting
		for _, i := range r.Perm(300)[:1+r.IntN(3)] {
			guilty = append(guilty, all[i])
		}
		steps := 0
		got, err := Minimize(t.Context(), all, func(_ context.Context, list []kconfig.Setting) (bool, error) {
			steps++
			return !slices.ContainsFunc(guilty, func(s kconfig.Setting) bool { return !slices.Contains(list, s) }), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		limit := 40
		if len(guilty) <= 2 {
			limit = 25
		}
		slices.SortFunc(guilty, func(a, b kconfig.Setting) int { return slices.Index(all, a) - slices.Index(all, b) })
		if names(got) != names(guilty) || steps >= limit {
			t.Errorf("%d steps to %s, want %s", steps, names(got), names(guilty))
		}
	}
	for want, fails := range map[error]bool{ErrFails: true, ErrPasses: false} {
		if _, err := Minimize(t.Context(), all, func(context.Context, []kconfig.Setting) (bool, error) { return fails, nil }); !errors.Is(err, want) {
			t.Errorf("got %v", err)
		}
	}
	broken := errors.New("broken")
	if _, err := Minimize(t.Context(), all, func(_ context.Context, list []kconfig.Setting) (bool, error) {
		if len(list) > 0 && len(list) < 300 {
			return false, broken
		}
		return len(list) > 0, nil
	}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// A test that passes again with more settings gets an answer with which it fails.
func TestNotMonotone(t *testing.T) {
	var all []kconfig.Setting
	for i := range 40 {
		all = append(all, kconfig.Setting{Symbol: fmt.Sprintf("S%d", i), Value: "y"})
	}
	r := rand.New(rand.NewPCG(2, 2))
	for range 100 {
		seed := r.Uint64()
		fails := func(_ context.Context, list []kconfig.Setting) (bool, error) {
			if len(list) == 0 || len(list) == len(all) {
				return len(list) > 0, nil
			}
			h := seed
			for _, s := range list {
				h = h*31 + uint64(len(s.Symbol)) + uint64(s.Symbol[len(s.Symbol)-1])
			}
			return rand.New(rand.NewPCG(h, 0)).IntN(2) == 0, nil
		}
		got, err := Minimize(t.Context(), all, fails)
		if err != nil {
			t.Fatal(err)
		}
		if bad, _ := fails(t.Context(), got); !bad {
			t.Errorf("it passes with %s", names(got))
		}
	}
}

// An option that is off in the other configuration, and on by default once another setting
// makes it possible, is a setting as well: without it, the other configuration is none of
// those that are tried.
func TestSettingsAreComplete(t *testing.T) {
	m := modeltest.New(t, "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\n\tdefault y\nconfig C\n\tbool \"c\"\n\tdepends on !B\n\tdefault y\nconfig D\n\tbool \"d\"\n\tdepends on A\n")
	from := parseConfig(t, "# CONFIG_A is not set\nCONFIG_C=y\n")
	to := parseConfig(t, "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\n# CONFIG_D is not set\n")
	all := Settings(m, from, to)
	if d := cmp.Diff("A=y B=n", names(all)); d != "" {
		t.Error(d)
	}
	got, err := Config(m, from, all)
	if err != nil {
		t.Fatal(err)
	}
	if want := state(m, to).Config(); string(got) != string(want) {
		t.Errorf("with all settings: %s, want %s", got, want)
	}
}

// What is set is what users can set, and each configuration is one of conf's.
func TestSettings(t *testing.T) {
	const text = "config A\n\tbool \"a\"\n\tselect S\nconfig S\n\tbool\nconfig B\n\tbool \"b\"\n\tdepends on A\nchoice\n\tprompt \"c\"\nconfig C1\n\tbool \"1\"\nconfig C2\n\tbool \"2\"\nendchoice\nconfig N\n\tint \"n\"\n\tdefault 3\n"
	m := modeltest.New(t, text)
	from, to := parseConfig(t, "CONFIG_C1=y\n"), parseConfig(t, "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C1 is not set\nCONFIG_C2=y\nCONFIG_N=7\n")
	all := Settings(m, from, to)
	if d := cmp.Diff("A=y B=y C1=n C2=y N=7", names(all)); d != "" {
		t.Error(d)
	}
	for i, want := range map[int]string{
		1: "CONFIG_A=y\nCONFIG_S=y\n# CONFIG_B is not set\nCONFIG_C1=y\n# CONFIG_C2 is not set\nCONFIG_N=3\n",
		5: "CONFIG_A=y\nCONFIG_S=y\nCONFIG_B=y\n# CONFIG_C1 is not set\nCONFIG_C2=y\nCONFIG_N=7\n",
	} {
		got, err := Config(m, from, all[:i])
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(got), want) {
			t.Errorf("%s: %s", names(all[:i]), got)
		}
	}
}

func parseConfig(t *testing.T, text string) *kconfig.File {
	t.Helper()
	f, err := kconfig.Parse(".config", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}
