// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/internal/proc"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestCmdline(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden files are of x86-64")
	}
	l := newLab(t, "")
	share := filepath.Join(l.Dir, "share")
	if err := os.Mkdir(share, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(o *Options){
		"tcg": func(o *Options) {},
		"kvm": func(o *Options) { o.Accel = "kvm" },
		"debug": func(o *Options) {
			o.Debug, o.Tree, o.Build = true, l.Dir, share
			o.Modules, o.ModulesRelease = share+"/modules", "6.1.0"
		},
		"9p": func(o *Options) {
			o.MountType = NineP
			o.Shares = []Share{{Tag: "data", Dir: share, Path: "/mnt/data", ReadOnly: true}}
		},
		"all": func(o *Options) {
			o.CPUs, o.MemoryMiB, o.Network, o.Tree = 4, 8<<10, true, l.Dir
			o.Shares = []Share{{Tag: "data", Dir: share, Path: "/mnt/data"}}
			o.Disks, o.Forwards = []Disk{{Path: l.Kernel, ReadOnly: true}}, []Forward{{Host: 58080, Guest: 80}}
			o.KernelArgs, o.QEMUArgs = []string{"loglevel=8"}, []string{"-s", "-S"}
		},
	} {
		o := l.options()
		change(&o)
		args, err := Cmdline(context.Background(), o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := strings.ReplaceAll(strings.Join(args, "\n"), l.Dir, "$DIR") + "\n"
		golden := filepath.Join("testdata", "cmdline-"+name+".golden")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (go test -update writes it anew):\n%s", name, diff)
		}
	}
}

