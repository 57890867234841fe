// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
