// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// The kernel's own conf is the oracle: whatever it writes, the engine must, to
// the byte. RUN_KERNEL_TEST_KCONFIG_CASES is how many random configurations are
// compared for each tree and architecture, as they are and perturbed, and how
// many generated Kconfig files; all architectures are only where it is set.
// RUN_KERNEL_TEST_KCONFIG_FIRST is the seed of the first random configuration, so
// that a long run can be had in pieces. ./test sets the trees.

const (
	defaultCases = 300
	// For each tree and architecture 8 configurations of presets, 16 defconfigs, and 14
	// random ones, each as it is and perturbed: 52 cases.
	perArch      = 14
	perDefconfig = 16
)

func cases(t *testing.T) int { return number(t, "RUN_KERNEL_TEST_KCONFIG_CASES", defaultCases) }

func firstSeed(t *testing.T) int { return number(t, "RUN_KERNEL_TEST_KCONFIG_FIRST", 0) }

// number is what a variable says, or other where it isn't set.
func number(t *testing.T, variable string, other int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return other
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// trees are the kernel trees to test with.
func trees(t *testing.T) []string {
	t.Helper()
	var list []string
	versions := map[string]bool{} // by the first lines of the trees' Makefile
	var found []string
	// First those that no other test edits meanwhile.
	for _, variable := range []string{"RUN_KERNEL_TEST_KCONFIG_TREES", "RUN_KERNEL_TEST_TREE", "RUN_KERNEL_TEST_TREE2"} {
		dir := os.Getenv(variable)
		switch {
		case dir == "" && variable != "RUN_KERNEL_TEST_KCONFIG_TREES" && os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "":
			t.Fatalf("%s isn't set: ./test should have prepared a kernel tree", variable)
		case dir == "":
		case variable == "RUN_KERNEL_TEST_KCONFIG_TREES":
			more, err := filepath.Glob(filepath.Join(dir, "linux-*"))
			if err != nil || len(more) == 0 {
				t.Fatalf("no trees in %s: %v", dir, err)
			}
			slices.Reverse(more) // the newest first
			found = append(found, more...)
		default:
			found = append(found, dir)
		}
	}
	for _, dir := range found {
		// A second tree of the same kernel has nothing new.
		makefile, err := os.ReadFile(filepath.Join(dir, "Makefile"))
		if err != nil {
			t.Fatal(err)
		}
		version, _, _ := strings.Cut(string(makefile), "SUBLEVEL")
		if !versions[version] {
			versions[version], list = true, append(list, dir)
		}
	}
	if len(list) == 0 {
		t.Skip("no kernel tree; ./test prepares some")
	}
	return list
}

// An oracle is the conf of a tree, in the environment that the engine computes.
type oracle struct {
	t       *testing.T
	srctree string
	arch    string
	served  *pool
	model   *model.Model
}

// scratch is a directory for what all tests share.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "kconfig-conf-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(status)
}

// A compiled is what build makes of a tree's conf.
type compiled struct {
	conf    string
	served  string // a conf that answers requests, see testdata/served.c
	preload string // a library to be preloaded into either, see testdata/popen.c
}

