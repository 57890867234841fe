// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/event"
)

// A recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []event.Event
}

func (r *recorder) sink(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func of[E event.Event](r *recorder) []E {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []E
	for _, e := range r.events {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

// play builds with a make that says output and then runs script.
func play(t *testing.T, o Options, output, script string) (*recorder, *Result, error) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = source(t, physical(t))
	}
	tree, err := Find(o)
	if err != nil {
		t.Fatal(err)
	}
	dir := tools(t, `cd "$2"; cat "${0%/*}/output"; `+script)
	write(t, dir, map[string]string{"output": output})
	r := new(recorder)
	result, err := tree.Build(t.Context(), BuildOptions{Image: filepath.Join(tree.BuildDir, "vmlinux"), Target: "vmlinux", Events: r.sink})
	return r, result, err
}

const firstBuild = `make: Entering directory '/src/linux'
  SYNC    include/config/auto.conf
  HOSTCC  scripts/basic/fixdep
  CC      init/main.o
  CC      init/version.o
  AS      arch/x86/kernel/head_64.o
  CC [M]  drivers/net/dummy.o
  AR      built-in.a
  LD      vmlinux
  SYSMAP  System.map
make: Leaving directory '/src/linux'
`

func TestBuild(t *testing.T) {
	src := source(t, physical(t))
	r, result, err := play(t, Options{Dir: src, Jobs: 2}, firstBuild, "echo > vmlinux; : > init/main.o")
	if err != nil {
		t.Fatal(err)
	}
	log := src + "/.run-kernel/build.log"
	want := &Result{Image: src + "/vmlinux", NewImage: true, Objects: 5, Elapsed: result.Elapsed, Link: result.Link, Log: log, Took: map[string]time.Duration{}, Steps: []string{
		"SYNC include/config/auto.conf", "HOSTCC scripts/basic/fixdep", "CC init/main.o", "CC init/version.o", "AS arch/x86/kernel/head_64.o",
		"CC [M] drivers/net/dummy.o", "AR built-in.a", "LD vmlinux", "SYSMAP System.map",
	}}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Error(diff)
	}
	if data, _ := os.ReadFile(log); string(data) != firstBuild {
		t.Error(cmp.Diff(firstBuild, string(data)))
	}
	first, last := r.events[0], r.events[len(r.events)-1]
	make, _ := exec.LookPath("make")
	if diff := cmp.Diff(event.BuildStarted{Dir: src, Command: []string{make, "-C", src, "-j2", "vmlinux"}}, first); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(event.BuildFinished{Elapsed: result.Elapsed, Link: result.Link, Objects: 5, Image: want.Image, NewImage: true, Log: log}, last); diff != "" {
		t.Error(diff)
	}
	progress := of[event.BuildProgress](r)
	if len(progress) == 0 || progress[0].Current != "SYNC include/config/auto.conf" || progress[0].Total != 0 {
		t.Errorf("got %+v", progress)
	}

	// Nothing to do.
	_, result, err = play(t, Options{Dir: src}, "  CALL    scripts/checksyscalls.sh\n", "")
	if err != nil || result.NewImage || result.Objects != 0 {
		t.Errorf("nothing to do: got %+v %v", result, err)
	}
	// Only a part is built: there is nothing to compare with.
	_, result, err = play(t, Options{Dir: src}, "  CC      init/main.o\n", "echo x > vmlinux")
	if err != nil || !result.NewImage || result.Objects != 1 {
		t.Errorf("a part: got %+v %v", result, err)
	}
	if p := of[event.BuildProgress](r); len(p) == 0 || p[0].Total != 0 {
		t.Errorf("a part: got %+v", p)
	}
	// A file of the same size and time, but another one.
	stamp := `touch -d @1000000000 vmlinux`
	if _, _, err = play(t, Options{Dir: src}, "", stamp); err != nil {
		t.Fatal(err)
	}
	_, result, err = play(t, Options{Dir: src}, "", "cp vmlinux new; mv new vmlinux; "+stamp)
	if err != nil || !result.NewImage {
		t.Errorf("relinked: got %+v %v", result, err)
	}
	_, result, err = play(t, Options{Dir: src}, "", stamp)
	if err != nil || result.NewImage {
		t.Errorf("untouched: got %+v %v", result, err)
	}
}

