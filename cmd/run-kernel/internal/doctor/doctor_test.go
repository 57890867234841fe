// SPDX-License-Identifier: GPL-3.0-only

package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/arch"
)

// program puts a program into dir that writes text and ends with a status.
func program(t *testing.T, dir, name, text string, status int) {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\ncat <<'END'\n%s\nEND\nexit %d\n", text, status)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// path makes a directory the only one in $PATH, beside the shell's.
func path(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"sh", "cat"} {
		if err := os.Symlink("/bin/"+name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return dir
}

func find(checks []Check, name string) Check {
	i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == name })
	if i < 0 {
		return Check{Name: name + " isn't checked"}
	}
	return checks[i]
}

func TestExamine(t *testing.T) {
	dir := path(t)
	program(t, dir, "make", "GNU Make 4.3\nBuilt for x86_64", 0)
	program(t, dir, "gcc", "gcc (Debian 12.2.0-14+deb12u1) 12.2.1", 0)
	program(t, dir, "bison", "what?", 1)
	program(t, dir, "qemu-mine", "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", 0)
	program(t, dir, "vfsd", "Usage: --shared-dir --readonly\nvirtiofsd 1.13.2", 0)
	checks := Examine(context.Background(), Options{Arch: "x86_64", QEMU: "qemu-mine", Virtiofsd: "vfsd", MemoryMiB: 1 << 40, BuildDir: dir})
	for _, want := range []Check{
		{Feature: "build", Name: "make", State: OK, Version: "4.3", Path: filepath.Join(dir, "make"), tool: "make"},
		{Feature: "build", Name: "gcc", State: OK, Version: "12.2.1", Path: filepath.Join(dir, "gcc"), tool: "gcc"},
		{Feature: "build", Name: "bison", State: OK, Path: filepath.Join(dir, "bison"), tool: "bison"},
		{Feature: "build", Name: "flex", State: Missing, Text: "flex not found in $PATH", tool: "flex"},
		{Feature: "build", Name: "libelf", State: OK, Text: "<libelf.h>", tool: "libelf"},
		{
			Feature: "build", Name: "pahole", State: Note, Text: "not found; CONFIG_DEBUG_INFO_BTF needs it",
			tool: "pahole",
		},
		{Feature: "boot", Name: "qemu-mine", State: OK, Version: "10.0.2", Path: filepath.Join(dir, "qemu-mine"), tool: "qemu-system-x86_64"},
		{Feature: "boot", Name: "virtiofsd", State: OK, Text: "the Rust one", Path: filepath.Join(dir, "vfsd")},
	} {
		if diff := cmp.Diff(want, find(checks, want.Name), cmp.AllowUnexported(Check{})); diff != "" {
			t.Errorf("%s: %s", want.Name, diff)
		}
	}
	if c := find(checks, "memory"); c.State != Note || c.Hint == "" {
		t.Errorf("a guest of an exbibyte fits: %+v", c)
	}
	if Healthy(checks) {
		t.Error("it is healthy without flex")
	}
	debian := Distribution{ID: "debian", Version: "13", Root: true}
	if got := Remedy(checks, debian, false); got != "apt install bc binutils flex perl" {
		t.Errorf("needed: %s", got)
	}
	// Where depmod is, it is found outside of $PATH as well.
	if got := strings.Replace(Remedy(checks, debian, true), " kmod", "", 1); got != "apt install bc binutils dwarves flex gdb git nix-bin openssh-client perl" {
		t.Errorf("all: %s", got)
	}
}

