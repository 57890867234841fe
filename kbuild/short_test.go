// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/kbuild/graph"
)

// thin is a thin archive as ar writes it.
func thin(members ...string) string {
	var names, headers strings.Builder
	for _, m := range members {
		name := fmt.Sprintf("/%d", names.Len())
		names.WriteString(m + "/\n")
		fmt.Fprintf(&headers, "%-16s%-12d%-6d%-6d%-8d%-10d`\n", name, 0, 0, 0, 644, 4096)
	}
	if len(members) == 0 {
		return "!<arch>\n"
	}
	if names.Len()%2 == 1 {
		names.WriteByte('\n')
	}
	return fmt.Sprintf("!<thin>\n%-48s%-10d`\n%s%s", "//", names.Len(), names.String(), headers.String())
}

// objectCmd is the .cmd file of an object, or of another target that a compiler makes.
func objectCmd(src, target, source string, headers ...string) string {
	text := fmt.Sprintf("savedcmd_%s := gcc -Wp,-MMD,x.d -c -o %s %s/%s\n\nsource_%s := %s/%s\n\ndeps_%s := \\\n", target, target, src, source, target, src, source, target)
	for _, h := range headers {
		text += "  " + src + "/" + h + " \\\n"
	}
	return text + fmt.Sprintf("\n%s: $(deps_%s)\n\n$(deps_%s):\n", target, target, target)
}

// shortTree is a kernel that was built in its source, and its graph.
func shortTree(t *testing.T) (*Tree, *graph.Graph) {
	t.Helper()
	src := source(t, physical(t))
	const saved = "savedcmd_x := ld -o x\n"
	files := map[string]string{
		"Makefile":          makefile + "\n" + string(descends) + "\n",
		"include/linux/a.h": "", "include/linux/lds.h": "", "include/linux/offsets.h": "", "include/linux/many.h": "", "include/linux/none.h": "",
		".config":             "",
		"vmlinux":             "",
		"built-in.a":          thin("init/main.o", "init/version.o", "kernel/sched/core.o", "drivers/net/foo.o", "fs/sub/x.o", "gen.o", "arch/x86/pci/fixup.o"),
		"arch/x86/built-in.a": thin(), "arch/x86/pci/built-in.a": thin("fixup.o"),
		"arch/x86/pci/fixup.c": "", "arch/x86/pci/.fixup.o.cmd": objectCmd(src, "arch/x86/pci/fixup.o", "arch/x86/pci/fixup.c"),
		"init/built-in.a":   thin("main.o", "version.o"),
		"kernel/built-in.a": thin("sched/core.o"), "kernel/sched/built-in.a": thin("core.o"),
		"drivers/built-in.a": thin("net/foo.o"), "drivers/net/built-in.a": thin("foo.o"),
		"fs/built-in.a": thin("sub/x.o"), "fs/sub/built-in.a": thin(),
		"lib/lib.a": "", "lib/string.c": "", "lib/.string.o.cmd": objectCmd(src, "lib/string.o", "lib/string.c"),
		"init/main.o": "", "init/.main.o.cmd": objectCmd(src, "init/main.o", "init/main.c", "include/linux/a.h"),
		"init/version.c": "", "init/.version.o.cmd": objectCmd(src, "init/version.o", "init/version.c", "include/linux/lds.h"),
		"kernel/sched/core.c": "", "kernel/sched/.core.o.cmd": objectCmd(src, "kernel/sched/core.o", "kernel/sched/core.c", "include/linux/a.h", "kernel/sched/rt.c"),
		"kernel/sched/rt.c": "", "kernel/sched/core.o": "",
		"drivers/net/.foo.o.cmd": objectCmd(src, "drivers/net/foo.o", "drivers/net/foo.c", "include/linux/offsets.h"),
		"fs/sub/x.S":             "", "fs/sub/.x.o.cmd": objectCmd(src, "fs/sub/x.o", "fs/sub/x.S"),
		".gen.o.cmd":   objectCmd(src, "gen.o", "other.c"),
		"other.c":      "",
		"kernel/lds.S": "", "kernel/.vmlinux.lds.cmd": objectCmd(src, "kernel/vmlinux.lds", "kernel/vmlinux.lds.S", "include/linux/lds.h"),
		"kernel/vmlinux.lds.S": "",
		"kernel/bounds.c":      "", "kernel/.bounds.s.cmd": objectCmd(src, "kernel/bounds.s", "kernel/bounds.c", "include/linux/offsets.h"),
		"drivers/mod.c": "", "drivers/.mod.o.cmd": objectCmd(src, "drivers/mod.o", "drivers/mod.c"),
		"drivers/unused.c": "", "arch/x86/boot/unbuilt.c": "", "scripts/mod/x.c": "", "it's.c": "",
		".vmlinux.cmd": saved, ".vmlinux.unstripped.cmd": saved, ".built-in-fixup.a.cmd": saved, ".vmlinux.o.cmd": saved, "..vmlinux.export.o.cmd": saved, ".built-in.a.cmd": saved, "init/.version-timestamp.o.cmd": saved,
		"include/config/auto.conf": "CONFIG_SMP=y\nCONFIG_NR_CPUS=8\n",
	}
	for i := range shortObjects + 1 {
		stem := fmt.Sprintf("many/f%d", i)
		files[stem+".c"], files[fmt.Sprintf("many/.f%d.o.cmd", i)] = "", objectCmd(src, stem+".o", stem+".c", "include/linux/many.h")
	}
	write(t, src, files)
	past := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(src, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, past, past))
	})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Find(Options{Dir: src})
	if err != nil {
		t.Fatal(err)
	}
	g := graph.New(src)
	if _, err := g.Update(); err != nil {
		t.Fatal(err)
	}
	return tree, g
}