// The link begins after the last object, whatever make has linked before that.
func TestBuildLink(t *testing.T) {
	compile := "echo '  CC      init/main.o'; sleep 0.3; "
	for name, c := range map[string]struct {
		script   string
		min, max time.Duration
	}{
		"linked":            {compile + "echo '  LD      vmlinux.o'; sleep 0.2; echo '  CC      .vmlinux.export.o'", 200 * time.Millisecond, 290 * time.Millisecond},
		"a boot image":      {compile + "echo '  LD      vmlinux'; sleep 0.1; echo '  CC      arch/x86/boot/version.o'; sleep 0.1", 200 * time.Millisecond, 290 * time.Millisecond},
		"not the last link": {"echo '  MODPOST Module.symvers'; sleep 0.3; echo '  CC      init/main.o'; echo '  LD      vmlinux'", 0, 200 * time.Millisecond},
		"nothing linked":    {compile, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, result, err := play(t, Options{}, "", "echo > vmlinux; "+c.script)
			if err != nil {
				t.Fatal(err)
			}
			if result.Link < c.min || result.Link > max(c.max, result.Elapsed-300*time.Millisecond) {
				t.Errorf("the link took %v of %v", result.Link, result.Elapsed)
			}
			if f := of[event.BuildFinished](r); len(f) != 1 || f[0].Link != result.Link {
				t.Errorf("told: %+v", f)
			}
		})
	}
}

func TestLeft(t *testing.T) {
	for _, c := range []struct {
		done, total int
		elapsed     time.Duration
		want        time.Duration
	}{
		{250, 1000, time.Minute, 3 * time.Minute},
		{1000, 1000, time.Minute, 0},
		{1100, 1000, time.Minute, 0},
		{250, 0, time.Minute, 0},   // nobody knows the total
		{40, 1000, time.Minute, 0}, // too little has been seen
		{250, 1000, 4900 * time.Millisecond, 0},
	} {
		if got := left(c.done, c.total, c.elapsed); got != c.want {
			t.Errorf("%d of %d after %v: %v, want %v", c.done, c.total, c.elapsed, got, c.want)
		}
	}
}

