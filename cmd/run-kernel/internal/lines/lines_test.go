// SPDX-License-Identifier: GPL-3.0-only

package lines

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kbuild"
)

func TestMain(m *testing.M) {
	// The compiler's guard is this executable, and so is what removes its objects.
	proc.Main()
	private.Main()
	os.Exit(m.Run())
}

const (
	mainSource = `const char linux_banner[] = "Linux version 6.1.7 (me@host) (gcc 12) #3 SMP now";
int kernel_init(void) { return 0; }
`
	driverSource = `/* A driver. */

static __attribute__((noipa)) int fault(int *p)
{
	return *p;
}

int probe(int *p)
{
	return fault(p) + 1;
}
`
)

// build compiles and links a tree with a driver, and returns a report that has the
// driver's functions.
func build(t *testing.T, flags string) (*kbuild.Tree, string) {
	t.Helper()
	for _, name := range []string{"gcc", "ar"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	tree := &kbuild.Tree{Source: t.TempDir(), BuildDir: t.TempDir()}
	write(t, filepath.Join(tree.Source, "init/main.c"), mainSource)
	write(t, filepath.Join(tree.Source, "drv/driver.c"), driverSource)
	for _, object := range []string{"init/main.o", "drv/driver.o"} {
		source := filepath.Join(tree.Source, strings.TrimSuffix(object, ".o")+".c")
		command := fmt.Sprintf("gcc -O2%s -c -o %s %s", flags, object, source)
		sh(t, tree.BuildDir, "mkdir -p "+filepath.Dir(object)+"; "+command)
		dir, base := filepath.Split(object)
		write(t, filepath.Join(tree.BuildDir, dir, "."+base+".cmd"),
			fmt.Sprintf("cmd_%s := %s\n\nsource_%s := %s\n\ndeps_%s := \\\n\n%s: $(deps_%s)\n", object, command, object, source, object, object, object))
	}
	sh(t, tree.BuildDir, "ar cDPrST vmlinux.a init/main.o drv/driver.o")
	sh(t, tree.BuildDir, "gcc -nostdlib -no-pie -Wl,-e,probe init/main.o drv/driver.o -o vmlinux")
	f, err := elf.Open(filepath.Join(tree.BuildDir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	size := make(map[string]uint64)
	for _, s := range symbols {
		size[s.Name] = s.Size
	}
	return tree, fmt.Sprintf(`Linux version 6.1.7 (me@host) (gcc 12) #3 SMP now
BUG: kernel NULL pointer dereference, address: 0000000000000000
RIP: 0010:fault+0x0/%#x
Call Trace:
 probe+0x0/%#x
---[ end trace 0000000000000000 ]---
`, size["fault"], size["probe"])
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func sh(t *testing.T, dir, command string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", command)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// named is the report of a log as a decoder names it.
func named(t *testing.T, d *Decoder, log string) (text string, r report.Report) {
	t.Helper()
	reports, err := report.Parse(strings.NewReader(log))
	if err != nil || len(reports) != 1 {
		t.Fatal(len(reports), err)
	}
	r = reports[0]
	if err := d.Decode(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Frames() {
		text += fmt.Sprintf("%s %s:%d\n", f.Function, f.File, f.Line)
	}
	return text, r
}

const (
	wantNamed   = "fault drv/driver.c:5\nprobe drv/driver.c:9\n"
	wantUnnamed = "fault :0\nprobe :0\n"
)

func TestDecode(t *testing.T) {
	for name, flags := range map[string]string{"with debug information": " -g", "without": ""} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			tree, log := build(t, flags)
			d, err := Open(tree)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if d.Cheap() != (flags != "") {
				t.Error("it says that the decoder is cheap, or that it isn't")
			}
			text, r := named(t, d, log)
			if text != wantNamed {
				t.Error(text)
			}
			around, edited := d.Source(r.File, r.Line)
			if len(around) != 5 || around[0] != (Line{3, "static __attribute__((noipa)) int fault(int *p)"}) || around[2] != (Line{5, "\treturn *p;"}) || time.Since(edited) > time.Hour {
				t.Errorf("%+v of %s", around, edited)
			}
			if leftovers, _ := os.ReadDir(temp); len(leftovers) > 0 {
				t.Errorf("left behind: %s", leftovers)
			}
			// Another build takes the place of this one.
			sh(t, tree.BuildDir, "rm vmlinux vmlinux.a; echo other >vmlinux")
			if text, _ := named(t, d, log); text != wantNamed {
				t.Errorf("after another build: %s", text)
			}
			later := time.Now().Add(time.Minute)
			if err := os.Chtimes(filepath.Join(tree.Source, r.File), later, later); err != nil {
				t.Fatal(err)
			}
			if around, _ := d.Source(r.File, r.Line); len(around) > 0 {
				t.Errorf("lines of a file that was edited since: %+v", around)
			}
		})
	}
}

// What isn't as it was when the kernel was linked isn't compiled.
func TestLater(t *testing.T) {
	tree, log := build(t, "")
	later := time.Now().Add(time.Minute)
	for _, path := range []string{filepath.Join(tree.Source, "drv/driver.c"), filepath.Join(tree.BuildDir, "drv/driver.o")} {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, later, later); err != nil {
			t.Fatal(err)
		}
		d, err := Open(tree)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := named(t, d, log); text != wantUnnamed {
			t.Errorf("with a younger %s: %s", path, text)
		}
		d.Close()
		if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
}

// A module that is replaced in the guest is the present build's; another one isn't.
func TestReplace(t *testing.T) {
	tree, log := build(t, " -g")
	write(t, filepath.Join(tree.BuildDir, "modules.order"), "drv/driver.ko\ndrv/other.ko\n")
	d, err := Open(tree)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, fault, _ := strings.Cut(log, "0010:")
	fault, _, _ = strings.Cut(fault, "\n")
	log = strings.Replace(log, "---[", " "+fault+" [driver]\n "+fault+" [other]\n---[", 1)
	if text, _ := named(t, d, log); text != wantNamed+"fault :0\nfault :0\n" {
		t.Errorf("without modules: %s", text)
	}
	for _, name := range []string{"driver", "other"} {
		sh(t, tree.BuildDir, "cp drv/driver.o drv/"+name+".ko.new; mv drv/"+name+".ko.new drv/"+name+".ko")
	}
	d.Replace([]string{"driver"})
	if text, _ := named(t, d, log); text != wantNamed+"fault drv/driver.c:5\nfault :0\n" {
		t.Errorf("after the swap: %s", text)
	}
}

// A vmlinux from elsewhere has its modules beside it.
func TestOpenVmlinux(t *testing.T) {
	tree, log := build(t, " -g")
	dir := t.TempDir()
	sh(t, dir, "mkdir -p a/b; cp "+tree.BuildDir+"/vmlinux .; cp "+tree.BuildDir+"/drv/driver.o a/b/my-driver.ko")
	d, err := OpenVmlinux(filepath.Join(dir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, fault, _ := strings.Cut(log, "0010:")
	fault, _, _ = strings.Cut(fault, "\n")
	log = strings.Replace(log, "---[", " "+fault+" [my_driver]\n "+fault+" [other]\n---[", 1)
	want := wantNamed + "fault drv/driver.c:5\nfault :0\n"
	if text, r := named(t, d, log); text != want {
		t.Errorf("%s", text)
	} else if around, _ := d.Source(r.File, r.Line); len(around) > 0 {
		t.Errorf("lines of an unknown tree: %+v", around)
	}
	if _, err := Open(&kbuild.Tree{Source: dir, BuildDir: filepath.Join(dir, "a")}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
