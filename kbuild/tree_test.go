// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/proc"
)

func TestMain(m *testing.M) {
	proc.Main()
	// Under the race detector each guard would wait for a second at its end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const makefile = `# SPDX-License-Identifier: GPL-2.0
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 0
EXTRAVERSION = -rc3
NAME = Baby Opossum Posse
`

// write makes files, and the directories above them. A name that ends with a slash
// is a directory.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// source makes what looks like a kernel's source.
func source(t *testing.T, dir string) string {
	t.Helper()
	write(t, dir, map[string]string{
		"Kbuild": "", "Kconfig": "", "Makefile": makefile, "scripts/kconfig/": "", "init/main.c": "", "drivers/net/foo.c": "",
	})
	return dir
}

// physical is a temporary directory by its name without links.
func physical(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func TestFindArch(t *testing.T) {
	src := source(t, physical(t)+"/linux")
	write(t, src, map[string]string{"arch/x86/": "", "arch/riscv/": "", "arch/Kconfig": ""})
	for _, arch := range []string{"x86", "i386", "riscv"} {
		if _, err := Find(Options{Dir: src, Arch: arch}); err != nil {
			t.Error(err)
		}
	}
	var unknown *ArchError
	if _, err := Find(Options{Dir: src, Arch: "aarch64", Output: "out"}); !errors.As(err, &unknown) || unknown.Hint() != "it has riscv, x86" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(src + "/out"); err == nil {
		t.Error("a build directory was made")
	}
}

func TestFind(t *testing.T) {
	top := physical(t)
	src, out := source(t, top+"/linux"), top+"/out"
	write(t, top, map[string]string{"out/drivers/": "", "linux/inner/drivers/": "", "elsewhere/": "", "not/linux/Makefile": ""})
	link(t, src, out+"/source")
	link(t, "..", src+"/inner/source")
	link(t, src, top+"/alias")
	link(t, src+"/drivers/net", top+"/mydriver")
	for _, c := range []struct {
		name, dir, output string
		build             string // empty: not a tree
	}{
		{"top", "linux", "", "linux"},
		{"below", "linux/drivers/net", "", "linux"},
		{"build directory", "out", "", "out"},
		{"below a build directory", "out/drivers", "", "out"},
		{"build directory in the source", "linux/inner", "", "linux/inner"},
		{"below a build directory in the source", "linux/inner/drivers", "", "linux/inner"},
		{"O= absolute", "linux", top + "/out", "out"},
		{"O= relative", "linux", "../out", "out"},
		{"O= relative to a directory below", "linux/drivers/net", "../../../out", "out"},
		{"O= in the source", "linux", "inner", "linux/inner"},
		{"O= new", "linux", "../fresh/dir", "fresh/dir"},
		{"O= is the source", "linux", ".", "linux"},
		{"O= in that build directory", "out", top + "/out", "out"},
		{"O= in another build directory", "out", "../third", "third"},
		{"link to the tree", "alias", "", "linux"},
		{"below a link to the tree", "alias/drivers", "", "linux"},
		{"link into the tree", "mydriver", "", "linux"},
		{"O= and a link to the tree", "linux", "../alias/inner", "linux/inner"},
		{"no tree", "elsewhere", "", ""},
		{"no tree with O=", "elsewhere", "../out", ""},
		{"only a Makefile", "not/linux", "", ""},
		{"nowhere", "absent", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, err := Find(Options{Dir: filepath.Join(top, c.dir), Output: c.output})
			if c.build == "" {
				var not *NotTreeError
				if !errors.As(err, &not) || not.Hint() == "" || not.Dir != filepath.Join(top, c.dir) {
					t.Errorf("got %+v %v", tree, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := []string{tree.Source, tree.BuildDir, tree.ConfigPath()}
			want := []string{src, filepath.Join(top, c.build), filepath.Join(top, c.build, ".config")}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if tree.InTree() != (c.build == "linux") {
				t.Errorf("InTree says %v", tree.InTree())
			}
		})
	}
	t.Run("no directory for O=", func(t *testing.T) {
		if _, err := Find(Options{Dir: src, Output: "Makefile/x"}); err == nil || !strings.Contains(err.Error(), "build directory") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("relative", func(t *testing.T) {
		t.Chdir(src + "/drivers")
		tree, err := Find(Options{Dir: "net"})
		if err != nil || tree.Source != src {
			t.Errorf("got %+v %v", tree, err)
		}
	})
}

func TestDirtySource(t *testing.T) {
	for name, dirty := range map[string]string{
		".config": ".config", "include/config/": "include/config", "arch/x86/include/generated/": "arch/x86/include/generated",
	} {
		top := physical(t)
		src := source(t, top+"/linux")
		write(t, src, map[string]string{name: ""})
		tools(t, "exit 0")
		tree, err := Find(Options{Dir: src, Output: "../out", Arch: "x86_64"})
		if err != nil {
			t.Fatal(err)
		}
		_, build := tree.Build(t.Context(), BuildOptions{Target: "vmlinux"})
		for _, err := range []error{build, tree.Configure(t.Context(), "olddefconfig", "x")} {
			var d *dirtySourceError
			if !errors.As(err, &d) || d.found != dirty || !strings.Contains(d.Hint(), "mrproper") {
				t.Errorf("%s: got %v", name, err)
			}
		}
		// Alone, the source is good.
		if tree, err = Find(Options{Dir: src}); err != nil {
			t.Fatal(err)
		}
		if err := tree.Configure(t.Context(), "olddefconfig", "x"); err != nil {
			t.Error(err)
		}
	}
}

// The top Makefile has such a check for the source: with $(words $(subst :, ,DIR)).
func TestCheckPaths(t *testing.T) {
	for _, c := range []struct{ source, build, want string }{
		{"linux", "", ""},
		{"linux", "o,ü t", ""},
		{"my linux", "", "a blank or a colon in the path of the source tree: "},
		{"my\tlinux", "out", "a blank or a colon in the path of the source tree: "},
		{"linux:6.1", "", "a blank or a colon in the path of the source tree: "},
		{"linux", "out:6.1", "a colon in the path of the build directory: "},
	} {
		top := physical(t)
		src := source(t, filepath.Join(top, c.source))
		tools(t, "exit 0")
		o := Options{Dir: src}
		if c.build != "" {
			o.Output = filepath.Join(top, c.build)
		}
		tree, err := Find(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{tree.CheckPaths(), tree.Configure(t.Context(), "olddefconfig", "x")} {
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("source %q, build %q: got %v", c.source, c.build, err)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	src := source(t, physical(t))
	tree, err := Find(Options{Dir: src})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		makefile: "6.12.0-rc3",
		"VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 176\nEXTRAVERSION =\nNAME = Curry Ramen\n": "6.1.176",
		"VERSION = 7\nPATCHLEVEL = 0\nSUBLEVEL =\nEXTRAVERSION =\n":                         "7.0",
		"# nothing\n": "",
		"":            "",
	} {
		write(t, src, map[string]string{"Makefile": text})
		got, err := tree.Version()
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: got %q %v", text, got, err)
		}
	}
	if err := os.Remove(src + "/Makefile"); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Version(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no Makefile: got %v", err)
	}
}

func TestImage(t *testing.T) {
	for _, c := range []struct {
		arch         string
		pvh          bool
		path, target string
	}{
		{"x86", true, "vmlinux", "vmlinux"},
		{"x86_64", true, "vmlinux", "vmlinux"},
		{"x86_64", false, "arch/x86/boot/bzImage", "bzImage"},
		{"i386", false, "arch/x86/boot/bzImage", "bzImage"},
		{"arm64", true, "arch/arm64/boot/Image", "Image"},
		{"riscv", false, "arch/riscv/boot/Image", "Image"},
		{"s390", false, "arch/s390/boot/bzImage", "bzImage"},
		{"powerpc", false, "vmlinux", "vmlinux"},
	} {
		tree := &Tree{BuildDir: "/out", options: Options{Arch: c.arch}}
		path, target := tree.Image(func(symbol string) bool { return c.pvh && symbol == "PVH" })
		if path != "/out/"+c.path || target != c.target {
			t.Errorf("%s: got %s %s", c.arch, path, target)
		}
	}
}

// The keys name what is enabled beside PVH.
func TestImageOfASanitizerKernel(t *testing.T) {
	for options, want := range map[string]string{
		"":      "vmlinux",
		"KASAN": "bzImage",
		"KCSAN": "bzImage",
		"KMSAN": "bzImage",
		"UBSAN KCOV KCOV_INSTRUMENT_ALL STACKPROTECTOR_STRONG": "vmlinux",
	} {
		tree := &Tree{BuildDir: "/out", options: Options{Arch: "x86_64"}}
		enabled := append(strings.Fields(options), "PVH")
		if _, target := tree.Image(func(symbol string) bool { return slices.Contains(enabled, symbol) }); target != want {
			t.Errorf("%s: got %s", options, target)
		}
	}
}

func TestArch(t *testing.T) {
	for arch, want := range map[string]string{"x86_64": "x86", "i386": "x86", "x86": "x86", "arm64": "arm64", "sparc64": "sparc", "um": "um"} {
		tree := &Tree{options: Options{Arch: arch}}
		if tree.Arch() != arch || tree.SrcArch() != want {
			t.Errorf("%s: got %s %s", arch, tree.Arch(), tree.SrcArch())
		}
	}
	if runtime.GOARCH == "amd64" {
		if tree := new(Tree); tree.Arch() != "x86" || tree.SrcArch() != "x86" {
			t.Errorf("this machine: got %s %s", tree.Arch(), tree.SrcArch())
		}
	}
}

func TestStateDir(t *testing.T) {
	tree, err := Find(Options{Dir: source(t, physical(t))})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		dir, err := tree.StateDir()
		if err != nil || dir != tree.BuildDir+"/.run-kernel" {
			t.Fatalf("got %s %v", dir, err)
		}
		if data, err := os.ReadFile(dir + "/.gitignore"); string(data) != "*\n" {
			t.Errorf("got %q %v", data, err)
		}
	}
}
