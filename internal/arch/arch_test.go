// SPDX-License-Identifier: GPL-3.0-only

package arch

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestOfGo(t *testing.T) {
	for goarch, want := range map[string]string{
		"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64", "386": "i386", "ppc64le": "ppc64", "s390x": "s390x",
	} {
		if got := OfGo(goarch).Name; got != want {
			t.Errorf("%s: got %s", goarch, got)
		}
	}
}

// What is unknown keeps the name that it was asked by.
func TestUnknown(t *testing.T) {
	for _, a := range []*Arch{Of("pdp11"), OfGo("pdp11"), OfKernel("pdp11")} {
		if a.Name != "pdp11" || a.Kernel != "pdp11" || a.Go != "pdp11" || a.Guest != nil {
			t.Errorf("got %+v", a)
		}
	}
	if a := Of(""); a.Name != "" || a.Guest != nil {
		t.Errorf("no name: got %+v", a)
	}
	if a := OfELF(elf.EM_VAX, elf.ELFCLASS32); a.Name != "vax" || a.Guest != nil {
		t.Errorf("ELF: got %+v", a)
	}
}

// Each way to name an architecture leads to its row, and each row of a guest says
// all that starting one takes.
func TestTable(t *testing.T) {
	for _, a := range Guests() {
		for how, got := range map[string]*Arch{"name": Of(a.Name), "Go": OfGo(a.Go), "kernel": OfKernel(a.Kernel), "ELF": OfELF(a.Machine, elf.ELFCLASS64)} {
			if got != a {
				t.Errorf("%s by %s: got %s", a.Name, how, got.Name)
			}
		}
		for _, alias := range a.Aliases {
			if got := OfKernel(alias); got != a {
				t.Errorf("%s: got %s", alias, got.Name)
			}
		}
		for what, value := range map[string]string{"Debian": a.Debian, "Nix": a.Nix, "GDB": a.GDB} {
			if value == "" {
				t.Errorf("%s: no %s", a.Name, what)
			}
		}
		g := a.Guest
		if g.Machine == "" || g.CPU == "" || len(g.Console) == 0 || g.Bootable == "" || g.Header.Magic == "" || g.Header.Size == nil {
			t.Errorf("%s: its guest lacks something: %+v", a.Name, g)
		}
		if end := g.Header.Offset + len(g.Header.Magic); end > HeaderSize {
			t.Errorf("%s: its header ends at %d", a.Name, end)
		}
		tools := []string{"qemu-system-" + a.Name}
		if g.Firmware.File != "" {
			tools = append(tools, g.Firmware.Tool)
		}
		for _, tool := range tools {
			if p, ok := Packages(tool); !ok || slices.Contains(p[:], "") {
				t.Errorf("%s: packages of %s: %q", a.Name, tool, p)
			}
		}
		if len(a.Images) > 0 && a.Images[len(a.Images)-1].Option != "" {
			t.Errorf("%s: its last image isn't one of every configuration", a.Name)
		}
	}
	if Host().Go != runtime.GOARCH {
		t.Errorf("this host: %+v", Host())
	}
}

// What the kernel's own build makes of each machine and of each value of ARCH.
func TestKernelNames(t *testing.T) {
	tree := os.Getenv("RUN_KERNEL_TEST_TREE")
	if tree == "" {
		t.Skip("RUN_KERNEL_TEST_TREE names no kernel tree")
	}
	// GOARCH by what uname -m says.
	for machine, goarch := range map[string]string{
		"x86_64": "amd64", "i686": "386", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64", "loongarch64": "loong64",
		"ppc64le": "ppc64le", "ppc64": "ppc64", "s390x": "s390x", "mips": "mips", "mips64": "mips64le",
	} {
		cmd := exec.Command("make", "-s", "-f", "-", "-C", tree)
		cmd.Stdin = strings.NewReader("include scripts/subarch.include\nall: ; @echo $(SUBARCH)\n")
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "uname"), []byte("#!/bin/sh\necho "+machine+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "MAKEFLAGS=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, want := OfGo(goarch).Kernel, strings.TrimSpace(string(out)); got != want {
			t.Errorf("%s: got %s, the kernel's build has %s", goarch, got, want)
		}
	}
	makefile, err := os.ReadFile(filepath.Join(tree, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^ifeq \(\$\(ARCH\),(\w+)\)\n\s*SRCARCH := (\w+)\n`).FindAllSubmatch(makefile, -1)
	if len(found) < 5 {
		t.Errorf("the Makefile has no more than %q", found)
	}
	for _, m := range found {
		if got := OfKernel(string(m[1])).Kernel; got != string(m[2]) {
			t.Errorf("ARCH=%s: got %s, the Makefile has %s", m[1], got, m[2])
		}
	}
}

// nix's names; see lib/systems/parse.nix of nixpkgs.
func TestNix(t *testing.T) {
	for goarch, want := range map[string]string{
		"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "ppc64le": "powerpc64le", "riscv64": "riscv64", "loong64": "loongarch64",
	} {
		if got := OfGo(goarch).Nix; got != want {
			t.Errorf("%s: got %s", goarch, got)
		}
	}
}
