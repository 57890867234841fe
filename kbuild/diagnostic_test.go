// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
)

func TestParseDiagnostic(t *testing.T) {
	for line, want := range map[string]event.Diagnostic{
		// gcc
		"init/main.c:4:30: error: 'undeclared' undeclared (first use in this function)": {
			File: "init/main.c", Line: 4, Column: 30, Severity: event.Error, Message: "'undeclared' undeclared (first use in this function)",
		},
		"./include/linux/minmax.h:20:35: warning: comparison of distinct pointer types lacks a cast": {
			File: "./include/linux/minmax.h", Line: 20, Column: 35, Severity: event.Warn, Message: "comparison of distinct pointer types lacks a cast",
		},
		"init/main.c:12:10: fatal error: linux/nosuch.h: No such file or directory": {
			File: "init/main.c", Line: 12, Column: 10, Severity: event.Error, Message: "linux/nosuch.h: No such file or directory",
		},
		"a.c:4:16: note: in expansion of macro 'CHECK'": {File: "a.c", Line: 4, Column: 16, Severity: event.Note, Message: "in expansion of macro 'CHECK'"},
		"gcc: error: unrecognized command-line option '-fnosuch'": {
			Severity: event.Error, Message: "gcc: unrecognized command-line option '-fnosuch'",
		},
		"aarch64-linux-gnu-gcc-12: fatal error: Killed signal terminated program cc1": {
			Severity: event.Error, Message: "aarch64-linux-gnu-gcc-12: Killed signal terminated program cc1",
		},
		"cc1: error: code model kernel does not support PIC mode": {Severity: event.Error, Message: "cc1: code model kernel does not support PIC mode"},
		// clang
		"/src/linux/init/main.c:5:10: fatal error: 'foo.h' file not found": {
			File: "/src/linux/init/main.c", Line: 5, Column: 10, Severity: event.Error, Message: "'foo.h' file not found",
		},
		"../init/main.c:900:2: error: call to undeclared function 'bar' [-Werror,-Wimplicit-function-declaration]": {
			File: "../init/main.c", Line: 900, Column: 2, Severity: event.Error,
			Message: "call to undeclared function 'bar' [-Werror,-Wimplicit-function-declaration]",
		},
		"clang-15: error: unsupported option '-mfoo'": {Severity: event.Error, Message: "clang-15: unsupported option '-mfoo'"},
		// as
		"arch/x86/entry/entry_64.S:87: Error: no such instruction: `nosuch %rax'": {
			File: "arch/x86/entry/entry_64.S", Line: 87, Severity: event.Error, Message: "no such instruction: `nosuch %rax'",
		},
		"{standard input}:12: Warning: no instruction mnemonic suffix given": {
			File: "{standard input}", Line: 12, Severity: event.Warn, Message: "no instruction mnemonic suffix given",
		},
		// ld
		"main.c:(.init.text+0x5f): undefined reference to `foo'":        {File: "main.c", Severity: event.Error, Message: "undefined reference to `foo'"},
		"init/main.c:900: undefined reference to `foo'":                 {File: "init/main.c", Line: 900, Severity: event.Error, Message: "undefined reference to `foo'"},
		"ld: init/main.o:(.data+0x10): undefined reference to `bar'":    {File: "init/main.o", Severity: event.Error, Message: "undefined reference to `bar'"},
		"ld: init/main.o:init/main.c:900: undefined reference to `foo'": {File: "init/main.c", Line: 900, Severity: event.Error, Message: "undefined reference to `foo'"},
		"ld: d.o:(.data+0x0): multiple definition of `v'; c.o:/src/linux/c.c:1: first defined here": {
			File: "d.o", Severity: event.Error, Message: "multiple definition of `v'; c.o:/src/linux/c.c:1: first defined here",
		},
		"ld: warning: vmlinux has a LOAD segment with RWX permissions": {Severity: event.Warn, Message: "ld: vmlinux has a LOAD segment with RWX permissions"},
		"/usr/bin/aarch64-linux-gnu-ld: cannot find -lelf: No such file or directory": {
			Severity: event.Error, Message: "ld: cannot find -lelf: No such file or directory",
		},
		"ld.lld: error: undefined symbol: foo":                           {Severity: event.Error, Message: "ld: undefined symbol: foo"},
		"ld.lld: warning: vmlinux.a(init/main.o): section type mismatch": {Severity: event.Warn, Message: "ld: vmlinux.a(init/main.o): section type mismatch"},
		"collect2: error: ld returned 1 exit status":                     {Severity: event.Error, Message: "collect2: ld returned 1 exit status"},
		// modpost, objtool
		`ERROR: modpost: "foo_register" [drivers/foo/foo.ko] undefined!`: {
			Severity: event.Error, Message: `modpost: "foo_register" [drivers/foo/foo.ko] undefined!`,
		},
		"WARNING: modpost: missing MODULE_LICENSE() in drivers/foo/foo.o": {
			Severity: event.Warn, Message: "modpost: missing MODULE_LICENSE() in drivers/foo/foo.o",
		},
		"vmlinux.o: warning: objtool: do_syscall_64+0x1f: call to foo() leaves .noinstr.text section": {
			File: "vmlinux.o", Severity: event.Warn, Message: "objtool: do_syscall_64+0x1f: call to foo() leaves .noinstr.text section",
		},
		"fs/foo.o: error: objtool: foo() falls through to next function bar()": {
			File: "fs/foo.o", Severity: event.Error, Message: "objtool: foo() falls through to next function bar()",
		},
		// Kconfig
		"drivers/foo/Kconfig:12: syntax error":                         {File: "drivers/foo/Kconfig", Line: 12, Severity: event.Error, Message: "syntax error"},
		"drivers/foo/Kconfig:12:error: recursive dependency detected!": {File: "drivers/foo/Kconfig", Line: 12, Severity: event.Error, Message: "recursive dependency detected!"},
		"drivers/Kconfig.debug:3:warning: ignoring unsupported character '@'": {
			File: "drivers/Kconfig.debug", Line: 3, Severity: event.Warn, Message: "ignoring unsupported character '@'",
		},
		".config:4:warning: override: reassigning to symbol SMP": {File: ".config", Line: 4, Severity: event.Warn, Message: "override: reassigning to symbol SMP"},
		"WARNING: unmet direct dependencies detected for FOO":    {Severity: event.Warn, Message: "kconfig: unmet direct dependencies detected for FOO"},
		// make
		"make[2]: *** No rule to make target 'init/nosuch.o', needed by 'init/built-in.a'.  Stop.": {
			Severity: event.Error, Message: "make: No rule to make target 'init/nosuch.o', needed by 'init/built-in.a'",
		},
		"drivers/foo/Makefile:4: *** missing separator.  Stop.": {File: "drivers/foo/Makefile", Line: 4, Severity: event.Error, Message: "missing separator"},
		"Makefile:12: warning: overriding recipe for target 'all'": {
			File: "Makefile", Line: 12, Severity: event.Warn, Message: "overriding recipe for target 'all'",
		},
		// rustc
		"error[E0425]: cannot find value `foo` in this scope": {Severity: event.Error, Message: "cannot find value `foo` in this scope"},
		"warning: unused variable: `x`":                       {Severity: event.Warn, Message: "unused variable: `x`"},
		// dtc
		"arch/arm64/boot/dts/x.dts:5.14-9.4: Warning (unit_address_vs_reg): /memory: node has a reg": {
			File: "arch/arm64/boot/dts/x.dts", Line: 5, Column: 14, Severity: event.Warn, Message: "/memory: node has a reg",
		},
		"Error: arch/arm64/boot/dts/x.dtsi:12.3-4 syntax error": {
			File: "arch/arm64/boot/dts/x.dtsi", Line: 12, Column: 3, Severity: event.Error, Message: "syntax error",
		},
	} {
		got, ok := parseDiagnostic(line)
		if !ok {
			t.Errorf("not recognised: %s", line)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
	for _, line := range []string{
		"", "  CC      init/main.o", "make[1]: Entering directory '/out'", "make: *** [Makefile:242: __sub-make] Error 2",
		"make[3]: *** [scripts/Makefile.build:250: init/main.o] Error 1", "make[2]: *** Waiting for unfinished jobs....",
		"make[2]: *** Deleting file 'init/main.o'", "make[1]: *** [Makefile:1: vmlinux] Terminated", "make: *** [Makefile:1: all] Interrupt",
		"1 error generated.", "compilation terminated.", "ld: init/main.o: in function `start_kernel':", "init/main.c: In function 'foo':",
		"error: aborting due to 1 previous error", "warning: 1 warning emitted", "In file included from init/main.c:1:",
		"drivers/foo/Kconfig:5:\tsymbol A depends on B", "cc1: all warnings being treated as errors",
		"Kernel: arch/x86/boot/bzImage is ready  (#1)", "***", "*** Configuration file \".config\" not found!", "   20 | #define error: x",
	} {
		if got, ok := parseDiagnostic(line); ok {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}

func TestQuiet(t *testing.T) {
	for line, want := range map[string]struct {
		step   string
		object bool
	}{
		"  CC      init/main.o":                                        {"CC init/main.o", true},
		"  CC [M]  drivers/net/dummy.o":                                {"CC [M] drivers/net/dummy.o", true},
		"  AS      arch/x86/entry/entry_64.o":                          {"AS arch/x86/entry/entry_64.o", true},
		"  HOSTCC  scripts/basic/fixdep":                               {"HOSTCC scripts/basic/fixdep", true},
		"  CC      /out/tools/objtool/weak.o":                          {"CC /out/tools/objtool/weak.o", true},
		"  RUSTC L rust/core.o":                                        {"RUSTC L rust/core.o", true},
		"  RUSTC [M] samples/rust/rust_minimal.o":                      {"RUSTC [M] samples/rust/rust_minimal.o", true},
		"  LD      vmlinux":                                            {"LD vmlinux", false},
		"  LD [M]  drivers/net/dummy.ko":                               {"LD [M] drivers/net/dummy.ko", false},
		"  LD      .tmp_vmlinux.kallsyms1":                             {"LD .tmp_vmlinux.kallsyms1", false},
		"  GEN     Makefile":                                           {"GEN Makefile", false},
		"  AR      built-in.a":                                         {"AR built-in.a", false},
		"  SYNC    include/config/auto.conf.cmd":                       {"SYNC include/config/auto.conf.cmd", false},
		"  CALL    /src/linux/scripts/checksyscalls.sh":                {"CALL /src/linux/scripts/checksyscalls.sh", false},
		"  DESCEND objtool":                                            {"DESCEND objtool", false},
		"  UPD     include/generated/utsrelease.h":                     {"UPD include/generated/utsrelease.h", false},
		"  HYPERCALLS arch/x86/include/generated/asm/xen-hypercalls.h": {"HYPERCALLS arch/x86/include/generated/asm/xen-hypercalls.h", false},
		"  MODPOST Module.symvers":                                     {"MODPOST Module.symvers", false},
		"  VDSO2C  arch/x86/entry/vdso/vdso-image-64.c":                {"VDSO2C arch/x86/entry/vdso/vdso-image-64.c", false},
		"  BUILD   arch/x86/boot/bzImage":                              {"BUILD arch/x86/boot/bzImage", false},
		"make[1]: Entering directory '/out'":                           {},
		"make: Leaving directory '/src/linux'":                         {},
		"Kernel: arch/x86/boot/bzImage is ready  (#1)":                 {},
		"   20 |         CHECK(x)":                                     {},
		"      |         ^~~~":                                         {},
		"  1234 | FOO bar":                                             {},
		"  FOO(bar, baz);":                                             {},
		"  FOO = bar;":                                                 {},
		"  Depends on [n]: A [=y] && B [=n]":                           {},
		"  - BAR [=y]":                                                 {},
		"  CC":                                                         {},
		"  ":                                                           {},
		"":                                                             {},
	} {
		if step, object := quiet(line); step != want.step || object != want.object {
			t.Errorf("%q: got %q %v", line, step, object)
		}
	}
}