func vmlinuxOf(tree *Tree) BuildOptions {
	return BuildOptions{Image: filepath.Join(tree.BuildDir, "vmlinux"), Target: "vmlinux"}
}

func TestPlanShort(t *testing.T) {
	tree, g := shortTree(t)
	for _, c := range []struct {
		changed  string
		objects  string
		archives string
		reason   string
	}{
		{changed: "init/main.c", objects: "init/main.o", archives: "init/built-in.a built-in.a"},
		{changed: "kernel/sched/core.c", objects: "kernel/sched/core.o", archives: "kernel/sched/built-in.a kernel/built-in.a built-in.a"},
		{changed: "kernel/sched/rt.c", objects: "kernel/sched/core.o", archives: "kernel/sched/built-in.a kernel/built-in.a built-in.a"},
		{changed: "include/linux/a.h", objects: "init/main.o kernel/sched/core.o", archives: "kernel/sched/built-in.a init/built-in.a kernel/built-in.a built-in.a"},
		{changed: "drivers/net/foo.c init/main.c", objects: "drivers/net/foo.o init/main.o", archives: "drivers/net/built-in.a drivers/built-in.a init/built-in.a built-in.a"},
		{changed: "fs/sub/x.S", objects: "fs/sub/x.o", archives: "fs/built-in.a built-in.a"},

		{changed: "", reason: "it isn't known what changed"},
		{changed: "lib/string.c", reason: "lib/string.o isn't simply linked into vmlinux"},
		{changed: "arch/x86/pci/fixup.c", reason: "arch/x86/pci/fixup.o is below a directory that it doesn't belong to"},
		{changed: "drivers/mod.c", reason: "drivers/mod.o isn't simply linked into vmlinux"},
		{changed: "other.c", reason: "gen.o takes rules of its own"},
		{changed: "kernel/vmlinux.lds.S", reason: "kernel/vmlinux.lds.S takes rules of its own"},
		{changed: "include/linux/lds.h", reason: "kernel/vmlinux.lds takes rules of its own"},
		{changed: "include/linux/offsets.h", reason: "kernel/bounds.s takes rules of its own"},
		{changed: "include/linux/many.h", reason: fmt.Sprintf("it rebuilds %d objects", shortObjects+1)},
		{changed: "include/linux/none.h", reason: "include/linux/none.h isn't part of the last build"},
		{changed: "init/main.c drivers/unused.c", reason: "drivers/unused.c isn't part of the last build"},
		{changed: "init/gone.c", reason: "init/gone.c is no file any more"},
		{changed: "init", reason: "init is no file any more"},
		{changed: "Makefile", reason: "Makefile is neither C nor assembler"},
		{changed: ".config", reason: ".config is neither C nor assembler"},
		{changed: "scripts/mod/x.c", reason: "scripts/mod/x.c takes rules of its own"},
		{changed: "it's.c", reason: "it's.c takes rules of its own"},
		{changed: "../x.c", reason: "x.c isn't in the source tree"},
	} {
		var changed []string
		for _, f := range strings.Fields(c.changed) {
			changed = append(changed, filepath.Join(tree.Source, f))
		}
		plan, err := tree.PlanShort(g, vmlinuxOf(tree), changed, nil)
		if u := (*UncertainError)(nil); err != nil && !errors.As(err, &u) {
			t.Errorf("%s: %v", c.changed, err)
			continue
		}
		if err != nil {
			if c.reason == "" || !strings.HasSuffix(err.Error(), c.reason) {
				t.Errorf("%s: %v, want %q", c.changed, err, c.reason)
			}
			continue
		}
		if c.reason != "" {
			t.Errorf("%s: a short build is planned, want %q", c.changed, c.reason)
		}
		if got := names(plan.Objects); got != c.objects {
			t.Errorf("%s: objects %s, want %s", c.changed, got, c.objects)
		}
		if got := strings.Join(plan.archives, " "); got != c.archives {
			t.Errorf("%s: archives %s, want %s", c.changed, got, c.archives)
		}
	}
}