func TestBadShares(t *testing.T) {
	l := newLab(t, "")
	for want, shares := range map[string][]Share{
		"used twice":           {{Tag: "a", Dir: l.Dir, Path: "/a"}, {Tag: "a", Dir: l.Dir, Path: "/b"}},
		"1 to 36 bytes":        {{Tag: strings.Repeat("x", 37), Dir: l.Dir, Path: "/a"}},
		`by virtiofs, a tag`:   {{Dir: l.Dir, Path: "/a"}},
		"no comma":             {{Tag: "a,b", Dir: l.Dir, Path: "/a"}},
		"no such file":         {{Tag: "a", Dir: l.Dir + "/none", Path: "/a"}},
		"not a directory":      {{Tag: "a", Dir: l.Kernel, Path: "/a"}},
		`can't mount it on ""`: {{Tag: "a", Dir: l.Dir}},
		`mount it on "a"`:      {{Tag: "a", Dir: l.Dir, Path: "a"}},
		`mount it on "//"`:     {{Tag: "a", Dir: l.Dir, Path: "//"}},
		`"run-kernel.root"`:    {{Tag: rootTag, Dir: l.Dir, Path: "/a"}},
	} {
		o := l.options()
		o.Shares = shares
		if _, err := newPlan(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	for limit, mountType := range map[int]string{36: Virtiofs, 31: NineP} {
		o := l.options()
		o.MountType = mountType
		for tag, want := range map[string]bool{strings.Repeat("x", limit): true, strings.Repeat("x", limit+1): false} {
			o.Shares = []Share{{Tag: tag, Dir: l.Dir, Path: "/a"}}
			if _, err := newPlan(context.Background(), o); (err == nil) != want {
				t.Errorf("%s, %s: got %v", mountType, tag, err)
			}
		}
	}
}

func TestSharesBelowOthersComeLater(t *testing.T) {
	l := newLab(t, "")
	o := l.options()
	o.Tree = l.Dir
	o.Shares = []Share{
		{Tag: "inner", Dir: l.Dir, Path: l.Dir + "/x/y/"},
		{Tag: "below", Dir: l.Dir, Path: l.Dir + "/x"},
		{Tag: "above", Dir: l.Dir, Path: filepath.Dir(l.Dir), ReadOnly: true},
	}
	p, err := newPlan(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := []guest.Share{
		{Tag: "above", Path: filepath.Dir(l.Dir), Type: Virtiofs, ReadOnly: true},
		{Tag: treeTag, Path: l.Dir, Type: Virtiofs, ReadOnly: true},
		{Tag: "below", Path: l.Dir + "/x", Type: Virtiofs},
		{Tag: "inner", Path: l.Dir + "/x/y", Type: Virtiofs},
	}
	if diff := cmp.Diff(want, p.guest.Shares); diff != "" {
		t.Error(diff)
	}
}

func TestMissingTools(t *testing.T) {
	l := newLab(t, "")
	t.Setenv("PATH", t.TempDir())
	o := l.options()
	o.QEMU = ""
	missing := (*proc.MissingToolError)(nil)
	if _, err := newPlan(context.Background(), o); !errors.As(err, &missing) || !strings.HasPrefix(missing.Tool, "qemu-system-") {
		t.Errorf("got %v", err)
	}
	o = l.options()
	o.Virtiofsd = "no-such-virtiofsd"
	if _, err := newPlan(context.Background(), o); !errors.As(err, &missing) || missing.Tool != "no-such-virtiofsd" {
		t.Errorf("got %v", err)
	}
}

func TestCheckKernel(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("bzImage", link); err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("\x00", 0x202)
	// An ELF file of a machine, whose table of sections ends at 128.
	elfOf := func(machine byte) []byte {
		head := make([]byte, 128)
		copy(head, "\x7fELF\x02\x01\x01")
		head[18], head[0x28], head[0x3a], head[0x3c] = machine, 64, 64, 1
		return head
	}
	x86 := []byte(zeros + "HdrS")
	x86[0x1f1], x86[0x1f4] = 1, 2 // one sector of setup, two paragraphs
	x86 = append(x86, make([]byte, 2*512+2*16-len(x86))...)
	arm := zeros[:0x38] + "ARM\x64" + zeros
	for _, test := range []struct{ path, arch, want string }{
		{file("bzImage", string(x86)), "x86_64", ""},
		{link, "x86_64", ""},
		{file("cut bzImage", string(x86[:len(x86)-1])), "x86_64", "is cut short: it has 1055 bytes of 1056"},
		{file("vmlinux", string(elfOf(62))), "x86_64", ""},
		{file("cut vmlinux", string(elfOf(62)[:127])), "x86_64", "is cut short: it has 127 bytes of 128"},
		{file("arm64 vmlinux", string(elfOf(183))), "x86_64", "is a kernel for aarch64, and the guest is of x86_64"},
		{file("s390 vmlinux", string(elfOf(22))), "x86_64", "is a kernel for s390"},
		{file("riscv32 vmlinux", "\x7fELF\x01"+string(elfOf(243)[5:])), "riscv64", "is a kernel for riscv32, and the guest is of riscv64"},
		{file("i386 vmlinux", "\x7fELF\x01"+string(elfOf(3)[5:])), "x86_64", "is a kernel for i386, and the guest is of x86_64"},
		{file("real s390 vmlinux", "\x7fELF\x02\x02"+string(make([]byte, 13))+"\x16"+zeros), "x86_64", "is a kernel for s390x, and"},
		{file("empty", ""), "x86_64", "not a kernel"},
		{file("short", zeros), "x86_64", "not a kernel"},
		{file("cut ELF", "\x7fELF\x02\x01\x01"), "x86_64", "is a kernel for none"},
		{file("shifted", zeros+"\x00HdrS"), "x86_64", "not a kernel"},
		{file("Image", arm), "aarch64", ""},
		{file("arm64 Image", arm), "x86_64", "is a kernel for aarch64"},
		{file("cut Image", arm[:0x3b]), "aarch64", "not a kernel"},
		{file("riscv Image", zeros[:0x38]+"RSC\x05"+zeros), "riscv64", ""},
		{link, "riscv64", "is a kernel for x86_64"},
		{file("Image.gz", "\x1f\x8b\x08\x00"), "aarch64", ""},
		{filepath.Join(dir, "Image.gz"), "riscv64", "is not a kernel that can be booted"},
		{filepath.Join(dir, "Image.gz"), "x86_64", "is not a kernel that can be booted"},
		{fifo, "x86_64", "is not a file"},
		{dir, "x86_64", "is not a file"},
		{"/dev/null", "x86_64", "is not a file"},
		{filepath.Join(dir, "none"), "x86_64", "no such file"},
	} {
		err := checkKernel(test.path, test.arch)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s, %s: got %v", filepath.Base(test.path), test.arch, err)
		}
	}
}

// A NixOS system gets its store and the tree, and mounts the rest itself.
func TestPlanOfASystem(t *testing.T) {
	l := newLab(t, "")
	store := filepath.Join(l.Dir, "store")
	system := filepath.Join(store, "abc-nixos")
	if err := os.MkdirAll(filepath.Join(system, "systemd/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	o := l.options()
	o.System, o.Tree, o.Network = system, l.Dir, true
	o.Shares = []Share{{Tag: "data", Dir: l.Dir, Path: "/mnt/data"}}
	p, err := newPlan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := guest.Config{
		Hostname: o.Hostname, Dir: o.Dir, Shell: o.Shell, Env: o.Env, Init: &guest.Init{Path: system + "/init"},
		Shares: []guest.Share{
			{Tag: storeTag, Path: store, Type: Virtiofs, ReadOnly: true},
			{Tag: treeTag, Path: l.Dir, Type: Virtiofs, ReadOnly: true},
		},
	}
	slices.SortFunc(want.Shares, func(a, b guest.Share) int { return strings.Compare(a.Path, b.Path) })
	if diff := cmp.Diff(want, p.guest); diff != "" {
		t.Error(diff)
	}
	var tags []string
	for _, s := range p.shares {
		if s.ReadOnly != (s.Tag != "data") {
			t.Errorf("share %s: read-only is %v", s.Tag, s.ReadOnly)
		}
		tags = append(tags, s.Tag)
	}
	if diff := cmp.Diff([]string{storeTag, treeTag, "data"}, tags); diff != "" {
		t.Error(diff)
	}

	if err := os.WriteFile(system+"/systemd/bin/systemctl", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if p, err = newPlan(t.Context(), o); err != nil || p.guest.Init.Systemctl != system+"/systemd/bin/systemctl" {
		t.Errorf("with systemd: got %+v, %v", p.guest.Init, err)
	}
}