func TestMissing(t *testing.T) {
	path(t)
	checks := Examine(context.Background(), Options{Arch: "x86_64", Virtiofsd: "/none", LLVM: "-15", BuildDir: "/none"})
	for name, state := range map[string]State{
		"clang-15": Missing, "ld.lld-15": Missing, "llvm-ar-15": Missing, "libelf": Missing, "virtiofsd": Missing, "disk": Note, "max_user_watches": OK,
	} {
		if c := find(checks, name); c.State != state {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// The package of a version is another one.
func TestVersions(t *testing.T) {
	path(t)
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{LLVM: "-15"}, " clang-15 flex libelf-dev libssl-dev lld-15 llvm-15 make "},
		{Options{CC: "ccache gcc-11"}, " ccache flex gcc-11 make "},
		{Options{LLVM: "/opt/llvm/bin/", CC: "/opt/gcc/bin/gcc-mine"}, " flex gcc libelf-dev libssl-dev lld llvm make "},
	} {
		c.o.Arch, c.o.BuildDir = "x86_64", "/"
		got := Remedy(Examine(t.Context(), c.o), Distribution{ID: "debian", Root: true}, false)
		for _, pkg := range strings.Fields(c.want) {
			if !slices.Contains(strings.Fields(got), pkg) {
				t.Errorf("%+v: no %s in %q", c.o, pkg, got)
			}
		}
	}
}

// nix is of no use to a user whose the store isn't, where no daemon answers.
func TestNixDaemon(t *testing.T) {
	dir := path(t)
	t.Setenv("NIX_REMOTE", "")
	program(t, dir, "nix", "nix (Nix) 2.26.3", 0)
	state := t.TempDir()
	if c := nix(1000, state)(t.Context()); c.State != Note || !strings.Contains(c.Text, "no daemon") || !strings.Contains(c.Hint, "systemctl start") || c.tool != "" {
		t.Errorf("without a daemon: %+v", c)
	}
	if c := nix(0, state)(t.Context()); c.State != OK {
		t.Errorf("as root: %+v", c)
	}
	if err := os.Mkdir(filepath.Join(state, "daemon-socket"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(state, "daemon-socket/socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c := nix(1000, state)(t.Context()); c.State != OK {
		t.Errorf("with a daemon: %+v", c)
	}
	own := t.TempDir()
	if err := os.Mkdir(filepath.Join(own, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	if c := nix(1000, own)(t.Context()); c.State != OK {
		t.Errorf("with a store of one's own: %+v", c)
	}
}

// With clang and lld alone, make LLVM=1 ends at the first archive.
func TestLLVM(t *testing.T) {
	dir := path(t)
	program(t, dir, "clang", "Debian clang version 14.0.6", 0)
	program(t, dir, "ld.lld", "Debian LLD 14.0.6", 0)
	checks := Examine(t.Context(), Options{Arch: "x86_64", LLVM: "1", BuildDir: dir})
	if c := find(checks, "llvm-ar"); c.State != Missing {
		t.Errorf("got %+v", c)
	}
	for _, id := range []string{"debian", "fedora", "arch", "nixos"} {
		if got := Remedy(checks, Distribution{ID: id}, false); !slices.Contains(strings.Fields(got), "llvm") {
			t.Errorf("%s: llvm isn't in %q", id, got)
		}
	}
	program(t, dir, "llvm-ar", "LLVM (http://llvm.org/):\n  Debian LLVM version 14.0.6", 0)
	if c := find(Examine(t.Context(), Options{Arch: "x86_64", LLVM: "1", BuildDir: dir}), "llvm-ar"); c.State != OK {
		t.Errorf("got %+v", c)
	}
	if c := find(Examine(t.Context(), Options{Arch: "x86_64", BuildDir: dir}), "ld"); c.State != Missing {
		t.Errorf("without LLVM=: %+v", c)
	}
}

// Where boots find nix, it is there: its installer's directory is in no $PATH of sudo's.
func TestNixElsewhere(t *testing.T) {
	path(t)
	t.Setenv("NIX_REMOTE", "daemon") // which is as it may be
	dir := t.TempDir()
	saved := userland.NixDirs
	t.Cleanup(func() { userland.NixDirs = saved })
	userland.NixDirs = []string{dir}
	program(t, dir, "nix", "nix (Nix) 2.26.3", 0)
	c := find(Examine(t.Context(), Options{Arch: "x86_64", BuildDir: dir}), "nix")
	if c.State != OK || c.Path != filepath.Join(dir, "nix") || c.Version != "2.26.3" {
		t.Errorf("got %+v", c)
	}
}

// A guest of another architecture takes more: an init, a gdb that knows its
// processor, and firmware where qemu has none of its own.
func TestForeign(t *testing.T) {
	dir := path(t)
	o := Options{Arch: "riscv64", CrossCompile: "riscv64-linux-gnu-", BuildDir: dir}
	if qemu.ThisHost().Arch == o.Arch {
		o.Arch, o.CrossCompile = "aarch64", "aarch64-linux-gnu-"
	}
	examine := func() []Check { return Examine(t.Context(), o) }
	checks := examine()
	for name, state := range map[string]State{"qemu-system-" + o.Arch: Missing, "init": Missing, "gdb": Note, o.CrossCompile + "gcc": Missing} {
		if c := find(checks, name); c.State != state {
			t.Errorf("%s: %+v", name, c)
		}
	}
	debian := Distribution{ID: "debian", Version: "13", Root: true}
	remedy := Remedy(checks, debian, true)
	for _, pkg := range []string{"gcc-" + o.CrossCompile, "binutils-" + o.CrossCompile, "gdb-multiarch"} {
		if !strings.Contains(remedy, " "+strings.TrimSuffix(pkg, "-")) {
			t.Errorf("%s isn't in %q", pkg, remedy)
		}
	}

	program(t, dir, "gdb", "GNU gdb (Debian 13.1-3) 13.1", 1)
	if c := find(examine(), "gdb"); c.State != Note || !strings.Contains(c.Text, o.Arch) {
		t.Errorf("a gdb that doesn't know the processor: %+v", c)
	}
	program(t, dir, "gdb-multiarch", "GNU gdb (Debian 13.1-3) 13.1", 0)
	if c := find(examine(), "gdb"); c.State != OK || c.Path != filepath.Join(dir, "gdb-multiarch") {
		t.Errorf("one that does: %+v", c)
	}

	if o.Arch != "riscv64" {
		return
	}
	program(t, dir, "qemu-system-riscv64", "/nowhere\n"+dir, 0)
	if c := find(examine(), "firmware"); c.State != Missing || c.tool != "opensbi" {
		t.Errorf("no firmware: %+v", c)
	}
	file := filepath.Join(dir, arch.Of("riscv64").Guest.Firmware.File)
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if c := find(examine(), "firmware"); c.State != OK || c.Path != file {
		t.Errorf("firmware: %+v", c)
	}
}

// Without a virtiofsd there is still 9p, unless one was asked for.
func TestFilesystem(t *testing.T) {
	saved := virtiofs.Dirs
	t.Cleanup(func() { virtiofs.Dirs = saved })
	virtiofs.Dirs = nil
	path(t)
	for _, c := range []struct {
		o    Options
		want State
		text string
	}{
		{Options{}, Note, "virtiofsd not found in $PATH; guests get files by 9p, which is slower"},
		{Options{MountType: "auto"}, Note, "by 9p"},
		{Options{MountType: "virtiofs"}, Missing, "not found"},
		{Options{Virtiofsd: "/none"}, Missing, "/none"},
		{Options{MountType: "9p", Virtiofsd: "/none"}, OK, "not needed"},
	} {
		if got := filesystem(c.o)(t.Context()); got.State != c.want || !strings.Contains(got.Text, c.text) {
			t.Errorf("%+v: got %+v", c.o, got)
		}
	}
}

func TestCompiler(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "gcc"},
		{Options{CrossCompile: "aarch64-linux-gnu-"}, "aarch64-linux-gnu-gcc"},
		{Options{LLVM: "1"}, "clang"},
		{Options{LLVM: "0"}, "gcc"},
		{Options{LLVM: "-18"}, "clang-18"},
		{Options{LLVM: "/opt/llvm/bin/"}, "/opt/llvm/bin/clang"},
		{Options{LLVM: "1", CC: "ccache gcc-13"}, "gcc-13"},
	} {
		if got := compilerName(c.o); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.o, got, c.want)
		}
	}
}

// A compiler that is there may be for another processor.
func TestCompilersMachine(t *testing.T) {
	dir := path(t)
	for name, machine := range map[string]string{
		"gcc": "x86_64-linux-gnu", "aarch64-linux-gnu-gcc": "aarch64-linux-gnu", "clang": "x86_64-pc-linux-gnu", "mygcc": "what?",
	} {
		program(t, dir, name, machine, 0)
	}
	for _, c := range []struct {
		o    Options
		want State
	}{
		{Options{}, OK},
		{Options{KernelArch: "x86_64"}, OK},
		{Options{KernelArch: "i386"}, OK},
		{Options{KernelArch: "arm64"}, Missing},
		{Options{KernelArch: "arm64", CC: "gcc"}, Missing},
		{Options{KernelArch: "riscv", CrossCompile: "aarch64-linux-gnu-"}, Missing},
		{Options{KernelArch: "arm64", CrossCompile: "aarch64-linux-gnu-"}, OK},
		{Options{KernelArch: "arm64", LLVM: "1"}, OK},
		{Options{KernelArch: "arm64", CC: "clang"}, OK},
		{Options{KernelArch: "arm64", CC: "mygcc"}, OK},
	} {
		got := compiler(c.o)(t.Context())
		if got.State != c.want {
			t.Errorf("%+v: got %+v", c.o, got)
		}
		if c.want == Missing && (!strings.Contains(got.Text, "not for "+c.o.KernelArch) || !strings.Contains(got.Hint, "--cross-compile "+arch.OfKernel(c.o.KernelArch).Name+"-linux-gnu-")) {
			t.Errorf("%+v: it says %q, %q", c.o, got.Text, got.Hint)
		}
	}
	missing := []Check{compiler(Options{KernelArch: "arm64"})(t.Context())}
	if got := Remedy(missing, Distribution{ID: "debian", Root: true}, false); got != "apt install gcc-aarch64-linux-gnu" {
		t.Errorf("the remedy is %q", got)
	}
}

// Of a cross compiler the package isn't in the table, but guessed.
func TestCrossCompiler(t *testing.T) {
	path(t)
	c := compiler(Options{CrossCompile: "powerpc64le-linux-gnu-"})(context.Background())
	if c.State != Missing || c.tool != "" || c.Hint != "install the cross compiler: gcc-powerpc64le-linux-gnu on Debian" {
		t.Errorf("got %+v", c)
	}
}

func TestParseRelease(t *testing.T) {
	for _, c := range []struct {
		text string
		want Distribution
	}{
		{"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n", Distribution{ID: "debian", Version: "12"}},
		{"ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n", Distribution{ID: "debian"}},
		{"ID_LIKE=\"rhel centos fedora\"\nID=\"rocky\"\nVERSION_ID=9.4\n", Distribution{ID: "fedora"}},
		{"ID=nixos\nVERSION_ID=\"26.05\"\n", Distribution{ID: "nixos", Version: "26.05"}},
		{"ID='arch'\n", Distribution{ID: "arch"}},
		{"ID=plan9\nVERSION_ID=4\n", Distribution{}},
		{"", Distribution{}},
	} {
		if diff := cmp.Diff(c.want, parseRelease(c.text)); diff != "" {
			t.Errorf("%q: %s", c.text, diff)
		}
	}
}

func TestInstall(t *testing.T) {
	tools := []string{"qemu-system-x86_64", "virtiofsd", "libelf", "libelf", "unheard-of"}
	for _, c := range []struct {
		d    Distribution
		want string
	}{
		{Distribution{ID: "debian", Version: "12"}, "sudo apt install libelf-dev qemu-system-common qemu-system-x86"},
		{Distribution{ID: "debian", Version: "13", Root: true}, "apt install libelf-dev qemu-system-x86 virtiofsd"},
		{Distribution{ID: "fedora"}, "sudo dnf install elfutils-libelf-devel qemu-system-x86-core virtiofsd"},
		{Distribution{ID: "arch", Root: true}, "pacman -S libelf qemu-system-x86 virtiofsd"},
		{Distribution{ID: "nixos"}, "nix-shell -p elfutils qemu virtiofsd"},
		{Distribution{}, "install what Debian calls: libelf-dev qemu-system-x86 virtiofsd"},
	} {
		if got := c.d.install(tools); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.d, got, c.want)
		}
	}
	if got := (Distribution{ID: "debian"}).install([]string{"unheard-of"}); got != "" {
		t.Errorf("nothing to install: %q", got)
	}
}

func TestMeminfo(t *testing.T) {
	const text = "MemTotal:       24683668 kB\nMemAvailable:       1024 kB\nHugePages_Total:       0\nBroken\n"
	if n := meminfo(text, "MemAvailable"); n != 1<<20 {
		t.Errorf("got %d", n)
	}
	if n := meminfo(text, "Broken"); n != 0 {
		t.Errorf("got %d", n)
	}
}

func TestFolders(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"a/b", "c", ".git/objects"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if n := directories(root); n != 4 {
		t.Errorf("got %d", n)
	}
}