func names(list []graph.Target) string {
	var names []string
	for _, o := range list {
		names = append(names, o.Name)
	}
	return strings.Join(names, " ")
}

// What makes all uncertain, whatever was saved.
func TestPlanShortUncertain(t *testing.T) {
	main := "init/main.c"
	for _, c := range []struct {
		name   string
		change func(t *testing.T, tree *Tree, o *BuildOptions)
		reason string
	}{
		{"another image", func(_ *testing.T, _ *Tree, o *BuildOptions) { o.Target = "bzImage" }, "bzImage is more than vmlinux"},
		{"more goals", func(_ *testing.T, _ *Tree, o *BuildOptions) { o.Args = []string{"dtbs"} }, "make has other goals"},
		{"whole commands", func(t *testing.T, _ *Tree, _ *BuildOptions) { t.Setenv("KBUILD_VERBOSE", "1") }, "KBUILD_VERBOSE is set"},
		{"a Makefile without single-goals, as in 5.10", func(t *testing.T, tree *Tree, _ *BuildOptions) {
			write(t, tree.Source, map[string]string{"Makefile": makefile})
		}, "the Makefile descends in a way that isn't known"},
		{"modversions", func(t *testing.T, tree *Tree, _ *BuildOptions) {
			write(t, tree.Source, map[string]string{"include/config/auto.conf": "CONFIG_MODVERSIONS=y\n"})
		}, "CONFIG_MODVERSIONS is set"},
		{".config", func(t *testing.T, tree *Tree, _ *BuildOptions) {
			now := time.Now()
			if err := os.Chtimes(tree.ConfigPath(), now, now); err != nil {
				t.Fatal(err)
			}
		}, ".config changed"},
		{"an incomplete .cmd file", func(t *testing.T, tree *Tree, _ *BuildOptions) {
			// make comes and goes with files in a directory whose .cmd files it writes.
			if err := os.Remove(filepath.Join(tree.Source, "fs/sub/.x.o.cmd")); err != nil {
				t.Fatal(err)
			}
			whole := objectCmd(tree.Source, "fs/sub/x.o", "fs/sub/x.S")
			write(t, tree.Source, map[string]string{"fs/sub/.x.o.cmd": whole[:len(whole)-3]})
		}, "fs/sub/.x.o.cmd is incomplete"},
		{"a fat archive", func(t *testing.T, tree *Tree, _ *BuildOptions) {
			write(t, tree.Source, map[string]string{"init/built-in.a": "!<arch>\nmain.o/"})
		}, "init/built-in.a is no thin archive"},
		{"half an archive", func(t *testing.T, tree *Tree, _ *BuildOptions) {
			text := thin("main.o", "version.o")
			write(t, tree.Source, map[string]string{"init/built-in.a": text[:len(text)-20]})
		}, "init/built-in.a isn't as archives are"},
		{"a source from the future", func(t *testing.T, tree *Tree, _ *BuildOptions) {
			later := time.Now().Add(time.Hour)
			if err := os.Chtimes(filepath.Join(tree.Source, main), later, later); err != nil {
				t.Fatal(err)
			}
		}, "init/main.c has a time in the future"},
		{"an archive from the future", func(t *testing.T, tree *Tree, _ *BuildOptions) {
			later := time.Now().Add(time.Hour)
			if err := os.Chtimes(filepath.Join(tree.Source, "built-in.a"), later, later); err != nil {
				t.Fatal(err)
			}
		}, "built-in.a has a time in the future"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, g := shortTree(t)
			o := vmlinuxOf(tree)
			c.change(t, tree, &o)
			if _, err := g.Update(); err != nil {
				t.Fatal(err)
			}
			_, err := tree.PlanShort(g, o, []string{filepath.Join(tree.Source, main)}, nil)
			if u := (*UncertainError)(nil); !errors.As(err, &u) || !strings.HasSuffix(u.Reason, c.reason) {
				t.Errorf("%v, want %q", err, c.reason)
			}
		})
	}
}

