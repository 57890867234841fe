// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// prints makes a module's source print something else as it is loaded.
func (e *edit) prints(anchor, text string) {
	e.t.Helper()
	if !strings.Contains(e.original, anchor) {
		e.t.Fatalf("%s isn't as expected", e.path)
	}
	e.write(strings.Replace(e.original, anchor, "\tpr_notice(\"MARK "+text+"\\n\");\n"+anchor, 1))
}

// bootID is that of the guest that runs.
func (k *kernel) bootID() string {
	k.lab.t.Helper()
	return k.lab.expect(k.lab.run(k.flags("exec", "--", "cat", "/proc/sys/kernel/random/boot_id")...), 0).stdout
}

const (
	brdAnchor = "\tpr_info(\"brd: module loaded\\n\");\n"
	llcAnchor = "\tdev_add_pack(&llc_packet_type);\n"
)

// A change of a module reaches the guest that runs. It keeps its parameters, and the
// modules that need it come back.
func TestSwap(t *testing.T) {
	k := richKernel(t)
	brd := newEdit(t, filepath.Join(k.source, "drivers/block/brd.c"))
	llc := newEdit(t, filepath.Join(k.source, "net/llc/llc_core.c"))
	main := newEdit(t, filepath.Join(k.source, "init/main.c"))
	s := k.lab.start(k.flags("watch", "--exec", `PATH=$PATH:/sbin:/usr/sbin
test -d /sys/module/bridge || modprobe bridge
test -d /sys/module/brd || modprobe brd rd_nr=3 max_part=2
dmesg | grep MARK | tail -n 1; echo "brd has $(ls -d /sys/block/ram* | wc -l)"; cat /sys/module/brd/parameters/max_part; echo done`)...)
	s.wait("done")
	s.wait("waiting for changes")
	id := k.bootID()

	brd.prints(brdAnchor, "one")
	s.wait("changed: drivers/block/brd.c")
	s.wait("build  modules: 2 objects in")
	s.wait("swap   brd max_part=2 rd_nr=3 rd_size=")
	s.wait("MARK one")
	s.wait("brd has 3\n2\ndone")
	s.wait("swap ")
	s.wait("waiting for changes")
	if strings.Contains(s.output.String(), walks) {
		t.Errorf("the build wasn't short")
	}

	// Of several objects, and needed by two others.
	llc.prints(llcAnchor, "two")
	s.wait("swap   llc, stp, bridge, after")
	s.wait("MARK two")
	s.wait("waiting for changes")
	if now := k.bootID(); now != id {
		t.Error("another guest was booted")
	}

	// In use, so the guest is booted again.
	k.lab.expect(k.lab.run(k.flags("exec", "setsid sleep 1000 </dev/ram0 >/dev/null 2>&1 & sleep 1")...), 0)
	brd.prints(brdAnchor, "three")
	s.wait("swap   failed: brd is in use")
	s.wait("the guest answers after")
	s.wait("MARK three")
	s.wait("waiting for changes")
	if now := k.bootID(); now == id {
		t.Error("no other guest was booted")
	}

	// One that complains as it is unloaded.
	brd.write(strings.Replace(brd.original, "static void __exit brd_exit(void)\n{\n", "static void __exit brd_exit(void)\n{\n\tWARN(1, \"leak\");\n", 1))
	s.wait("swap   brd")
	s.wait("waiting for changes")
	brd.restore()
	s.wait("swap   failed: the kernel reported WARNING in")
	s.wait("the guest answers after")
	s.wait("waiting for changes")

	// The image and a module.
	main.mark("four")
	s.wait("the guest answers after")
	s.wait("waiting for changes")

	// By hand.
	r := k.lab.expect(k.lab.run(k.flags("swap")...), 0)
	if !strings.Contains(r.stderr, "the guest has these modules already") {
		t.Errorf("nothing to swap: %q", r.stderr)
	}
	r = k.lab.expect(k.lab.run(k.flags("swap", "printk")...), 125)
	if !strings.Contains(r.stderr, "printk isn't among the modules") {
		t.Errorf("built in: %q", r.stderr)
	}
	if status, _ := s.end(syscall.SIGINT); status != 130 {
		t.Errorf("status %d", status)
	}
	if strings.Contains(s.output.String(), "the short build missed") {
		t.Error("a short build of modules wasn't right")
	}
	r = k.lab.expect(k.lab.run(k.flags("status", "--turns=100", "--json")...), 0)
	swaps := 0
	for line := range strings.Lines(r.stdout) {
		var turn struct{ Swap, Boot, Compile, Link, Command, Elapsed float64 }
		if err := json.Unmarshal([]byte(line), &turn); err != nil {
			t.Fatal(err)
		}
		if turn.Swap > 0 && turn.Boot == 0 {
			swaps++
			t.Logf("%+v", turn)
		}
	}
	if swaps < 3 {
		t.Errorf("%d swaps are recorded:\n%s", swaps, r.stdout)
	}
}

