// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// gdb runs the kernel's script, and none that is in vmlinux, which a build host may have
// made.
func TestGDBScripts(t *testing.T) {
	gdb, err := exec.LookPath("gdb")
	if err != nil {
		t.Skip(err)
	}
	build, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"vmlinux.c": `asm(".pushsection \".debug_gdb_scripts\", \"MS\",%progbits,1\n.byte 4\n.ascii \"gdb.inlined-script\\n\"\n.ascii \"print('of vmlinux')\\n\"\n.byte 0\n.popsection\n");
int main(void) { return 0; }
`,
		"vmlinux-gdb.py": "print('of the kernel')\n",
	} {
		if err := os.WriteFile(filepath.Join(build, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	vmlinux := filepath.Join(build, "vmlinux")
	if out, err := exec.Command("cc", "-o", vmlinux, vmlinux+".c").CombinedOutput(); err != nil {
		t.Skipf("cc: %v: %s", err, out)
	}
	command := gdbCommandLine("true", build, "", vmlinux)
	out, _ := exec.Command(gdb, append([]string{"-batch", "-nx"}, command[1:]...)...).CombinedOutput() // there is no guest
	if !strings.Contains(string(out), "of the kernel\n") || strings.Contains(string(out), "of vmlinux\n") {
		t.Errorf("gdb says %s", out)
	}
}

// gdb's user is told where the symbols may be another kernel's.
func TestVmlinuxOf(t *testing.T) {
	for _, test := range []struct {
		image, want string
		known       bool
	}{
		{"", "/build/vmlinux", true},
		{"/build/vmlinux", "/build/vmlinux", true},
		{"/build/arch/x86/boot/bzImage", "/build/vmlinux", true},
		{"/other/vmlinux", "/other/vmlinux", true},
		{"/boot/vmlinuz-6.1.0-9-amd64", "/build/vmlinux", false},
		{"/build2/arch/x86/boot/bzImage", "/build/vmlinux", false},
	} {
		if got, known := vmlinuxOf("/build", test.image); got != test.want || known != test.known {
			t.Errorf("%s: got %s, %v", test.image, got, known)
		}
	}
}

// A guest of another architecture needs another gdb, also where only the terminal that has
// booted it was told.
func TestArchOf(t *testing.T) {
	for want, machine := range map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV} {
		header := elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
		}
		data, err := binary.Append(nil, binary.LittleEndian, header)
		if err != nil {
			t.Fatal(err)
		}
		vmlinux := filepath.Join(t.TempDir(), "vmlinux")
		if err := os.WriteFile(vmlinux, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := archOf(vmlinux); got != want {
			t.Errorf("%v: got %q, want %q", machine, got, want)
		}
	}
	if got := archOf(filepath.Join(t.TempDir(), "vmlinux")); got != "" {
		t.Errorf("without one: got %q", got)
	}
}

func TestAdviseDump(t *testing.T) {
	for problem, want := range map[unix.Errno]string{
		unix.EEXIST: "remove it", unix.ENOSPC: "elsewhere", unix.EACCES: "you may write", unix.EROFS: "you may write", unix.ENOENT: "you may write",
	} {
		err := advise(adviseDump(&os.PathError{Op: "open", Path: "/x", Err: problem}))
		var advised *advisedError
		if !errors.As(err, &advised) || !strings.Contains(advised.Hint(), want) || strings.Contains(advised.Hint(), "-O") {
			t.Errorf("%v: got %#v", problem, err)
		}
	}
	if err := adviseDump(nil); err != nil {
		t.Error(err)
	}
}