func TestUnread(t *testing.T) {
	tree, g := shortTree(t)
	for path, want := range map[string]bool{
		"drivers/unused.c": true, "arch/x86/boot/unbuilt.c": true, "include/linux/none.h": true,
		"init/main.c": false, "include/linux/a.h": false, "include/linux/lds.h": false, "Makefile": false, "scripts/mod/x.c": false, "init/gone.c": false, "../x.c": false,
	} {
		if got := tree.Unread(g, filepath.Join(tree.Source, path)); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	write(t, tree.Source, map[string]string{"include/config/auto.conf": "CONFIG_IKHEADERS=m\n"})
	if tree.Unread(g, filepath.Join(tree.Source, "include/linux/none.h")) {
		t.Error("a header that goes into kheaders is said to be read by nothing")
	}
}

// linking is what make says of a link, and of what it always does.
const linking = `make: Entering directory '/linux'
  DESCEND objtool
  INSTALL libsubcmd_headers
  CALL    scripts/checksyscalls.sh
  CC      init/main.o
  AR      vmlinux.a
  LD      vmlinux.o
  OBJCOPY modules.builtin.modinfo
  GEN     modules.builtin
  MODPOST vmlinux.symvers
  CC      .vmlinux.export.o
  UPD     include/generated/utsversion.h
  CC      init/version-timestamp.o
  LD      .tmp_vmlinux.btf
  BTF     .btf.vmlinux.bin.o
  LD      .tmp_vmlinux.kallsyms1
  NM      .tmp_vmlinux.kallsyms1.syms
  KSYMS   .tmp_vmlinux.kallsyms1.S
  AS      .tmp_vmlinux.kallsyms1.o
  LD      vmlinux
  BTFIDS  vmlinux
  NM      System.map
  SORTTAB vmlinux
`

// linking73 is the same of Linux 7.3.
const linking73 = `make: Entering directory '/linux'
  DESCEND objtool
  CC      init/main.o
  AR      built-in-fixup.a
  COPY    vmlinux.a
  LD      vmlinux.o
  MODPOST vmlinux.symvers
  CC      .vmlinux.export.o
  UPD     include/generated/utsversion.h
  CC      init/version-timestamp.o
  KSYMS   .tmp_vmlinux0.kallsyms.S
  AS      .tmp_vmlinux0.kallsyms.o
  LD      .tmp_vmlinux1
  NM      .tmp_vmlinux1.syms
  LD      vmlinux.unstripped
  NM      System.map
  SORTTAB vmlinux.unstripped
  OBJCOPY vmlinux
  GEN     modules.builtin.modinfo
  GEN     modules.builtin
`

func TestShort(t *testing.T) {
	for _, c := range []struct {
		name   string
		output string
		script string
		want   string // the reason for a full make
		failed bool   // or a mistake in the source
	}{
		{name: "as it should be", output: linking, script: "echo > init/main.o; sleep .02; echo > vmlinux"},
		{name: "as Linux 7.3 has it", output: linking73, script: "echo > init/main.o; sleep .02; echo > vmlinux"},
		{name: "prepare has work to do", output: strings.Replace(linking, "  CC      init/main.o", "  UPD     include/config/kernel.release\n  CC      init/main.o", 1), script: "echo > vmlinux", want: "did more than was to be expected: UPD include/config/kernel.release"},
		{name: "another object", output: linking + "  CC      init/version.o\n", script: "echo > vmlinux", want: "did more than was to be expected: CC init/version.o"},
		{name: "twice the object", output: "  CC      init/main.o\n" + linking, script: "echo > vmlinux", want: "compiled init/main.o twice"},
		{name: "a tool", output: "  HOSTCC  scripts/basic/fixdep\n" + linking, script: "echo > vmlinux", want: "more than was to be expected: HOSTCC scripts/basic/fixdep"},
		{name: "not the object", output: strings.Replace(linking, "  CC      init/main.o\n", "", 1), script: "echo > vmlinux", want: "didn't compile init/main.o"},
		{name: "a clock that went back", output: linking, script: "touch -d '1 hour ago' vmlinux; echo > init/main.o", want: "vmlinux is older than what it was linked from"},
		{name: "a mistake", output: "  CC      init/main.o\ninit/main.c:4:30: error: 'x' undeclared\n", script: "exit 2", failed: true},
		{name: "a header that may be made elsewhere", output: "  CC      init/main.o\ninit/main.c:4:30: fatal error: generated/x.h: No such file or directory\n", script: "exit 2", want: "the short build failed"},
		{name: "a link that fails", output: "ld: init/main.o: in function `start':\nmain.c:(.text+0x1): undefined reference to `x'\nmake: *** [Makefile:1: vmlinux] Error 1\n", script: "exit 2", want: "the short build failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, g := shortTree(t)
			dir := tools(t, `cd "$2"; echo "$@" > arguments; ls -a . init > present; cat "${0%/*}/output"; `+c.script)
			write(t, dir, map[string]string{"output": c.output})
			plan, err := tree.PlanShort(g, vmlinuxOf(tree), []string{filepath.Join(tree.Source, "init/main.c")}, nil)
			if err != nil {
				t.Fatal(err)
			}
			r, err := tree.Short(t.Context(), plan, vmlinuxOf(tree))
			u, failed := (*UncertainError)(nil), (*BuildError)(nil)
			switch {
			case c.want != "":
				if !errors.As(err, &u) || !strings.Contains(u.Reason, c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
			case c.failed:
				if !errors.As(err, &failed) {
					t.Errorf("%v, want a mistake", err)
				}
			case err != nil || !r.NewImage:
				t.Errorf("%+v, %v", r, err)
			}
			arguments, _ := os.ReadFile(filepath.Join(tree.BuildDir, "arguments"))
			if !strings.HasSuffix(string(arguments), " vmlinux single-goals=./init/main.o\n") {
				t.Errorf("make was called with %q", arguments)
			}
			// Before make could be killed, what it is about to write was out of date.
			present, _ := os.ReadFile(filepath.Join(tree.BuildDir, "present"))
			var left []string
			for _, name := range strings.Fields(string(present)) {
				if strings.HasSuffix(name, ".cmd") {
					left = append(left, name)
				}
			}
			if diff := cmp.Diff([]string{".built-in.a.cmd", ".gen.o.cmd", ".version.o.cmd"}, left); diff != "" {
				t.Errorf(".cmd files (-want +got):\n%s", diff)
			}
			// The archives are as old as they were until all has been linked.
			object, archive := mtime(t, tree, "init/main.o"), mtime(t, tree, "init/built-in.a")
			if good := c.want == "" && !c.failed; good && archive.Before(object) || !good && c.want != "vmlinux is older than what it was linked from" && time.Since(archive) < time.Minute {
				t.Errorf("the archive is of %s, the object of %s", archive, object)
			}
			if c.want == "" && !c.failed && mtime(t, tree, "vmlinux").Before(mtime(t, tree, "built-in.a")) {
				t.Error("the archive is newer than vmlinux")
			}
		})
	}
}

// moduleTree is shortTree with two modules: one of one object, and two of two.
func moduleTree(t *testing.T) (*Tree, *graph.Graph, BuildOptions) {
	t.Helper()
	tree, g := shortTree(t)
	src := tree.Source
	write(t, src, map[string]string{
		"modules.order": "drivers/one.ko\ndrivers/sub/two.ko\n", "drivers/modules.order": "drivers/one.ko\ndrivers/sub/two.ko\n", "drivers/sub/modules.order": "drivers/sub/two.ko\n",
		"drivers/one.mod": "drivers/one.o\n", "drivers/sub/two.mod": "drivers/sub/a.o\ndrivers/sub/b.o\n",
		"drivers/one.c": "", "drivers/.one.o.cmd": objectCmd(src, "drivers/one.o", "drivers/one.c", "drivers/both.h", "include/linux/more.h"),
		"drivers/sub/a.c": "", "drivers/sub/.a.o.cmd": objectCmd(src, "drivers/sub/a.o", "drivers/sub/a.c", "drivers/both.h"),
		"drivers/sub/b.c": "", "drivers/sub/.b.o.cmd": objectCmd(src, "drivers/sub/b.o", "drivers/sub/b.c"),
		"kernel/late.c": "", "kernel/.late.o.cmd": objectCmd(src, "kernel/late.o", "kernel/late.c", "include/linux/more.h"),
		"drivers/both.h": "", "include/linux/more.h": "", "drivers/.one.ko.cmd": "savedcmd_x := ld\n", "drivers/.one.mod.o.cmd": objectCmd(src, "drivers/one.mod.o", "drivers/one.mod.c"),
		"drivers/sub/.two.o.cmd": "savedcmd_x := ld\n", "drivers/sub/.two.ko.cmd": "savedcmd_x := ld\n", ".Module.symvers.cmd": "savedcmd_x := modpost\n",
		"drivers/one.ko": "", "drivers/sub/two.ko": "",
	})
	past := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(filepath.Join(src, "drivers"), func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, past, past))
	})
	if err := errors.Join(err, os.Chtimes(filepath.Join(src, "modules.order"), past, past)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Update(); err != nil {
		t.Fatal(err)
	}
	o := vmlinuxOf(tree)
	o.Modules = true
	return tree, g, o
}