// One swap after the other shows the text of the last edit, in the same guest.
func TestSwapAgainAndAgain(t *testing.T) {
	swaps := 4
	if text := os.Getenv("RUN_KERNEL_TEST_SWAPS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		swaps = n
	}
	k := richKernel(t)
	brd := newEdit(t, filepath.Join(k.source, "drivers/block/brd.c"))
	s := k.lab.start(k.flags("watch", "--exec", "PATH=$PATH:/sbin:/usr/sbin; modprobe brd max_part=2; dmesg | grep MARK | tail -n 1; cat /sys/module/brd/parameters/max_part")...)
	s.wait("waiting for changes")
	id := k.bootID()
	for n := range swaps {
		brd.prints(brdAnchor, fmt.Sprintf("number %d.", n))
		s.wait("swap   brd max_part=2 ")
		s.wait(fmt.Sprintf("MARK number %d.\n2\n", n))
		s.wait("waiting for changes")
	}
	if now := k.bootID(); now != id {
		t.Error("another guest was booted")
	}
	s.end(syscall.SIGINT)
	r := k.lab.expect(k.lab.run(k.flags("status", fmt.Sprintf("--turns=%d", swaps+1))...), 0)
	t.Logf("\n%s", r.stdout)
}

// Modules that another make built are replaced by hand, in a guest of run-kernel boot.
func TestSwapByHand(t *testing.T) {
	k := richKernel(t)
	brd := newEdit(t, filepath.Join(k.source, "drivers/block/brd.c"))
	s := k.lab.start(k.flags("boot", "--no-build", "--", "PATH=$PATH:/sbin:/usr/sbin; modprobe brd max_part=4; echo up; exec sleep infinity")...)
	s.wait("up\n")
	id := k.bootID()
	brd.prints(brdAnchor, "hand")
	makeModules := func() {
		t.Helper()
		make := k.lab.command()
		make.Path, make.Args = "/usr/bin/make", []string{"make", "-C", k.source, "O=" + k.build, "modules"}
		if out, err := make.CombinedOutput(); err != nil {
			t.Fatalf("make: %v: %s", err, out)
		}
	}
	makeModules()
	r := k.lab.expect(k.lab.run(k.flags("swap")...), 0)
	if !regexp.MustCompile(`(?m)^swap   brd max_part=4 .*, after `).MatchString(r.stderr) {
		t.Errorf("got %q", r.stderr)
	}
	r = k.lab.expect(k.lab.run(k.flags("exec", "dmesg | grep MARK")...), 0)
	if !strings.Contains(r.stdout, "MARK hand") || k.bootID() != id {
		t.Errorf("the guest printed %q", r.stdout)
	}
	r = k.lab.expect(k.lab.run(k.flags("swap", "--json", filepath.Join(k.build, "drivers/block/brd.ko"))...), 0)
	var e struct {
		Event   string
		Modules []string
	}
	if err := json.Unmarshal([]byte(r.stdout), &e); err != nil || e.Event != "modules_swapped" || len(e.Modules) > 0 {
		t.Errorf("as it was: %q, %v", r.stdout, err)
	}
	// Another release's.
	other := filepath.Join(t.TempDir(), "brd.ko")
	data, err := os.ReadFile(filepath.Join(k.build, "drivers/block/brd.ko"))
	if err != nil {
		t.Fatal(err)
	}
	data = []byte(strings.Replace(string(data), "vermagic=6.", "vermagic=9.", 1))
	data = []byte(strings.ReplaceAll(string(data), "GNU\x00", "GNU\x01")) // nor with its build id
	if err := os.WriteFile(other, data, 0o644); err != nil {
		t.Fatal(err)
	}
	r = k.lab.expect(k.lab.run(k.flags("swap", other)...), 125)
	if !strings.Contains(r.stderr, "brd was built for Linux 9.") {
		t.Errorf("got %q", r.stderr)
	}
	// One that complains, in a kernel that has complained before.
	k.lab.expect(k.lab.run(k.flags("exec", "echo 512 >/proc/sys/kernel/tainted")...), 0)
	brd.write(strings.Replace(brd.original, brdAnchor, "\tWARN(1, \"mistake\");\n"+brdAnchor, 1))
	makeModules()
	r = k.lab.expect(k.lab.run(k.flags("swap")...), statusCrash)
	if !strings.Contains(r.stderr, "swap   brd max_part=4 ") || !strings.Contains(r.stderr, "WARNING in brd_init") {
		t.Errorf("got %q", r.stderr)
	}
	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	s.awaitEnd()
}