// The number of objects is that of a build from scratch, not of one that went on
// where another had failed.
func TestBuildTotal(t *testing.T) {
	src := source(t, physical(t))
	total := func(output, script string, fails bool) int {
		t.Helper()
		r, _, err := play(t, Options{Dir: src}, output, script)
		if (err != nil) != fails {
			t.Fatalf("got %v", err)
		}
		return of[event.BuildProgress](r)[0].Total
	}
	if n := total(firstBuild, ": > init/main.o; exit 2", true); n != 0 {
		t.Errorf("the first build: %d", n)
	}
	if n := total("  CC      fs/inode.o\n", ": > vmlinux", false); n != 0 {
		t.Errorf("the one that goes on: %d", n)
	}
	clean := func() {
		for _, name := range []string{"vmlinux", "init/main.o"} {
			if err := os.Remove(filepath.Join(src, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	clean()
	if n := total(firstBuild, ": > vmlinux; : > init/main.o", false); n != 0 {
		t.Errorf("the first one from scratch that succeeds: %d", n)
	}
	clean()
	if n := total(firstBuild, ": > vmlinux; : > init/main.o", false); n != 5 {
		t.Errorf("after it: %d", n)
	}
}

// The first build has a total from the source tree and .config. One with the same .config
// takes the number that there was.
func TestBuildEstimate(t *testing.T) {
	src := source(t, physical(t))
	write(t, src, map[string]string{
		"Kbuild": "", "init/Makefile": "obj-y := main.o version.o\nobj-$(CONFIG_MORE) += more.o\n", "arch/x86/Makefile": "", "drivers/Makefile": "obj-m += mod.o\n",
		"arch/x86/boot/Makefile": "setup-y := a.o b.o\n", ".config": "CONFIG_MODULES=y\nCONFIG_OBJTOOL=y\n# CONFIG_MORE is not set\n",
	})
	total := func(o Options) int {
		t.Helper()
		o.Dir = src
		// The first steps may come before the total is known.
		lines := strings.Repeat("  CC      init/main.o\n", 3)
		r, _, err := play(t, o, "", "for i in 1 2 3 4 5 6 7 8 9; do printf '"+lines+"'; sleep 0.1; done; : > vmlinux")
		if err != nil {
			t.Fatal(err)
		}
		p := of[event.BuildProgress](r)
		return p[len(p)-1].Total
	}
	if n := total(Options{Arch: "x86"}); n != 3+1+otherObjects+objtoolObjects {
		t.Errorf("the first build: %d", n)
	}
	if n := total(Options{Arch: "x86"}); n != 27 {
		t.Errorf("the next one: %d", n)
	}
	write(t, src, map[string]string{".config": "CONFIG_MORE=y\nCONFIG_DEBUG_INFO_BTF=y\n"})
	if n := total(Options{Arch: "x86"}); n != 3+otherObjects+btfObjects {
		t.Errorf("with another .config: %d", n)
	}
	tree, err := Find(Options{Dir: src, Arch: "x86"})
	if err != nil {
		t.Fatal(err)
	}
	if n := tree.estimate("bzImage"); n != 3+2+otherObjects+btfObjects {
		t.Errorf("a boot image: %d", n)
	}
	if n := (&Tree{Source: src, BuildDir: src, options: Options{Arch: "arm64"}}).estimate("vmlinux"); n != 0 {
		t.Errorf("another architecture: %d", n)
	}
}

// What gcc 12 says of a memcpy() that is too long: twice in one file, and in a macro.
const inlinedBuild = `  CC      drivers/misc/mine.o
In file included from ./include/linux/string.h:254,
                 from drivers/misc/mine.c:2:
In function 'fortify_memcpy_chk',
    inlined from 'mine_one' at drivers/misc/mine.c:6:2:
./include/linux/fortify-string.h:529:25: warning: call to '__write_overflow_field' declared with attribute warning: too long
  529 |                         __write_overflow_field(p_size_field, size);
      |                         ^~~~~~~~~~~~~~~~~~~~~~
In function 'fortify_memcpy_chk',
    inlined from 'mid' at ./include/linux/mid.h:2:64,
    inlined from 'mine_two' at drivers/misc/mine.c:11:2:
./include/linux/fortify-string.h:529:25: warning: call to '__write_overflow_field' declared with attribute warning: too long
  529 |                         __write_overflow_field(p_size_field, size);
      |                         ^~~~~~~~~~~~~~~~~~~~~~
In function 'check',
    inlined from 'mine_three' at drivers/misc/mine.c:15:2:
././include/linux/compiler_types.h:397:45: error: call to '__compiletime_assert_1' declared with attribute error: no
  397 |         _compiletime_assert(condition, msg, __compiletime_assert_, __COUNTER__)
      |                                             ^
./include/linux/mid.h:9:2: note: in expansion of macro 'BUILD_BUG_ON'
    9 |         BUILD_BUG_ON(n > 3);
      |         ^~~~~~~~~~~~
In function 'mine_help',
    inlined from 'mine_three' at drivers/misc/mine.c:16:2:
drivers/misc/mine.c:3:9: warning: 'x' may be used uninitialized
`

// A diagnostic in a function of a header is told where the function is inlined.
func TestInlined(t *testing.T) {
	src := source(t, physical(t))
	r, _, _ := play(t, Options{Dir: src}, inlinedBuild, "exit 2")
	const message = "call to '__write_overflow_field' declared with attribute warning: too long"
	want := []event.Diagnostic{
		{
			File: "drivers/misc/mine.c", Line: 6, Column: 2, Message: message, Severity: event.Warn, Detail: []string{
				"In file included from ./include/linux/string.h:254,", "                 from drivers/misc/mine.c:2:",
				"In function 'fortify_memcpy_chk',", "    inlined from 'mine_one' at drivers/misc/mine.c:6:2:",
				"include/linux/fortify-string.h:529:25: note: in the function that is inlined",
				"  529 |                         __write_overflow_field(p_size_field, size);", "      |                         ^~~~~~~~~~~~~~~~~~~~~~",
			},
		},
		{File: "drivers/misc/mine.c", Line: 11, Column: 2, Message: message, Severity: event.Warn},
		{
			File: "drivers/misc/mine.c", Line: 15, Column: 2, Severity: event.Error,
			Message: "call to '__compiletime_assert_1' declared with attribute error: no",
		},
		{File: "drivers/misc/mine.c", Line: 3, Column: 9, Severity: event.Warn, Message: "'x' may be used uninitialized"},
	}
	got := of[event.Diagnostic](r)
	for i := range got[min(1, len(got)):] {
		got[i+1].Detail = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

const failingBuild = `  CC      init/main.o
  CC      init/version.o
In file included from ./include/linux/kernel.h:29,
                 from init/main.c:12:
init/main.c: In function 'foo':
./include/linux/minmax.h:20:35: warning: comparison of distinct pointer types lacks a cast
   20 |         (!!(sizeof((typeof(x) *)1 == (typeof(y) *)1)))
      |                                   ^~
init/main.c:40:9: note: in expansion of macro 'CHECK'
   40 |         CHECK(p, q);
      |         ^~~~~
In file included from ./include/linux/kernel.h:29,
                 from init/version.c:12:
./include/linux/minmax.h:20:35: warning: comparison of distinct pointer types lacks a cast
   20 |         (!!(sizeof((typeof(x) *)1 == (typeof(y) *)1)))
      |                                   ^~
init/main.c: In function 'bar':
init/main.c:12345:30: error: 'undeclared' undeclared (first use in this function)
12345 |         return undeclared;
      |                ^~~~~~~~~~
In file included from init/main.c:3:
./include/linux/other.h:7:5: note: 'declared' declared here
    7 | int declared;
      |     ^~~~~~~~
cc1: some warnings being treated as errors
make[2]: *** [scripts/Makefile.build:250: init/main.o] Error 1
ld: init/version.o: in function ` + "`baz':" + `
a line that has nothing to do with it
drivers/net/foo.c:1:1: error: late
make[1]: *** [Makefile:1: init] Error 2
make[1]: *** Waiting for unfinished jobs....
make: *** [Makefile:242: __sub-make] Error 2
`

func TestFailingBuild(t *testing.T) {
	src := source(t, physical(t))
	write(t, src, map[string]string{"include/linux/minmax.h": ""})
	r, result, err := play(t, Options{Dir: src}, failingBuild, "exit 2")
	var failed *BuildError
	if result != nil || !errors.As(err, &failed) {
		t.Fatalf("got %+v %v", result, err)
	}
	want := []event.Diagnostic{
		{
			File: "init/main.c", Line: 40, Column: 9, Severity: event.Warn, Message: "comparison of distinct pointer types lacks a cast",
			Detail: []string{
				"In file included from ./include/linux/kernel.h:29,", "                 from init/main.c:12:", "init/main.c: In function 'foo':",
				"   20 |         (!!(sizeof((typeof(x) *)1 == (typeof(y) *)1)))", "      |                                   ^~",
				"include/linux/minmax.h:20:35: note: in the definition of a macro",
				"init/main.c:40:9: note: in expansion of macro 'CHECK'", "   40 |         CHECK(p, q);", "      |         ^~~~~",
			},
		},
		{
			File: "include/linux/minmax.h", Line: 20, Column: 35, Severity: event.Warn, Message: "comparison of distinct pointer types lacks a cast",
			Detail: []string{
				"In file included from ./include/linux/kernel.h:29,", "                 from init/version.c:12:",
				"   20 |         (!!(sizeof((typeof(x) *)1 == (typeof(y) *)1)))", "      |                                   ^~",
			},
		},
		{
			File: "init/main.c", Line: 12345, Column: 30, Severity: event.Error, Message: "'undeclared' undeclared (first use in this function)",
			Detail: []string{
				"init/main.c: In function 'bar':", "12345 |         return undeclared;", "      |                ^~~~~~~~~~",
				"In file included from init/main.c:3:", "./include/linux/other.h:7:5: note: 'declared' declared here", "    7 | int declared;", "      |     ^~~~~~~~",
			},
		},
		{File: "drivers/net/foo.c", Line: 1, Column: 1, Severity: event.Error, Message: "late"},
	}
	if diff := cmp.Diff(want, of[event.Diagnostic](r)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[2:], failed.Diagnostics); diff != "" {
		t.Error(diff)
	}
	log := src + "/.run-kernel/build.log"
	if failed.Error() != "make failed: exit status 2" || failed.Log != log || !strings.Contains(failed.Hint(), log) || failed.Tail != nil {
		t.Errorf("got %+v", failed)
	}
	if data, _ := os.ReadFile(log); string(data) != failingBuild {
		t.Error(cmp.Diff(failingBuild, string(data)))
	}
	finished := of[event.BuildFinished](r)
	if len(finished) != 1 || !errors.Is(finished[0].Err, err) || finished[0].Objects != 2 || finished[0].Image != "" || finished[0].Log != log {
		t.Errorf("got %+v", finished)
	}
}

func TestFailingBuildWithoutDiagnostics(t *testing.T) {
	var long strings.Builder
	for i := range 100 {
		long.WriteString("line " + strconv.Itoa(i) + "\n")
	}
	for _, c := range []struct{ name, output, tail, hint string }{
		{"tail", long.String() + "the end", "the end", "all that make said is in "},
		{"missing tool", "/bin/sh: 1: bc: not found\nmake: *** [Kbuild:24: x] Error 127\n", "bc: not found", "Debian bc"},
		{"full disk", "cat: write error: No space left on device\n", "No space left", "disk is full"},
		{"nothing", "", "", "all that make said is in "},
	} {
		_, _, err := play(t, Options{}, c.output, "exit 2")
		var failed *BuildError
		if !errors.As(err, &failed) {
			t.Fatalf("%s: got %v", c.name, err)
		}
		if len(failed.Diagnostics) > 0 || len(failed.Tail) > 25 || !strings.Contains(failed.Error(), c.tail) || !strings.Contains(failed.Hint(), c.hint) {
			t.Errorf("%s: got %+v", c.name, failed)
		}
	}
	// The message of a diagnostic tells, too.
	_, _, err := play(t, Options{}, "certs/x.c:21:10: fatal error: openssl/bio.h: No such file or directory\n"+long.String(), "exit 2")
	var failed *BuildError
	if !errors.As(err, &failed) || !strings.Contains(failed.Hint(), "Debian libssl-dev") {
		t.Errorf("got %v", err)
	}
}

// gcc for this machine is what a build for another one begins with where nothing else was
// said.
func TestNoCrossCompiler(t *testing.T) {
	const says = "gcc: error: unrecognized command-line option ‘-mlittle-endian’\n"
	foreign := arch.Of("aarch64").Kernel
	if arch.Host().Kernel == foreign {
		foreign = arch.Of("riscv64").Kernel
	}
	for _, c := range []struct {
		o      Options
		output string
		want   bool
	}{
		{Options{Arch: foreign}, says, true},
		{Options{Arch: foreign}, "gcc: error: unrecognized argument in option ‘-mcmodel=medany’\n", true},
		{Options{Arch: foreign}, "init/main.c:1:2: error: expected ‘;’ before ‘return’\n", false},
		{Options{Arch: foreign, CC: "cc"}, says, false},
		{Options{Arch: arch.Host().Kernel}, says, false},
		{Options{}, says, false},
	} {
		src := source(t, physical(t))
		write(t, src, map[string]string{"arch/" + foreign + "/Makefile": "", "arch/" + arch.Host().Kernel + "/Makefile": ""})
		c.o.Dir = src
		_, _, err := play(t, c.o, c.output, "exit 2")
		var failed *BuildError
		if !errors.As(err, &failed) {
			t.Fatalf("%+v: got %v", c.o, err)
		}
		if strings.Contains(failed.Hint(), "--cross-compile names another") != c.want {
			t.Errorf("%+v: the hint is %q", c.o, failed.Hint())
		}
	}
}

func TestNoImage(t *testing.T) {
	r, _, err := play(t, Options{}, "", "exit 0")
	if err == nil || !strings.Contains(err.Error(), "there is no ") {
		t.Errorf("got %v", err)
	}
	if f := of[event.BuildFinished](r); len(f) != 1 || f[0].Err == nil || f[0].Image != "" {
		t.Errorf("got %+v", f)
	}
}

// Lines have no limit, and the last one may lack its end.
func TestLongLine(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	src := source(t, physical(t))
	r, _, err := play(t, Options{Dir: src}, long+"\n  CC      init/main.o\r\ninit/main.c:1:2: error: last", "exit 1")
	if err == nil {
		t.Fatal("success")
	}
	if d := of[event.Diagnostic](r); len(d) != 1 || d[0].Message != "last" {
		t.Errorf("got %+v", d)
	}
	if st, _ := os.Stat(src + "/.run-kernel/build.log"); st.Size() < 3<<20 {
		t.Errorf("the log has %d bytes", st.Size())
	}
}

func TestOtherDiagnostics(t *testing.T) {
	top := physical(t)
	src := source(t, top+"/linux")
	write(t, top, map[string]string{"out/include/generated/x.h": ""})
	r, _, _ := play(t, Options{Dir: src, Output: top + "/out"}, `error[E0425]: cannot find value `+"`foo`"+` in this scope
 --> rust/kernel/lib.rs:1:26
  |
1 | fn main() { let x: u32 = foo; }
  |                          ^^^ not found in this scope

error: aborting due to 1 previous error
ld.lld: error: undefined symbol: foo
>>> referenced by main.c:10 (`+src+`/init/main.c:10)
>>>               init/main.o:(start_kernel) in archive vmlinux.a
ERROR: modpost: "foo" [foo.ko] undefined!
../linux/init/main.c:3:1: error: relative
include/generated/x.h:1:1: error: generated
drivers/foo/Kconfig:5:error: recursive dependency detected!
drivers/foo/Kconfig:5:	symbol A depends on B
drivers/foo/Kconfig:9:	symbol B is selected by A
`, "exit 1")
	want := []event.Diagnostic{
		{File: "rust/kernel/lib.rs", Line: 1, Column: 26, Message: "cannot find value `foo` in this scope"},
		{File: "init/main.c", Line: 10, Message: "ld: undefined symbol: foo"},
		{Message: `modpost: "foo" [foo.ko] undefined!`},
		{File: "init/main.c", Line: 3, Column: 1, Message: "relative"},
		{File: "include/generated/x.h", Line: 1, Column: 1, Message: "generated"},
		{File: "drivers/foo/Kconfig", Line: 5, Message: "recursive dependency detected!"},
	}
	got := of[event.Diagnostic](r)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(event.Diagnostic{}, "Detail", "Severity")); diff != "" {
		t.Fatal(diff)
	}
	for i, n := range []int{4, 2, 0, 0, 0, 2} {
		if len(got[i].Detail) != n || got[i].Severity != event.Error {
			t.Errorf("%s: got %q, %s", got[i].Message, got[i].Detail, got[i].Severity)
		}
	}
}

// gcc blames the header that defines a macro; who saved a file wants to see that.
func TestDiagnosticInMacro(t *testing.T) {
	src := source(t, physical(t)+"/linux")
	r, _, _ := play(t, Options{Dir: src}, `In file included from m.c:1:
m.c: In function 'f':
m.h:2:13: warning: format '%d' expects argument of type 'int', but argument 2 has type 'char *' [-Wformat=]
    2 | #define SOH "\001"
      |             ^~~~~~
m.h:4:29: note: in definition of macro 'wrap'
    4 | #define wrap(f, ...) printf(f, ##__VA_ARGS__)
      |                             ^
m.h:3:14: note: in expansion of macro 'SOH'
    3 | #define INFO SOH "6"
      |              ^~~
m.c:5:9: note: in expansion of macro 'pr'
    5 |         pr("%d\n", "s");
      |         ^~
m.h:9:1: warning: another
`, "exit 1")
	want := []event.Diagnostic{
		{File: "m.c", Line: 5, Column: 9, Message: "format '%d' expects argument of type 'int', but argument 2 has type 'char *' [-Wformat=]"},
		{File: "m.h", Line: 9, Column: 1, Message: "another"},
	}
	got := of[event.Diagnostic](r)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(event.Diagnostic{}, "Detail", "Severity")); diff != "" {
		t.Fatal(diff)
	}
	if !slices.Contains(got[0].Detail, "m.h:2:13: note: in the definition of a macro") {
		t.Errorf("where the macro is isn't told: %q", got[0].Detail)
	}
}

// A cancelled make is gone with all that it started, also what ignores SIGTERM.
func TestCancel(t *testing.T) {
	tree, err := Find(Options{Dir: source(t, physical(t))})
	if err != nil {
		t.Fatal(err)
	}
	pids := filepath.Join(t.TempDir(), "pids")
	tools(t, `trap 'echo "make: *** wait: No child processes.  Stop."; exit 2' TERM
echo $$ > `+pids+`
sh -c 'trap "" TERM HUP INT; echo $$ >> `+pids+`; echo "  CC      init/main.o"; while :; do sleep 1000; done' &
wait`)
	overtaken := errors.New("overtaken")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(time.Minute, func() { cancel(errors.New("make never said anything")) })
	r := new(recorder)
	_, err = tree.Build(ctx, BuildOptions{Image: "/nonexistent", Target: "vmlinux", Events: func(e event.Event) {
		r.sink(e)
		if _, ok := e.(event.BuildProgress); ok {
			cancel(overtaken)
		}
	}})
	if !errors.Is(err, overtaken) {
		t.Fatalf("got %v", err)
	}
	finished := of[event.BuildFinished](r)
	if len(finished) != 1 || !errors.Is(finished[0].Err, context.Canceled) || !errors.Is(finished[0].Err, overtaken) {
		t.Errorf("got %+v", finished)
	}
	if got := of[event.Diagnostic](r); len(got) > 0 {
		t.Errorf("make's last words were reported: %v", got)
	}
	data, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data))
	if len(fields) != 2 {
		t.Fatalf("got %q", data)
	}
	for _, f := range fields {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d: got %v", pid, err)
		}
	}
}