func TestPlanShortModules(t *testing.T) {
	for _, c := range []struct {
		name, changed string
		change        func(*testing.T, *Tree, *BuildOptions)
		modules       string
		reason        string
	}{
		{name: "of one object", changed: "drivers/one.c", modules: "drivers/one"},
		{name: "of two", changed: "drivers/sub/b.c", modules: "drivers/sub/two"},
		{name: "both", changed: "drivers/both.h", modules: "drivers/one drivers/sub/two"},
		{name: "for an image that is more than vmlinux", changed: "drivers/one.c", change: func(_ *testing.T, _ *Tree, o *BuildOptions) { o.Target = "bzImage" }, modules: "drivers/one"},
		{name: "and the image's", changed: "include/linux/more.h", reason: "drivers/one.o isn't simply linked into vmlinux"},
		{name: "two files, one of them the image's", changed: "drivers/one.c init/main.c", reason: "drivers/one.o isn't simply linked into vmlinux"},
		{name: "no modules are built", changed: "drivers/one.c", change: func(_ *testing.T, _ *Tree, o *BuildOptions) { o.Modules = false }, reason: "no module is built"},
		{name: "modversions", changed: "drivers/one.c", change: func(t *testing.T, tree *Tree, _ *BuildOptions) {
			write(t, tree.Source, map[string]string{"include/config/auto.conf": "CONFIG_MODVERSIONS=y\n"})
		}, reason: "CONFIG_MODVERSIONS is set"},
		{name: "no list of parts", changed: "drivers/one.c", change: func(t *testing.T, tree *Tree, _ *BuildOptions) {
			if err := os.Remove(filepath.Join(tree.Source, "drivers/one.mod")); err != nil {
				t.Fatal(err)
			}
		}, reason: "drivers/one.o isn't simply linked into vmlinux"},
		{name: "a list from the future", changed: "drivers/one.c", change: func(t *testing.T, tree *Tree, _ *BuildOptions) {
			later := time.Now().Add(time.Hour)
			if err := os.Chtimes(filepath.Join(tree.Source, "modules.order"), later, later); err != nil {
				t.Fatal(err)
			}
		}, reason: "modules.order has a time in the future"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, g, o := moduleTree(t)
			if c.change != nil {
				c.change(t, tree, &o)
			}
			var changed []string
			for _, f := range strings.Fields(c.changed) {
				changed = append(changed, filepath.Join(tree.Source, f))
			}
			plan, err := tree.PlanShort(g, o, changed, nil)
			if u := (*UncertainError)(nil); c.reason != "" {
				if !errors.As(err, &u) || u.Reason != c.reason || plan != nil {
					t.Errorf("plan %v, %v, want %q", plan, err, c.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(plan.modules, " "); got != c.modules {
				t.Errorf("modules %s, want %s", got, c.modules)
			}
		})
	}
}

func TestShortModules(t *testing.T) {
	const compiled = "  CC [M]  drivers/sub/b.o\n  LD [M]  drivers/sub/two.o\n  MODPOST Module.symvers\n  LD [M]  drivers/sub/two.ko\n"
	for _, c := range []struct {
		name, output, script string
		want                 string // the reason for a full make
	}{
		{
			name: "as it should be", output: "  CALL    scripts/checksyscalls.sh\n" + compiled,
			script: "echo > drivers/sub/b.o; sleep .02; echo > drivers/sub/two.o; sleep .02; echo > Module.symvers; echo x > drivers/sub/two.ko",
		},
		{name: "another module's object", output: "  LD [M]  drivers/sub/three.o\n" + compiled, want: "more than was to be expected: LD [M] drivers/sub/three.o"},
		{name: "not the object", output: "  MODPOST Module.symvers\n", want: "didn't compile drivers/sub/b.o"},
		{name: "no link", output: compiled, script: "echo > drivers/sub/b.o; echo > drivers/sub/two.o; echo > Module.symvers", want: "drivers/sub/two.ko is older than what it was linked from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, g, o := moduleTree(t)
			dir := tools(t, `cd "$2"; echo "$@" > arguments; ls -a . drivers drivers/sub > present; cat "${0%/*}/output"; `+c.script)
			write(t, dir, map[string]string{"output": c.output})
			plan, err := tree.PlanShort(g, o, []string{filepath.Join(tree.Source, "drivers/sub/b.c")}, nil)
			if err != nil {
				t.Fatal(err)
			}
			r, err := tree.Short(t.Context(), plan, o)
			switch u := (*UncertainError)(nil); {
			case c.want != "":
				if !errors.As(err, &u) || !strings.Contains(u.Reason, c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
			case err != nil || r.NewImage || !r.NewModules:
				t.Errorf("%+v, %v", r, err)
			}
			arguments, _ := os.ReadFile(filepath.Join(tree.BuildDir, "arguments"))
			if !strings.HasSuffix(string(arguments), " modules single-goals=./drivers/sub/two.o\n") || strings.Contains(string(arguments), " vmlinux ") {
				t.Errorf("make was called with %q", arguments)
			}
			present, _ := os.ReadFile(filepath.Join(tree.BuildDir, "present"))
			for _, gone := range []string{".b.o.cmd", ".two.o.cmd", ".two.ko.cmd", ".Module.symvers.cmd"} {
				if slices.Contains(strings.Fields(string(present)), gone) {
					t.Errorf("%s was there when make began", gone)
				}
			}
			if !slices.Contains(strings.Fields(string(present)), ".vmlinux.cmd") {
				t.Error("the image's .cmd file was removed")
			}
			for _, list := range []string{"modules.order", "drivers/modules.order", "drivers/sub/modules.order"} {
				if made := mtime(t, tree, list); c.want == "" && made.Before(mtime(t, tree, "drivers/sub/two.o")) {
					t.Errorf("%s is older than an object", list)
				} else if made.After(time.Now().Add(-time.Minute)) && c.want != "" && !strings.Contains(c.want, "older") {
					t.Errorf("%s was brought up to date", list)
				}
			}
		})
	}
}

func mtime(t *testing.T, tree *Tree, name string) time.Time {
	t.Helper()
	st, err := os.Stat(filepath.Join(tree.BuildDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return st.ModTime()
}

func TestThinMembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	// As binutils 2.40 writes names of an offset with four digits, now and then.
	slash := strings.Replace(thin("a.o", "dir/b.o"), "/5   ", "/5  /", 1)
	if err := os.WriteFile(path, []byte(slash), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := thinMembers(path); err != nil || !slices.Equal(got, []string{"a.o", "dir/b.o"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzThinMembers(f *testing.F) {
	f.Add([]byte(thin("a.o", "dir/b.o")))
	f.Add([]byte("!<thin>\n//                                              -1        `\n"))
	path := filepath.Join(f.TempDir(), "a")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _ = thinMembers(path)
	})
}

func TestProve(t *testing.T) {
	for output, want := range map[string][]string{
		"  GEN     Makefile\n  DESCEND objtool\n  CALL    scripts/checksyscalls.sh\nKernel: arch/x86/boot/bzImage is ready  (#1)\n": {},
		"  INSTALL libsubcmd_headers\n  GEN     something\n":                                                                        {},
		"  CALL    scripts/checksyscalls.sh\n  CC      init/version.o\n  AR      init/built-in.a\n":                                 {"CC init/version.o", "AR init/built-in.a"},
	} {
		tree, _ := shortTree(t)
		dir := tools(t, `cat "${0%/*}/output"`)
		write(t, dir, map[string]string{"output": output})
		steps, _, err := tree.Prove(t.Context(), vmlinuxOf(tree))
		if err != nil || !slices.Equal(steps, want) {
			t.Errorf("%q, %v, want %q", steps, err, want)
		}
		if _, err := os.Stat(tree.StatePath("proof.log")); err != nil {
			t.Error(err)
		}
	}
}
