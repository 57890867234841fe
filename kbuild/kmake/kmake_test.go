// SPDX-License-Identifier: GPL-3.0-only

package kmake

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree writes the Kbuild files of a source tree.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestObjects(t *testing.T) {
	options := map[string]string{"SMP": "y", "NET": "y", "MODULES": "y", "DRV": "m", "MULTI": "m", "64BIT": "y", "NAME": "two"}
	source := tree(t, map[string]string{
		"Kbuild":                            "obj-y += init/ $(ARCH_CORE)\n",
		"init/Makefile":                     "# obj-y += comment.o\nobj-y := main.o version.o # and more\nobj-$(CONFIG_BLK) += initrd.o\nmounts-y := do_mounts.o\nobj-y += mounts.o \\\n\tlast.o\n",
		"kernel/Makefile":                   "obj-y = fork.o sched/\nobj-$(CONFIG_SMP) += smp.o\nifdef CONFIG_SMP\nobj-y += a.o\nifeq ($(CONFIG_NAME),one)\nobj-y += one.o\nelse ifeq (\"$(CONFIG_NAME)\",\"two\")\nobj-y += two.o\nelse\nobj-y += other.o\nendif\nelse\nobj-y += up.o\nendif\n",
		"kernel/sched/Kbuild":               "obj-y := core.o\nsubdir-y += deep\n",
		"kernel/sched/Makefile":             "obj-y := not-this.o\n",
		"kernel/sched/deep/Makefile":        "obj-y += deep.o\nclean-files := x.o\n\nx.o: y\n\tobj-y\n",
		"drivers/Makefile":                  "obj-$(CONFIG_DRV) += drv.o\nobj-$(CONFIG_MULTI) += multi/\nobj-$(CONFIG_UNSET) += unset/\n",
		"drivers/multi/Makefile":            "obj-m := multi.o single.o\nmulti-objs := one.o sub/two.o\nmulti-$(CONFIG_SMP) += three.o\n",
		"net/Makefile":                      "include $(srctree)/net/more.mk\nobj-y := $(addprefix n, $(list)) $(patsubst %.c,%.o,x.c) $(if $(CONFIG_SMP),yes,no).o $(more:.c=.o)\nobj-y += $(filter-out b%,b.o c.o) $(call cc-option,-x)\n",
		"net/more.mk":                       "list := one.o two.o\nmore = lazy$(late).c\nlate = er\n",
		"lib/Makefile":                      "lib-y := string.o\nobj-y += fork.o\n$(foreach n, 1 2, $(eval x))\nobj-y += $(foreach n,1 2,raid$(n).o)\n",
		"arch/x86/Makefile":                 "core-y += arch/x86/extra/\nlibs-y += arch/x86/lib/\nhead-y := arch/x86/kernel/head.o\n",
		"arch/x86/Kbuild":                   "obj-y += kernel/\n",
		"arch/x86/kernel/Makefile":          "extra-y := head.o vmlinux.lds\nobj-y += setup_$(BITS).o\n",
		"arch/x86/extra/Makefile":           "obj-y += extra.o\n",
		"arch/x86/lib/Makefile":             "lib-y += memcpy.o\n",
		"arch/x86/boot/Makefile":            "setup-y += a20.o main.o\n",
		"arch/x86/boot/compressed/Makefile": "vmlinux-objs-y := $(obj)/vmlinux.lds $(obj)/misc.o\n",
	})
	option := func(name string) string { return options[name] }
	w := newWalk(source, "x86", option)
	if err := w.all(); err != nil {
		t.Fatal(err)
	}
	got, err := Objects(source, "x86", option)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range w.objects {
		names = append(names, name)
	}
	slices.Sort(names)
	want := strings.Fields(`arch/x86/extra/extra.o arch/x86/kernel/head.o arch/x86/kernel/setup_64.o arch/x86/lib/memcpy.o
		drivers/drv.o drivers/multi/one.o drivers/multi/single.o drivers/multi/sub/two.o drivers/multi/three.o
		init/do_mounts.o init/last.o init/main.o init/version.o
		kernel/a.o kernel/fork.o kernel/sched/core.o kernel/sched/deep/deep.o kernel/smp.o kernel/two.o
		lib/fork.o lib/raid1.o lib/raid2.o lib/string.o
		net/c.o net/lazyer.o net/none.o net/ntwo.o net/x.o net/yes.o`)
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if want := (Count{Objects: len(want), Modules: 3, Boot: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}

	options["MODULES"] = ""
	if c, err := Objects(source, "x86", option); err != nil || c.Modules != 0 || c.Objects >= got.Objects {
		t.Errorf("without modules: %+v, %v", c, err)
	}
	if _, err := Objects(t.TempDir(), "x86", func(string) string { return "" }); err == nil {
		t.Error("an empty directory has objects")
	}
}

// What names itself, and what is cut off, ends.
func TestBadInput(t *testing.T) {
	for _, text := range []string{
		"obj-y = $(obj-y) a.o\n", "a = $(b)\nb = $(a)\nobj-y += $(a)\n", "include $(srctree)/init/Makefile\n", "obj-y += $(foreach x\n", "obj-y += $(\n", "ifdef A\n", "endif\nelse\n",
		"obj-y += $(subst a)$(patsubst a)$(if)$(sort)$(word)$(firstword )$(or)$(and )$(addprefix)\n", "ifeq (a\nendif\nifeq\n", "define x\n", "$(eval $(call x,\n",
	} {
		source := tree(t, map[string]string{"Kbuild": "", "init/Makefile": text, "arch/x86/Makefile": text})
		if _, err := Objects(source, "x86", func(string) string { return "" }); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The objects of a real build are those that were counted, but for a few.
func TestRealBuild(t *testing.T) {
	source, cache := os.Getenv("RUN_KERNEL_TEST_TREE"), os.Getenv("RUN_KERNEL_TEST_CACHE")
	build := filepath.Join(cache, "build-"+filepath.Base(source))
	if _, err := os.Stat(filepath.Join(build, "vmlinux")); source == "" || cache == "" || err != nil {
		t.Skip("RUN_KERNEL_TEST_TREE and RUN_KERNEL_TEST_CACHE don't name a built kernel; ./test prepares it")
	}
	data, err := os.ReadFile(filepath.Join(build, "include/config/auto.conf"))
	if err != nil {
		t.Fatal(err)
	}
	options := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			options[strings.TrimPrefix(name, "CONFIG_")] = strings.Trim(value, `"`)
		}
	}
	w := newWalk(source, "x86", func(name string) string { return options[name] })
	if err := w.all(); err != nil {
		t.Fatal(err)
	}
	built := map[string]bool{}
	err = filepath.WalkDir(build, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(build, path)
		if top, _, _ := strings.Cut(rel, "/"); top == "tools" || top == "scripts" {
			return fs.SkipDir
		}
		if filepath.Ext(rel) == ".o" {
			built[rel] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var missed, extra []string
	for name := range built {
		if !w.objects[name] {
			missed = append(missed, name)
		}
	}
	for name := range w.objects {
		if !built[name] {
			extra = append(extra, name)
		}
	}
	t.Logf("%d built, %d counted; missed %v; counted for nothing %v", len(built), len(w.objects), missed, extra)
	if n := len(missed) + len(extra); n > len(built)/20 {
		t.Errorf("%d of %d are wrong", n, len(built))
	}
}
