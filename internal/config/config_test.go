// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write run-kernel.cfg and the golden files anew")

func file(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// loadFile loads a tree's file alone.
func loadFile(t *testing.T, text string) (*Loaded, string, error) {
	t.Helper()
	dir := t.TempDir()
	path := file(t, dir, FileName, text)
	l, err := Load(Sources{TreeDir: dir, Dir: "/work"})
	return l, path, err
}

func loadEnv(environ ...string) (*Loaded, error) {
	return Load(Sources{Dir: "/work", Environ: environ})
}

func loadFlags(t *testing.T, args ...string) (*Loaded, error) {
	t.Helper()
	return Load(Sources{Dir: "/work", Flags: parsed(t, args...)})
}

func parsed(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	flags := pflag.NewFlagSet("run-kernel", pflag.ContinueOnError)
	AddFlags(flags, "run", "kconfig", "build", "watch")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

func TestKeys(t *testing.T) {
	flags, shorts := map[string]bool{}, map[string]bool{}
	variables := map[string]bool{}
	for _, k := range keys {
		if k.help == "" || strings.HasSuffix(k.help, ".") || !regexp.MustCompile(`^[a-z]+\.[a-z_]+$`).MatchString(k.name) {
			t.Errorf("%s: help %q", k.name, k.help)
		}
		if flags[k.flag] || k.short != "" && shorts[k.short] || variables[k.variable()] {
			t.Errorf("%s: its flag or variable isn't its own", k.name)
		}
		flags[k.flag], shorts[k.short], variables[k.variable()] = true, true, true
		if k.table == "run" && k.flag != dashes(strings.TrimPrefix(k.name, "run.")) {
			t.Errorf("%s: the flag is --%s", k.name, k.flag)
		}
	}
	for name := range allowed {
		keyNamed(name)
	}
	for name := range least {
		keyNamed(name)
	}
}

func TestSample(t *testing.T) {
	var sample bytes.Buffer
	if err := Sample(&sample); err != nil {
		t.Fatal(err)
	}
	const golden = "../../" + FileName
	if *update {
		if err := os.WriteFile(golden, sample.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), sample.String()); diff != "" {
		t.Errorf("%s is out of date; go test ./internal/config -update writes it: %s", FileName, diff)
	}

	// As it is, it changes nothing.
	l, _, err := loadFile(t, string(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), l.Config); diff != "" {
		t.Error(diff)
	}
	// Uncommented, each key is there and has its default.
	text := regexp.MustCompile(`(?m)^#([a-z_]+ = )`).ReplaceAllString(string(want), "$1")
	var c Config
	d := toml.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Error(diff)
	}
	l, path, err := loadFile(t, text)
	if err != nil {
		t.Fatal(err)
	}
	c = Default()
	if diff := cmp.Diff(c, l.Config); diff != "" {
		t.Error(diff)
	}
	for _, k := range keys {
		if !strings.HasPrefix(l.Origin(k.name), path+":") {
			t.Errorf("%s isn't in the sample", k.name)
		}
	}
	for l := range strings.Lines(string(want)) {
		if len(l) > 200 {
			t.Errorf("a long line: %s", l)
		}
	}
}

// Of the two keys for the memory, that of the stronger source counts, and of one source
// memory.
func TestMemory(t *testing.T) {
	for _, c := range []struct {
		file string
		flag []string
		want int // MiB
	}{
		{"", nil, 4 << 10},
		{"memory_gib = 2", nil, 2 << 10},
		{"memory = '512M'", nil, 512},
		{"memory = '768'", nil, 768},
		{"memory = '3GiB'", nil, 3 << 10},
		{"memory = '1t'", nil, 1 << 20},
		{"memory_gib = 2\nmemory = '512m'", nil, 512},
		{"memory_gib = 2", []string{"--memory=512M"}, 512},
		{"memory = '512M'", []string{"--memory-gib=2"}, 2 << 10},
		{"memory = '512M'", []string{"--memory-gib=2", "--memory=1G"}, 1 << 10},
	} {
		tree := t.TempDir()
		file(t, tree, FileName, "[run]\n"+c.file+"\n")
		l, err := Load(Sources{TreeDir: tree, Dir: "/", Flags: parsed(t, c.flag...)})
		if err != nil {
			t.Errorf("%s %s: %v", c.file, c.flag, err)
		} else if got := l.Run.MemoryMiB(); got != c.want {
			t.Errorf("%s %s: %d MiB, want %d", c.file, c.flag, got, c.want)
		}
	}
	for _, bad := range []string{"0", "0M", "x", "-1G", "1.5G", "4K", "1MM", "512B", "9999999T", "M"} {
		if n, err := parseSize(bad); err == nil {
			t.Errorf("%s is %d MiB", bad, n)
		}
	}
}

func TestPrecedence(t *testing.T) {
	tree, home := t.TempDir(), t.TempDir()
	user := file(t, home, ".config/run-kernel/"+FileName, "[run]\nsmp = 11\nmemory_gib = 11\nhostname = 'user'\n[build]\narch = 'arm'\njobs = 11\nllvm = '11'\n")
	own := file(t, tree, FileName, "[run]\nmemory_gib = 12\nhostname = 'tree'\n[build]\narch = 'arm64'\njobs = 12\nllvm = '12'\n")
	environ := []string{
		"HOME=" + home, "ARCH=riscv", "LLVM=13", "CROSS_COMPILE=", "RUN_KERNEL_BUILD_LLVM=14", "RUN_KERNEL_RUN_HOSTNAME=env",
		"RUN_KERNEL_BUILD_JOBS=14", "CC=clang", "PATH=/bin",
	}
	l, err := Load(Sources{TreeDir: tree, Dir: "/work", Environ: environ, Flags: parsed(t, "--jobs=15")})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Run.SMP, want.Run.MemoryGiB, want.Run.Hostname = 11, 12, "env"
	want.Build.Arch, want.Build.LLVM, want.Build.Jobs = "riscv", "14", 15
	if diff := cmp.Diff(want, l.Config); diff != "" {
		t.Error(diff)
	}
	for name, origin := range map[string]string{
		"run.network": "default", "run.smp": user + ":2", "run.memory_gib": own + ":2", "build.arch": "$ARCH", "build.llvm": "$RUN_KERNEL_BUILD_LLVM",
		"run.hostname": "$RUN_KERNEL_RUN_HOSTNAME", "build.jobs": "--jobs", "build.cross_compile": "default", "build.cc": "default",
	} {
		if got := l.Origin(name); got != origin {
			t.Errorf("%s comes from %s, want %s", name, got, origin)
		}
	}
	if diff := cmp.Diff([]string{user, own}, l.Files); diff != "" {
		t.Error(diff)
	}

	// A flag at its default's value is a flag nevertheless.
	l, err = Load(Sources{TreeDir: tree, Dir: "/work", Environ: environ, Flags: parsed(t, "--smp=2", "--network", "none")})
	if err != nil || l.Run.SMP != 2 || l.Origin("run.smp") != "--smp" || l.Run.Network != "none" {
		t.Errorf("got %+v %v", l, err)
	}
}

func TestFiles(t *testing.T) {
	tree, home, xdg, other := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	inHome := file(t, home, ".config/run-kernel/"+FileName, "[run]\nsmp = 5\n")
	inXDG := file(t, xdg, "run-kernel/"+FileName, "[run]\nsmp = 6\n")
	inTree := file(t, tree, FileName, "")
	named := file(t, other, "mine.cfg", "")
	file(t, other, "xdg/run-kernel/"+FileName, "broken")
	file(t, other, "home/.config/run-kernel/"+FileName, "broken")
	t.Chdir(other)
	for _, c := range []struct {
		name string
		s    Sources
		want []string
	}{
		{"nothing", Sources{}, nil},
		{"no tree", Sources{Environ: []string{"HOME=" + home}}, []string{inHome}},
		{"tree", Sources{TreeDir: tree, Environ: []string{"HOME=" + home}}, []string{inHome, inTree}},
		{"XDG", Sources{TreeDir: tree, Environ: []string{"HOME=" + home, "XDG_CONFIG_HOME=" + xdg}}, []string{inXDG, inTree}},
		{"relative XDG", Sources{Environ: []string{"HOME=" + home, "XDG_CONFIG_HOME=xdg"}}, []string{inHome}},
		{"relative home", Sources{Environ: []string{"HOME=home"}}, nil},
		{"only XDG", Sources{Environ: []string{"XDG_CONFIG_HOME=" + xdg}}, []string{inXDG}},
		{"no home", Sources{Environ: []string{"HOME=/dev/null"}}, nil},
		{"another file", Sources{TreeDir: tree, Dir: other, ConfigFile: "mine.cfg", Environ: []string{"HOME=" + home}}, []string{inHome, named}},
		{"another file, absolute", Sources{TreeDir: tree, Dir: "/", ConfigFile: named}, []string{named}},
		{"no file in the tree", Sources{TreeDir: home}, nil},
	} {
		l, err := Load(c.s)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if diff := cmp.Diff(c.want, l.Files); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	if _, err := Load(Sources{ConfigFile: "absent", Dir: other}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: got %v", err)
	}
	if err := os.Mkdir(filepath.Join(home, FileName), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Sources{TreeDir: home}); err == nil {
		t.Error("a directory is no error")
	}
}

// The message and the hint of each slip. The place is file:line:column.
func TestFileErrors(t *testing.T) {
	for _, c := range []struct{ name, text, place, problem, hint string }{
		{"no table", "smp = 4\n", "1:1", `unknown key "smp"`, "smp belongs in the table [run]"},
		{"wrong table", "[build]\nsmp = 4\n", "2:1", `unknown key "build.smp"`, "smp belongs in the table [run]"},
		{"wrong table and dash", "[build]\n\n  memory-gib = 4\n", "3:3", `unknown key "build.memory-gib"`, "memory_gib belongs in the table [run]"},
		{"two tables might", "jobs = 4\n", "1:1", `unknown key "jobs"`, "jobs belongs in the table [build]"},
		{"dash", "[run]\nmemory-gib = 4\n", "2:1", `unknown key "run.memory-gib"`, "did you mean memory_gib?"},
		{"typo", "[run]\nmemory_gb = 4\n", "2:1", `unknown key "run.memory_gb"`, "did you mean memory_gib?"},
		{"case", "[run]\nSMP = 4\n", "2:1", `unknown key "run.SMP"`, "did you mean smp?"},
		{"typo and wrong table", "[build]\nkernel_extra_arg = []\n", "2:1", `unknown key "build.kernel_extra_arg"`, "did you mean kernel_extra_args in the table [run]?"},
		{"table", "[runn]\nsmp = 4\n", "1:2", `unknown key "runn"`, "did you mean the table [run]?"},
		{"nothing like it", "[run]\nfrobnicate = 4\n", "2:1", `unknown key "run.frobnicate"`, "run-kernel config lists the keys"},
		{"dotted", "run.smpp = 4\n", "1:1", `unknown key "run.smpp"`, "did you mean smp?"},
		{"string for a number", "[run]\nsmp = \"4\"\n", "2:7", "the value is of type string, and should be a whole number", "TOML"},
		{"number for a string", "[run]\n\nhostname = 4\n", "3:12", "the value is of type integer, and should be a string in quotes", "TOML"},
		{"float", "[run]\nsmp = 1.5\n", "2:7", "", "TOML"},
		{"string for a list", "[run]\nkernel_extra_args = 'a b'\n", "2:21", `the value is of type string, and should be a list: ["…", "…"]`, "TOML"},
		{"number in a list", "[run]\nkernel_extra_args = ['a', 4]\n", "2:27", "", "TOML"},
		{"string for a bool", "[kconfig]\nfix = 'yes'\n", "2:7", "should be true or false", "TOML"},
		{"bad duration", "[run]\nboot_timeout = 'soon'\n", "2:16", `"soon" is not a duration such as`, "TOML"},
		{"table in capitals", "[RUN]\nsmp = 4\n", "2:1", `unknown key "RUN.smp"`, "smp belongs in the table [run]"},
		{"duration without a unit", "[run]\nboot_timeout = 5\n", "2", "run.boot_timeout isn't a duration such as", ""},
		{"fraction for a duration", "[watch]\nnotify = 1.5\n", "2", "watch.notify isn't a duration such as", ""},
		{"truth for a duration", "[run]\nboot_limit = '1m'\nboot_timeout = true\n", "3", "run.boot_timeout isn't a duration such as", ""},
		{"negative duration", "[run]\nboot_timeout = '-1s'\n", "2:16", `"-1s" is not a duration`, "TOML"},
		{"syntax", "[run]\nsmp == 4\n", "2:6", "", "TOML"},
		{"value without quotes", "[run]\nhostname = me\n", "2:12", "", "TOML"},
		{"twice", "[run]\nsmp = 4\nsmp = 5\n", "3:1", "", "TOML"},
		{"table is a value", "run = 4\n", "1:7", "the value is of type integer, and should be a table", "TOML"},
		{"value is a table", "[run.smp]\nx = 4\n", "1:2", "this key is no table", "TOML"},
		{"value is an inline table", "[run]\nsmp = { x = 4 }\n", "2:7", "the value is of type inline table, and should be a whole number", "TOML"},
		{"list of tables", "[[run]]\nsmp = 4\n", "1:3", "this table is written with one pair of brackets", "TOML"},
		{"list for a duration", "[run]\nboot_timeout = [1]\n", "2:16", "the value is of type array, and should be a duration such as", "TOML"},
		{"too little", "[run]\nsmp = 0\n", "2", "run.smp: 0 is less than 1", ""},
		{"more than an int of MiB", "[run]\nmemory_gib = 18014398509481985\n", "2", "run.memory_gib: no guest has 18014398509481985 GiB of memory", ""},
		{"negative", "[run]\nmemory_gib = 4\n[build]\njobs = -1\n", "4", "build.jobs: -1 is less than 0", ""},
		{"no size", "[run]\nmemory = '4X'\n", "2", `run.memory: "4X" isn't a size such as 512M or 6G`, ""},
		{"no host name", "[run]\nhostname = 'a b'\n", "2", `run.hostname: "a b" isn't a host name: up to 64 letters`, ""},
		{"an option for a build host", "[build]\nhost = '-oProxyCommand=x'\n", "2", `build.host: "-oProxyCommand=x" isn't a machine`, ""},
		{"modules for a build host", "[build]\nhost = 'a'\nexternal = ['m']\n", "2", "aren't built on another machine", ""},
		{"a long host name", "[run]\nhostname = '" + strings.Repeat("x", 65) + "'\n", "2", "isn't a host name", ""},
		{"no such value", "[run]\naccel = 'xen'\n", "2", `run.accel: "xen" isn't one of auto, kvm, tcg`, ""},
		{"no such userland", "[run]\nuserland = 'debian'\n", "2", `run.userland: "debian" isn't auto, nix, host or a path`, ""},
	} {
		_, path, err := loadFile(t, c.text)
		var v *ValueError
		if !errors.As(err, &v) {
			t.Errorf("%s: got %v", c.name, err)
			continue
		}
		if v.Where != path+":"+c.place || !strings.Contains(v.Problem, c.problem) || v.Problem == "" ||
			!strings.Contains(v.Hint(), c.hint) || c.hint == "" && v.Hint() != "" {
			t.Errorf("%s: got %s: %s, hint %q", c.name, strings.TrimPrefix(v.Where, path+":"), v.Problem, v.Hint())
		}
		if strings.ContainsAny(v.Problem, "\n") {
			t.Errorf("%s: the problem has several lines: %q", c.name, v.Problem)
		}
	}
	// All are reported at once.
	_, _, err := loadFile(t, "a = 1\n[run]\nb = 2\n")
	if n := strings.Count(err.Error(), "unknown key"); n != 2 {
		t.Errorf("%d of two unknown keys: %v", n, err)
	}
	_, _, err = loadFile(t, "[run]\nsmp = 0\nnetwork = 'x'\n")
	if n := strings.Count(err.Error(), FileName+":"); n != 2 {
		t.Errorf("%d of two bad values: %v", n, err)
	}
}

func TestOriginLines(t *testing.T) {
	l, path, err := loadFile(t, `build = { jobs = 1, cc = "x" }
run.smp = 1
[ kconfig ] # a table
require = [
	"fix = y",
	'X="[run]"',
]
"fix" = true
[watch]
ignore = ["""
quiet = '1s'
"""]
  max = "1s"
`)
	if err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"build.jobs": ":1", "build.cc": ":1", "run.smp": ":2", "kconfig.require": ":4", "kconfig.fix": ":8", "watch.ignore": ":10", "watch.max": ":13",
	} {
		if got := l.Origin(name); got != path+line {
			t.Errorf("%s comes from %s, want %s", name, got, line)
		}
	}
	if got := l.Origin("watch.quiet"); got != "default" {
		t.Errorf("watch.quiet comes from %s", got)
	}
}

func TestEnvironment(t *testing.T) {
	l, err := loadEnv(
		"ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-", "KBUILD_OUTPUT=../out", "RUN_KERNEL_BUILD_CC=ccache gcc", "RUN_KERNEL_RUN_SMP=3",
		"RUN_KERNEL_KCONFIG_FIX=false", "RUN_KERNEL_RUN_BOOT_TIMEOUT=90s", "RUN_KERNEL_RUN_QEMU_EXTRA_ARGS=-device 'a, b' -s",
		"RUN_KERNEL_TEST_FOO=1", "RUN_KERNELS=1",
	)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Build.Arch, want.Build.CrossCompile, want.Build.Output, want.Build.CC = "arm64", "aarch64-linux-gnu-", "/out", "ccache gcc"
	want.Run.SMP, want.Kconfig.Fix, want.Run.BootTimeout = 3, false, Duration(90*time.Second)
	want.Run.QEMUExtraArgs = []string{"-device", "a, b", "-s"}
	if diff := cmp.Diff(want, l.Config); diff != "" {
		t.Error(diff)
	}

	for _, c := range []struct{ e, problem, hint string }{
		{"RUN_KERNEL_RUN_SMPP=1", "unknown variable", "RUN_KERNEL_RUN_SMP"},
		{"RUN_KERNEL_SMP=1", "unknown variable", "RUN_KERNEL_RUN_SMP"},
		{"RUN_KERNEL_MEMORY_GIB=1", "unknown variable", "RUN_KERNEL_RUN_MEMORY_GIB"},
		{"RUN_KERNEL_RUN_KERNEL_ARGS=1", "unknown variable", ""},
		{"RUN_KERNEL_FROBNICATE=1", "unknown variable", ""},
		{"RUN_KERNEL_RUN_SMP=two", `"two" is not a number`, ""},
		{"RUN_KERNEL_RUN_SMP=", "is not a number", ""},
		{"RUN_KERNEL_RUN_SMP=0", "run.smp: 0 is less than 1", ""},
		{"RUN_KERNEL_KCONFIG_FIX=perhaps", "neither true nor false", ""},
		{"RUN_KERNEL_RUN_BOOT_TIMEOUT=-5s", "is not a duration", ""},
		{"RUN_KERNEL_RUN_QEMU_EXTRA_ARGS='open", "quot", ""},
		{"RUN_KERNEL_RUN_KERNEL_EXTRA_ARGS=\"open", "quot", ""},
	} {
		_, err := loadEnv(c.e)
		var v *ValueError
		if !errors.As(err, &v) {
			t.Errorf("%s: got %v", c.e, err)
			continue
		}
		name, _, _ := strings.Cut(c.e, "=")
		if v.Where != "$"+name || !strings.Contains(v.Problem, c.problem) || !strings.Contains(v.Hint(), c.hint) {
			t.Errorf("%s: got %v, hint %q", c.e, v, v.Hint())
		}
	}
}

func TestFlags(t *testing.T) {
	l, err := loadFlags(t, "-O", "out", "-j4", "--require=A=y", "--require", "B>=2", "--kconfig-fix=false", "--settle=1s", "--exec", "a b",
		"--qemu-extra-args=-s -S", "--qemu-extra-args", "'x y'", "--cc=ccache gcc")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Build.Output, want.Build.Jobs, want.Build.CC = "/work/out", 4, "ccache gcc"
	want.Kconfig.Require, want.Kconfig.Fix = []string{"A=y", "B>=2"}, false
	want.Watch.Quiet, want.Watch.Exec = Duration(time.Second), "a b"
	want.Run.QEMUExtraArgs = []string{"-s", "-S", "x y"}
	if diff := cmp.Diff(want, l.Config); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct{ arg, where string }{
		{"--boot-timeout=soon", "--boot-timeout"},
		{"--smp=0", "--smp"},
		{"--accel=xen", "--accel"},
		{"--qemu-extra-args='", "--qemu-extra-args"},
		{"--jobs=-1", "--jobs"},
	} {
		_, err := loadFlags(t, c.arg)
		var v *ValueError
		if !errors.As(err, &v) || v.Where != c.where {
			t.Errorf("%s: got %v", c.arg, err)
		}
	}
	// Only the tables that a command has.
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(flags, "build")
	if flags.Lookup("jobs") == nil || flags.Lookup("smp") != nil {
		t.Error("flags of another table")
	}
}

// In a variable or a flag the kernel's arguments are one text, split as the
// kernel does it; in a file each item is what it is.
func TestKernelExtraArgs(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                  {},
		"quiet":                             {"quiet"},
		"  quiet \t loglevel=3\n":           {"quiet", "loglevel=3"},
		`dyndbg="file a.c +p; file b.c +p"`: {`dyndbg="file a.c +p; file b.c +p"`},
		`"dyndbg=file a.c +p" quiet`:        {`"dyndbg=file a.c +p"`, "quiet"},
		`it's a\b #c`:                       {"it's", `a\b`, "#c"},
	} {
		e, err := loadEnv("RUN_KERNEL_RUN_KERNEL_EXTRA_ARGS=" + text)
		if err != nil {
			t.Fatal(err)
		}
		f, err := loadFlags(t, "--kernel-extra-args", text)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range [][]string{e.Run.KernelExtraArgs, f.Run.KernelExtraArgs} {
			if !slices.Equal(want, got) {
				t.Errorf("%q: got %q", text, got)
			}
		}
	}
	f, err := loadFlags(t, "--kernel-extra-args", "a b", "--kernel-extra-args=c")
	if err != nil || !slices.Equal(f.Run.KernelExtraArgs, []string{"a", "b", "c"}) {
		t.Errorf("got %+v %v", f, err)
	}
	l, _, err := loadFile(t, "[run]\nkernel_extra_args = [\"a b\", '''c \"d e\"''']\n")
	if err != nil || !slices.Equal(l.Run.KernelExtraArgs, []string{"a b", `c "d e"`}) {
		t.Errorf("got %+v %v", l, err)
	}
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	path := file(t, dir, FileName, `[run]
kernel = "a/vmlinux"
qemu = "bin/qemu"
virtiofsd = "virtiofsd"
userland = "./root"
[kconfig]
fragments = ["debug.config", "/abs.config"]
[build]
output = "../out"
cc = "ccache gcc"
[watch]
ignore = ["Documentation"]
`)
	l, err := Load(Sources{ConfigFile: path, Dir: "/work"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Run.Kernel, want.Run.QEMU, want.Run.Virtiofsd, want.Run.Userland = dir+"/a/vmlinux", dir+"/bin/qemu", "virtiofsd", dir+"/root"
	want.Kconfig.Fragments = []string{dir + "/debug.config", "/abs.config"}
	want.Build.Output, want.Build.CC = filepath.Join(dir, "../out"), "ccache gcc"
	want.Watch.Ignore = []string{dir + "/Documentation"}
	if diff := cmp.Diff(want, l.Config); diff != "" {
		t.Error(diff)
	}
	if l, err = loadFlags(t, "--kernel=vmlinux", "--fragment=x.config", "--userland=./r", "--qemu=./q", "--output="); err != nil {
		t.Fatal(err)
	}
	want = Default()
	want.Run.Kernel, want.Run.Userland, want.Run.QEMU, want.Kconfig.Fragments = "/work/vmlinux", "/work/r", "/work/q", []string{"/work/x.config"}
	if diff := cmp.Diff(want, l.Config); diff != "" {
		t.Error(diff)
	}
}

// What Print writes can be read again, and is the same.
func TestPrint(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, FileName, `[run]
smp = 8
kernel_extra_args = ["a b", 'c"d"', "e\\f # g", "h\ni", "ü"]
boot_timeout = "90s"
[kconfig]
require = ['X="y"']
[watch]
exec = "it's \"quoted\" # \\ $HOME"
quiet = "0"
max = 0
`)
	l, err := Load(Sources{TreeDir: dir, Dir: "/work", Environ: []string{"ARCH=arm64"}, Flags: parsed(t, "-O", "o u t")})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := l.Print(&b); err != nil {
		t.Fatal(err)
	}
	again, _, err := loadFile(t, b.String())
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	if diff := cmp.Diff(l.Config, again.Config); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{
		"smp = 8", "# " + dir + "/run-kernel.cfg:2\n", "arch = 'arm64'", "# $ARCH\n", "# --output\n", "memory_gib = 4", "# default\n",
		"boot_timeout = '1m30s'",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

// What is wrong with trust is said in the words of the file, too.
func TestTrustIsNoList(t *testing.T) {
	home := t.TempDir()
	path := file(t, home, ".config/run-kernel/"+FileName, "trust = '/srv/linux'\n")
	_, err := FindTrust([]string{"HOME=" + home})
	if want := path + `:1:9: the value is of type string, and should be a list: ["…", "…"]`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// An empty path is mostly a variable that isn't set, and not meant to be the directory that
// we are in: a guest could write that.
func TestEmptyPaths(t *testing.T) {
	for _, flag := range []string{"rwdir", "hide", "fragment", "external", "ignore", "rerun"} {
		_, err := loadFlags(t, "--"+flag+"=/a", "--"+flag+"=")
		var v *ValueError
		if !errors.As(err, &v) || v.Where != "--"+flag || !strings.HasSuffix(v.Problem, `: "" is no path`) {
			t.Errorf("--%s: got %v", flag, err)
		}
	}
	if _, _, err := loadFile(t, "[run]\nrwdir = ['']\n"); err == nil || !strings.Contains(err.Error(), `run.rwdir: "" is no path`) {
		t.Errorf("in a file: got %v", err)
	}
	// No list at all is none.
	l, err := loadEnv("RUN_KERNEL_RUN_HIDE=", "RUN_KERNEL_RUN_RWDIR=")
	if err != nil || len(l.Run.Hide) > 0 || len(l.Run.Rwdir) > 0 {
		t.Errorf("empty variables: %v", err)
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0s", "200ms": "200ms", "60s": "1m", "90s": "1m30s", "1h": "1h", "1h30m": "1h30m", "1h5s": "1h0m5s", "10m": "10m",
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != want {
			t.Errorf("%s: got %s %v", text, d, err)
		}
		var again Duration
		if b, _ := d.MarshalText(); again.UnmarshalText(b) != nil || again != d {
			t.Errorf("%s: %s is read as %s", text, b, again)
		}
	}
	for _, text := range []string{"", "5", "-1s", "x", "1 s"} {
		if err := new(Duration).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a duration", text)
		}
	}
}