const mineModule = `#include <linux/module.h>
static int speed = 1;
module_param(speed, int, 0444);
static int __init mine_init(void)
{
	pr_notice("MARK TEXT %d\n", speed);
	return 0;
}
static void __exit mine_exit(void) { }
module_init(mine_init);
module_exit(mine_exit);
MODULE_LICENSE("GPL");
`

// A module outside of the tree is built against it, watched, and replaced.
func TestSwapExternal(t *testing.T) {
	k := richKernel(t)
	dir := t.TempDir()
	source := filepath.Join(dir, "mine.c")
	for path, text := range map[string]string{source: strings.Replace(mineModule, "TEXT", "first", 1), filepath.Join(dir, "Kbuild"): "obj-m := mine.o\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mine := newEdit(t, source)
	s := k.lab.start(k.flags("watch", "M="+dir, "--exec", "PATH=$PATH:/sbin:/usr/sbin; test -d /sys/module/mine || modprobe mine speed=9; dmesg | grep MARK | tail -n 1")...)
	s.wait("MARK first 9")
	s.wait("waiting for changes")
	id := k.bootID()
	mine.write(strings.Replace(mineModule, "TEXT", "second", 1))
	s.wait("changed: " + source)
	s.wait("build  " + dir + ": ")
	s.wait("swap   mine speed=9, after")
	s.wait("MARK second 9")
	s.wait("waiting for changes")
	// Another terminal knows the directory by the watch.
	if r := k.lab.expect(k.lab.run(k.flags("swap", "mine")...), 0); !strings.Contains(r.stderr, "the guest has these modules already") {
		t.Error(r.stderr)
	}
	mine.write("int mistake = ;\n" + mineModule)
	s.wait("mine.c:1:15: error: expected expression")
	s.wait("the build is broken")
	mine.write(strings.Replace(mineModule, "TEXT", "third", 1))
	s.wait("MARK third 9")
	s.wait("the build is mended")
	if now := k.bootID(); now != id {
		t.Error("another guest was booted")
	}
	if n := strings.Count(s.output.String(), "changed: "); n != 3 {
		t.Errorf("%d changes were seen, want the 3 of the user", n)
	}
	if status, _ := s.end(syscall.SIGINT); status != 130 {
		t.Errorf("status %d", status)
	}
}

// What the kernel reported of a module doesn't fail the command with the mended one.
func TestSwapAfterAWarning(t *testing.T) {
	k := richKernel(t)
	dir := t.TempDir()
	source := filepath.Join(dir, "mine.c")
	warns := strings.Replace(mineModule, "\treturn 0;\n", "\tWARN(1, \"mistake\");\n\treturn 0;\n", 1)
	for path, text := range map[string]string{source: warns, filepath.Join(dir, "Kbuild"): "obj-m := mine.o\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mine := newEdit(t, source)
	s := k.lab.start(k.flags("watch", "M="+dir, "--exec", "PATH=$PATH:/sbin:/usr/sbin; test -d /sys/module/mine || modprobe mine")...)
	s.wait("modprobe mine: status 101 after")
	s.wait("waiting for changes")
	id := k.bootID()
	mine.write(mineModule)
	s.wait("swap   mine")
	s.wait("modprobe mine: status 0 after")
	s.wait("waiting for changes")
	if now := k.bootID(); now != id {
		t.Error("another guest was booted")
	}
	mine.write(warns)
	s.wait("swap   failed: the kernel reported WARNING in mine_init")
	s.wait("modprobe mine: status 101 after")
	s.end(syscall.SIGINT)
}

// A path that leads nowhere doesn't stand for another module of the name.
func TestSwapNames(t *testing.T) {
	for arg, want := range map[string]bool{
		"dummy": true, "dummy.ko": true, "drivers/net/dummy.ko": true, "./drivers/net/dummy.ko": true,
		"../mine/dummy.ko": false, "/mine/dummy.ko": false, "mine/dummy": false,
	} {
		if got := names(arg, "/build/drivers/net/dummy.ko"); got != want {
			t.Errorf("%s: %v", arg, got)
		}
	}
}
