// SPDX-License-Identifier: GPL-3.0-only

package solver

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/bounds"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
	"github.com/metaspace/run-kernel/kconfig/tree"
)

// randomState is one of a configuration in which users said anything.
func randomState(m *model.Model, r *rand.Rand) *model.State {
	var b strings.Builder
	likely := 1 + r.IntN(4) // of five
	for _, name := range m.Names() {
		sym := m.Lookup(name)
		if len(sym.Prompts()) == 0 || r.IntN(5) == 0 {
			continue
		}
		switch sym.Type {
		case syntax.Bool, syntax.Tristate:
			value := "n"
			if r.IntN(5) < likely {
				value = []string{"y", "m"}[r.IntN(2)]
			}
			fmt.Fprintf(&b, "CONFIG_%s=%s\n", name, value)
		case syntax.Int:
			fmt.Fprintf(&b, "CONFIG_%s=%d\n", name, []int{0, 1, 2, 7, 16, 64, 1000, 100000}[r.IntN(8)])
		case syntax.Hex:
			fmt.Fprintf(&b, "CONFIG_%s=0x%x\n", name, []int{0, 1, 0x1000, 0x100000}[r.IntN(4)])
		case syntax.String:
			fmt.Fprintf(&b, "CONFIG_%s=\"%s\"\n", name, []string{"", "x", "y z"}[r.IntN(3)])
		}
	}
	s := m.NewState()
	s.Load(".config", []byte(b.String()))
	return s
}

// goals is how many of each size are looked for; a long run has more.
func goals(t *testing.T) int {
	t.Helper()
	text := os.Getenv("RUN_KERNEL_TEST_KCONFIG_GOALS")
	if text == "" {
		return 8
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// What a configuration has, one goal or many at once, is found, and never said to be
// impossible.
func TestGoals(t *testing.T) {
	for _, dir := range kernels(t) {
		m := load(t, dir, "x86")
		base := start(t, m, tree.Alldefconfig, "CONFIG_64BIT=y\n")
		have := Evaluate(m, base)
		for _, size := range []int{1, 5, 20} {
			solved, notFound, forced := 0, 0, 0
			var edits []int
			var times []time.Duration
			var witness *model.State
			r := rand.New(rand.NewPCG(uint64(size), 5))
			for i := range goals(t) {
				if i%10 == 0 {
					witness = randomState(m, r)
				}
				var list []kconfig.Requirement
				for len(list) < size {
					sym := m.Symbols[r.IntN(len(m.Symbols))]
					value, ok := witness.Value(sym)
					old, _ := have.Value(sym)
					if !ok || sym.Name == "" || value == old || value == "n" && old == "" || slices.ContainsFunc(list, func(r kconfig.Requirement) bool { return r.Symbol == sym.Name }) {
						continue
					}
					list = append(list, kconfig.Requirement{Symbol: sym.Name, Want: kconfig.Want{Value: value}, Group: "witness", Why: "it has it"})
				}
				began := processorTime(t)
				s, err := Solve(m, base, list)
				if err != nil {
					t.Fatal(err)
				}
				times = append(times, processorTime(t)-began)
				if len(s.Refused) == 0 {
					solved++
					edits = append(edits, len(s.Settings))
				}
				for _, refused := range s.Refused {
					switch refused.Verdict {
					case kconfig.NotFound:
						notFound++
					case kconfig.Forced:
						forced++
					default:
						t.Errorf("%s: %s=%s, not together with %v: %s\n%s", dir, refused.Symbol, refused.Want, refused.With, refused.Verdict, refused.Proof)
					}
					if size < 20 {
						t.Logf("%s=%s: %s: %s", refused.Symbol, refused.Want, refused.Verdict, refused.Proof)
					}
				}
			}
			slices.Sort(times)
			slices.Sort(edits)
			median := 0
			if len(edits) > 0 {
				median = edits[len(edits)/2]
			}
			t.Logf("%s: %d goals at once: %d of %d solved, %d not found, %d by force only, median %d settings, %v of processor time, at most %v",
				filepath.Base(dir), size, solved, goals(t), notFound, forced, median, times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
			if solved*10 < goals(t)*8 {
				t.Errorf("%d of %d solved", solved, goals(t))
			}
		}
	}
}

// The bounds of real trees hold in whatever configuration, as they are and with some
// of its symbols fixed.
func TestBoundsHold(t *testing.T) {
	for _, dir := range kernels(t) {
		m := load(t, dir, "x86")
		r := rand.New(rand.NewPCG(3, 7))
		for range max(3, goals(t)/10) {
			witness := randomState(m, r)
			b := bounds.New(m, true)
			for range 3 {
				b.Reset()
				for range r.IntN(4) * 10 {
					sym := m.Symbols[r.IntN(len(m.Symbols))]
					if value, ok := witness.Value(sym); ok && sym.Name != "" {
						b.Fix(sym, kconfig.Want{Value: value})
					}
				}
				if !b.Possible() {
					t.Errorf("%s: a configuration that there is isn't possible", dir)
					continue
				}
				for _, sym := range m.Symbols {
					value, ok := witness.Value(sym)
					if !ok {
						value = "n"
					}
					if sym.Name != "" && !b.Can(sym, kconfig.Want{Value: value}) {
						t.Errorf("%s: %s is %s and can't be", dir, sym.Name, value)
					}
				}
			}
		}
	}
}

// What is said to be impossible is so in random configurations, and in those of the
// modes of conf.
func TestImpossible(t *testing.T) {
	for _, dir := range kernels(t) {
		m := load(t, dir, "x86")
		base := start(t, m, tree.Alldefconfig, "CONFIG_64BIT=y\n")
		r := rand.New(rand.NewPCG(8, 8))
		var witnesses []*model.State
		for range min(100, goals(t)) {
			witnesses = append(witnesses, randomState(m, r))
		}
		for _, mode := range []tree.Mode{tree.Allnoconfig, tree.Alldefconfig, tree.Allyesconfig, tree.Allmodconfig} {
			for _, preset := range []string{"CONFIG_64BIT=y\n", "# CONFIG_64BIT is not set\n"} {
				witnesses = append(witnesses, Evaluate(m, start(t, m, mode, preset)))
			}
		}
		counts := map[kconfig.Verdict]int{}
		for range goals(t) {
			sym := m.Symbols[r.IntN(len(m.Symbols))]
			if sym.Name == "" {
				continue
			}
			value := []string{"y", "m", "n", "7"}[r.IntN(4)]
			if sym.Type == syntax.Bool && value == "m" || (sym.Type == syntax.Bool || sym.Type == syntax.Tristate) == (value == "7") {
				value = "y"
			}
			want := kconfig.Want{Value: value}
			s, err := Solve(m, base, []kconfig.Requirement{{Symbol: sym.Name, Want: want, Group: "random", Why: "asked for"}})
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Refused) == 0 {
				counts["solved"]++
				continue
			}
			counts[s.Refused[0].Verdict]++
			if s.Refused[0].Verdict != kconfig.Impossible {
				t.Logf("%s=%s: %s: %s", sym.Name, value, s.Refused[0].Verdict, s.Refused[0].Proof)
				continue
			}
			for i, w := range witnesses {
				if have, ok := w.Value(sym); ok && want.Met(have) {
					t.Errorf("%s: %s is %s in configuration %d, and was said to be impossible: %s", dir, sym.Name, have, i, s.Refused[0].Proof)
				}
			}
		}
		t.Logf("%s: of %d goals: %v", filepath.Base(dir), goals(t), counts)
	}
}