// build compiles the conf of a tree, once and not in the tree.
func build(t *testing.T, srctree string) compiled {
	t.Helper()
	dir := filepath.Join(scratch, url.PathEscape(srctree))
	c := compiled{filepath.Join(dir, "conf"), filepath.Join(dir, "served"), filepath.Join(dir, "popen.so")}
	if exists(c.preload) {
		return c
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	sources, err := filepath.Glob(filepath.Join(srctree, "scripts/kconfig/*.[chly]"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("no sources of conf in %s: %v", srctree, err)
	}
	gcc := []string{"-O2", "-I.", "-I" + filepath.Join(srctree, "scripts/include")}
	common := []string{"lexer.lex.c", "parser.tab.c"}
	grammar, err := os.ReadFile(filepath.Join(srctree, "scripts/kconfig/parser.y"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range sources {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		if strings.HasSuffix(name, ".lex.c") || strings.Contains(name, ".tab.") {
			continue // of a tree that was built in place
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(grammar, []byte(`#include "`+name+`"`)) {
			continue // until 5.15 or so
		}
		if slices.Contains([]string{"confdata.c", "expr.c", "menu.c", "preprocess.c", "symbol.c", "util.c"}, name) {
			common = append(common, name)
		}
	}
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	run("flex", "-olexer.lex.c", "-L", "lexer.l")
	run("bison", "-oparser.tab.c", "--defines=parser.tab.h", "-t", "-l", "parser.y")
	run("gcc", slices.Concat(gcc, []string{"-o", c.conf, "conf.c"}, common)...)
	run("gcc", slices.Concat(gcc, []string{"-c", "-Dmain=conf_main", "-Dconf_parse=already_parsed", "-o", "renamed.o", "conf.c"})...)
	run("gcc", slices.Concat(gcc, []string{"-o", c.served, "renamed.o", filepath.Join(testdata, "served.c")}, common)...)
	run("gcc", "-shared", "-fPIC", "-O2", "-o", c.preload, filepath.Join(testdata, "popen.c"), "-ldl")
	return c
}

// newOracle asks the conf of a tree for an architecture. The outputs of its
// commands are kept in the directory probes.
func newOracle(t *testing.T, srctree, arch string, c compiled, probes string) (*oracle, error) {
	t.Helper()
	o := &oracle{t: t, srctree: srctree, arch: arch}
	options := Options{
		Srctree: srctree, Objtree: t.TempDir(), Vars: map[string]string{"ARCH": arch}, Env: os.Environ(), Cache: cache(t), Environ: makeEnviron(t, srctree, arch),
	}
	m, err := Load(t.Context(), options)
	if err != nil {
		return nil, err
	}
	o.model = m
	// What conf gets comes from make, whatever the engine knows of it.
	options.Objtree = ""
	env, err := askedEnviron(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	env["srctree"], env["objtree"] = srctree, srctree
	o.served = newPool(t, c.served, append(env.list(), "LD_PRELOAD="+c.preload, "POPEN_CACHE="+probes, "KCONFIG_CONFIG=.config",
		// It is there, so that conf doesn't write one, with a file for each option.
		"KCONFIG_AUTOCONFIG="+os.DevNull))
	return o, nil
}

// makeEnviron asks make for the environment of conf.
func makeEnviron(t *testing.T, srctree, arch string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		// Its name ends in config, so that the Makefile exports what it does for conf.
		const target = "print-environconfig"
		dir := t.TempDir()
		cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "-s", "-C", srctree, "O="+dir, "ARCH="+arch,
			"--eval=$(if $(sub_make_done),$(eval "+target+": ; @env -0 >"+dir+"/environ))", target)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, "environ"))
		return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), err
	}
}

// cache is where probes are kept from one test to the next.
func cache(t *testing.T) string {
	if dir := os.Getenv("RUN_KERNEL_TEST_CACHE"); dir != "" {
		return filepath.Join(dir, "probes")
	}
	return t.TempDir()
}

// An answer is what conf wrote.
type answer struct {
	config   string
	warnings string
	output   string // on standard output
}

// answerIn is what conf wrote in a directory, and said.
func answerIn(dir, warnings, output string) answer {
	data, _ := os.ReadFile(filepath.Join(dir, ".config"))
	if saved, err := os.ReadFile(filepath.Join(dir, "saved")); err == nil {
		output = string(saved)
	}
	return answer{string(data), warnings, output}
}

// conf runs conf on a .config, or on none if it is nil.
func (o *oracle) conf(config []byte, env []string, args ...string) answer {
	dir, err := os.MkdirTemp("", "kconfig-oracle-")
	if err != nil {
		o.t.Error(err)
		return answer{}
	}
	defer os.RemoveAll(dir)
	if config != nil {
		if err := os.WriteFile(filepath.Join(dir, ".config"), config, 0o644); err != nil {
			o.t.Error(err)
			return answer{}
		}
	}
	status, said, err := o.served.conf(dir, env, append(slices.Clone(args), "Kconfig"))
	out, _ := os.ReadFile(filepath.Join(dir, "stdout"))
	errs, _ := os.ReadFile(filepath.Join(dir, "stderr"))
	if err != nil || status != 0 {
		o.t.Errorf("conf %s: %v, status %d\n%s", args, err, status, errs)
	}
	return answerIn(dir, said+string(errs), string(out))
}

// compare reports what differs, in a few lines.
func (o *oracle) compare(name, what, want, got string) bool {
	if want == got {
		return true
	}
	o.t.Errorf("%s: %s of conf (-) and of the engine (+) differ:\n%s", name, what, difference(want, got))
	return false
}

// difference is the first lines that differ.
func difference(want, got string) string {
	var lines []string
	for line := range strings.Lines(cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n"))) {
		if strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[:min(len(lines), 20)], "")
}

// olddefconfig compares olddefconfig on a .config, and then on what came of it.
func (o *oracle) olddefconfig(name string, config []byte) bool {
	for _, run := range []string{"first run", "second run"} {
		want := o.conf(config, nil, "--olddefconfig")
		s := o.model.NewState()
		s.Load(".config", config)
		got := string(s.Config())
		if !o.compare(name, run+": .config", want.config, got) || !o.compare(name, run+": warnings", want.warnings, warned(o.model, s)) {
			o.keep(name, config)
			return false
		}
		config = []byte(want.config)
	}
	return true
}

// others compares savedefconfig and listnewconfig.
func (o *oracle) others(name string, config []byte) bool {
	want := o.conf(config, nil, "--savedefconfig=saved")
	s := o.model.NewState()
	s.Load(".config", config)
	if !o.compare(name, "savedefconfig", want.output, string(s.Defconfig())) || !o.compare(name, "savedefconfig: warnings", want.warnings, warned(o.model, s)) {
		o.keep(name, config)
		return false
	}
	want = o.conf(config, nil, "--listnewconfig")
	s = o.model.NewState()
	s.Load(".config", config)
	if !o.compare(name, "listnewconfig", want.output, string(s.NewSymbols())) || !o.compare(name, "listnewconfig: warnings", want.warnings, warned(o.model, s)) {
		o.keep(name, config)
		return false
	}
	return true
}

// keep leaves the input of a failed case behind, where it is asked for.
func (o *oracle) keep(name string, config []byte) {
	if dir := os.Getenv("RUN_KERNEL_TEST_KEEP"); dir != "" {
		path := filepath.Join(dir, strings.NewReplacer("/", "-", " ", "-").Replace(filepath.Base(o.srctree)+"-"+name))
		if err := os.WriteFile(path, config, 0o644); err != nil {
			o.t.Error(err)
		}
	}
}

var allModes = map[string]model.Mode{"alldefconfig": model.AllDefault, "allnoconfig": model.AllNo, "allmodconfig": model.AllMod, "allyesconfig": model.AllYes}

func (o *oracle) all() {
	for name, mode := range allModes {
		for _, preset := range []string{"", "kernel/configs/tiny-base.config"} {
			var env []string
			s := o.model.NewState()
			if preset != "" {
				env = []string{"KCONFIG_ALLCONFIG=" + preset}
				data, err := os.ReadFile(filepath.Join(o.srctree, preset))
				if errors.Is(err, fs.ErrNotExist) {
					continue // 5.10 has none
				} else if err != nil {
					o.t.Fatal(err)
				}
				s.Read(preset, data)
			}
			want := o.conf(nil, env, "--"+name)
			s.SetAll(mode)
			got := string(s.Config())
			name := strings.TrimSpace(name + " " + preset)
			if o.compare(name, ".config", want.config, got) && o.compare(name, "warnings", want.warnings, warned(o.model, s)) {
				o.olddefconfig(name, []byte(got))
				o.others(name, []byte(got))
			}
		}
	}
}

// perturb drops lines of a .config and changes others.
func perturb(r *rand.Rand, config []byte) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(string(config)) {
		if r.IntN(100) < 30 {
			continue
		}
		if r.IntN(100) < 5 {
			line = flip(r, strings.TrimSuffix(line, "\n")) + "\n"
		}
		b.WriteString(line)
	}
	return b.Bytes()
}

// flip gives the symbol of a line another value.
func flip(r *rand.Rand, line string) string {
	name, value, set := strings.Cut(line, "=")
	if rest, ok := strings.CutPrefix(line, "# CONFIG_"); ok && strings.HasSuffix(rest, " is not set") {
		name, value, set = "CONFIG_"+strings.TrimSuffix(rest, " is not set"), "n", true
	}
	if !set {
		return line
	}
	switch {
	case value == "y" || value == "m" || value == "n":
		return name + "=" + []string{"y", "m", "n"}[r.IntN(3)]
	case strings.HasPrefix(value, `"`):
		return name + `="` + []string{"", `a \"b\" \\ c`, "x y", "#"}[r.IntN(4)] + `"`
	case strings.HasPrefix(value, "0x"):
		return name + "=" + []string{"0x0", "ff", "0XABCDEF", "0xffffffffffffffff", "0"}[r.IntN(5)]
	}
	return name + "=" + []string{"0", "1", "17", "-5", "1000000", "08"}[r.IntN(6)]
}

// parallel runs n cases on all processors.
func (o *oracle) parallel(n int, run func(i int) bool) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	next, failed := 0, 0
	for range runtime.NumCPU() {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || failed >= 5
				mu.Unlock()
				if stop {
					return
				}
				if !run(i) {
					mu.Lock()
					failed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
}

// random compares on n random configurations, and on perturbed ones.
func (o *oracle) random(first, n int) {
	o.parallel(n, func(i int) bool {
		seed := first + i
		name := fmt.Sprintf("randconfig seed %d", seed)
		config := []byte(o.conf(nil, []string{fmt.Sprintf("KCONFIG_SEED=%d", seed)}, "--randconfig").config)
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		perturbed := perturb(r, config)
		return o.olddefconfig(name, config) && o.olddefconfig("perturbed "+name, perturbed) && (i%4 != 0 || o.others("perturbed "+name, perturbed))
	})
}

// defconfigs compares on those of an architecture.
func (o *oracle) defconfigs() {
	files, err := filepath.Glob(filepath.Join(o.srctree, "arch", arch.OfKernel(o.arch).Kernel, "configs/*_defconfig"))
	if err != nil || len(files) == 0 && o.arch == "x86" {
		o.t.Fatalf("no defconfigs: %v", err)
	}
	if n := len(files); os.Getenv("RUN_KERNEL_TEST_KCONFIG_CASES") == "" && n > perDefconfig {
		// Some of all that there are.
		var some []string
		for i := range perDefconfig {
			some = append(some, files[i*n/perDefconfig])
		}
		files = some
	}
	if single := filepath.Join(o.srctree, "arch", o.arch, "configs/defconfig"); len(files) == 0 || exists(single) {
		files = append(files, single)
	}
	o.parallel(len(files), func(i int) bool {
		data, err := os.ReadFile(files[i])
		if err != nil {
			o.t.Error(err)
			return false
		}
		name := o.arch + " " + filepath.Base(files[i])
		r := rand.New(rand.NewPCG(uint64(i), 4))
		return o.olddefconfig(name, data) && (i%8 != 0 || o.olddefconfig("perturbed "+name, perturb(r, data)) && o.others(name, data))
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestOracle(t *testing.T) {
	seen := map[string]bool{}
	for _, srctree := range trees(t) {
		t.Run(filepath.Base(srctree), func(t *testing.T) {
			if os.Getenv("RUN_KERNEL_TEST_KCONFIG_CASES") == "" {
				var sources string
				for _, name := range []string{"confdata.c", "parser.y", "symbol.c"} {
					data, err := os.ReadFile(filepath.Join(srctree, "scripts/kconfig", name))
					if err != nil {
						t.Fatal(err)
					}
					sources += string(data)
				}
				if seen[sources] {
					t.Skip("a tree with the same conf has been compared")
				}
				seen[sources] = true
			}
			c := build(t, srctree)
			probes := t.TempDir()
			arches := []string{"x86", "arm64", "riscv", "arm", "s390", "powerpc"}
			if os.Getenv("RUN_KERNEL_TEST_KCONFIG_CASES") != "" {
				arches = append(arches, "x86_64", "i386", "mips", "sparc", "parisc", "m68k", "loongarch")
			}
			for _, arch := range arches {
				t.Run(arch, func(t *testing.T) {
					o, err := newOracle(t, srctree, arch, c, probes)
					var refused *syntax.Error
					if arch != "x86" && errors.As(err, &refused) {
						t.Skipf("the compiler of this machine doesn't do for it: %v", err)
					}
					if err != nil {
						t.Fatal(err)
					}
					o.all()
					o.defconfigs()
					o.random(firstSeed(t), number(t, "RUN_KERNEL_TEST_KCONFIG_CASES", perArch))
				})
			}
		})
	}
}
