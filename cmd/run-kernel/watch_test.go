// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An edit changes a file of a tree, and the test's end takes it back.
type edit struct {
	t        *testing.T
	path     string
	original string
}

func newEdit(t *testing.T, path string) *edit {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e := &edit{t: t, path: path, original: string(data)}
	t.Cleanup(e.restore)
	return e
}

func (e *edit) restore() { e.write(e.original) }

// write saves as editors do: a new file takes the name of the old one.
func (e *edit) write(text string) {
	e.t.Helper()
	st, err := os.Stat(e.path)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(e.path+"~new", []byte(text), st.Mode().Perm()); err != nil {
		e.t.Fatal(err)
	}
	if err := os.Rename(e.path+"~new", e.path); err != nil {
		e.t.Fatal(err)
	}
}

// mark makes the kernel print a line as it starts its init.
func (e *edit) mark(text string) {
	e.t.Helper()
	const anchor = "\tpr_notice(\"%s\", linux_banner);\n"
	if !strings.Contains(e.original, anchor) {
		e.t.Fatalf("%s isn't as expected", e.path)
	}
	e.write(strings.Replace(e.original, anchor, anchor+"\tpr_notice(\"MARK "+text+"\\n\");\n", 1))
}

// What the loop is for: an edit becomes a rebooted guest.
func testWatch(t *testing.T, k *kernel) {
	main := newEdit(t, filepath.Join(k.source, "init/main.c"))
	main.mark("zero")
	s := k.lab.start(k.flags("watch", "--exec", "dmesg | grep MARK")...)
	s.wait("MARK zero")
	s.wait("status 0")

	main.mark("one")
	s.wait("changed: init/main.c")
	s.wait("MARK one")
	s.wait("waiting for changes")

	// A broken file: its error, and the guest goes on.
	main.write(strings.Replace(main.original, "linux_banner);", "linux_banner;", 1))
	s.wait("changed: init/main.c")
	s.wait("init/main.c:")
	s.wait("error: expected")
	s.wait("waiting for changes")
	r := k.lab.expect(k.lab.run(k.flags("exec", "dmesg | grep MARK")...), 0)
	if !strings.Contains(r.stdout, "MARK one") {
		t.Errorf("the guest printed %q", r.stdout)
	}

	// Mended to what it was: nothing to link, or the same again.
	main.mark("two")
	s.wait("MARK two")
	s.wait("waiting for changes")

	// A save during a build starts it anew.
	main.mark("three")
	s.wait("changed: init/main.c")
	k.lab.awaitProcess("make")
	main.mark("four")
	s.wait("MARK four")
	if strings.Contains(s.output.String(), "MARK three") {
		t.Error("the overtaken build was booted")
	}
	s.wait("waiting for changes")

	// A comment in a file that isn't part of the build links nothing.
	if status, took := s.end(syscall.SIGINT); status != 130 || took > 2*time.Second+busy {
		t.Errorf("status %d after %s", status, took)
	}
}

// A command that follows runs in each guest of the loop.
func TestExecFollows(t *testing.T) {
	k := testKernel(t)
	main := newEdit(t, filepath.Join(k.source, "init/main.c"))
	main.mark("zero")
	s := k.lab.start(k.flags("watch")...)
	s.wait("waiting for changes")
	f := k.lab.start(k.flags("exec", "--follow", "--", "dmesg | grep -o 'MARK .*'; exec sleep 1000")...)
	f.wait("MARK zero")
	main.mark("one")
	f.wait("the guest has gone; waiting for the next one")
	f.wait("MARK one")
	if n := strings.Count(f.output.String(), "MARK one"); n != 1 {
		t.Errorf("it ran %d times in the second guest", n)
	}
	s.wait("waiting for changes")
	// It ends with the loop, and says why.
	s.end(syscall.SIGINT)
	if status := f.awaitEnd(); status != statusFailed {
		t.Errorf("status %d", status)
	}
	f.wait("no run-kernel works in")
}

func TestWatch(t *testing.T) { testWatch(t, testKernel(t)) }

// inTreeKernel is a kernel that is built in its source: 6.12 with the tools of
// Debian 13 where those are at hand.
func inTreeKernel(t *testing.T) *kernel {
	t.Helper()
	source := need(t, "RUN_KERNEL_TEST_TREE2", "second kernel tree")
	k := &kernel{source: source, build: source, require: ninePOptions, trixie: os.Getenv("RUN_KERNEL_TEST_TRIXIE") != ""}
	k.give(t)
	return k
}

func TestWatchInTree(t *testing.T) { testWatch(t, inTreeKernel(t)) }

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// A checkout of many files is one change.
func TestWatchGitCheckout(t *testing.T) {
	k := testKernel(t)
	repository := filepath.Join(k.source, ".git")
	if err := os.RemoveAll(repository); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(repository) })
	dir := filepath.Join(k.source, "drivers", "run-kernel-test")
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write := func(text string) {
		for i := range 1000 {
			path := filepath.Join(dir, fmt.Sprint(i%10), fmt.Sprintf("file%d.c", i))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	git(t, k.source, "init", "-q")
	for _, text := range []string{"one", "two"} {
		write("/* " + text + " */\n")
		git(t, k.source, "add", "--force", dir) // Debian's .gitignore has all
		git(t, k.source, "commit", "-qm", text)
		git(t, k.source, "tag", text)
	}
	// Otherwise it is known that no object reads these files, and none is built.
	s := k.lab.start(k.flags("watch", "--json", "--fast=false")...)
	s.wait(`"event":"waiting"`)
	git(t, k.source, "checkout", "-q", "one")
	s.wait(`"event":"changed"`)
	s.wait(`"total":1000`)
	s.wait(`"event":"waiting"`)
	main := newEdit(t, filepath.Join(k.source, "init/main.c"))
	main.mark("after")
	s.wait(`"event":"waiting"`)
	if n := strings.Count(s.output.String(), `"event":"build_started"`); n != 3 {
		t.Errorf("make ran %d times, want at the start, after the checkout, and after the edit", n)
	}
	if n := strings.Count(s.output.String(), `"event":"boot_ready"`); n != 2 {
		t.Errorf("%d guests came up, want one at the start and one after the edit", n)
	}
	if status, _ := s.end(syscall.SIGTERM); status != 143 {
		t.Errorf("status %d", status)
	}
	if n := strings.Count(s.output.String(), "ended by SIGTERM"); n != 1 {
		t.Errorf("its end is told %d times", n)
	}
}

// Options that the user changes are checked again; what run-kernel writes is
// no change.
func TestWatchConfig(t *testing.T) {
	k := testKernel(t)
	config := newEdit(t, filepath.Join(k.build, ".config"))
	s := k.lab.start(k.flags("watch", "--json")...)
	s.wait(`"event":"waiting"`)
	config.write(strings.Replace(config.original, "CONFIG_VIRTIO_CONSOLE=y\n", "# CONFIG_VIRTIO_CONSOLE is not set\n", 1))
	s.wait(`"event":"changed"`)
	s.wait(`"event":"config_fixed"`)
	s.wait(`"event":"build_finished"`)
	s.wait(`"event":"waiting"`)
	config.write("CONFIG_BROKEN\n")
	s.wait(".config:1: not a line of a kernel configuration")
	s.wait(`"event":"waiting","paused":false,"time"`)
	config.restore()
	s.wait(`"event":"changed"`)
	s.wait(`"event":"waiting"`)
	if n := strings.Count(s.output.String(), `"event":"changed"`); n != 3 {
		t.Errorf("%d changes were seen, want the 3 of the user", n)
	}
}

// What conf makes of .config in the course of a build is no change of the user's, and
// what no build reads neither starts nor stops one.
func TestWatchOwnWrites(t *testing.T) {
	k := testKernel(t)
	config := newEdit(t, filepath.Join(k.build, ".config"))
	init := newEdit(t, filepath.Join(k.source, "init/Kconfig"))
	text := newEdit(t, filepath.Join(k.source, "Documentation/index.rst"))
	other := newEdit(t, filepath.Join(k.source, "arch/s390/Makefile"))
	s := k.lab.start(k.flags("watch", "--json")...)
	s.wait(`"event":"waiting"`)
	// conf puts it where it belongs, and adds the new one.
	init.write(init.original + "\nconfig RUN_KERNEL_TEST\n\tdef_bool y\n")
	s.wait(`"event":"build_started"`)
	text.write(text.original + "\n")
	other.write(other.original + "\n")
	s.wait("no build for this architecture reads it")
	s.wait(`"event":"build_finished"`)
	s.wait(`"event":"waiting"`)
	config.write(strings.Replace(config.original, "CONFIG_PRINTK=y\n", "", 1) + "CONFIG_PRINTK=y\n")
	s.wait(`"event":"build_finished"`)
	s.wait(`"event":"waiting"`)
	s.end(syscall.SIGTERM)
	if n := strings.Count(s.output.String(), `"event":"changed"`); n != 2 {
		t.Errorf("%d changes were seen, want the 2 of the user:\n%s", n, s.output)
	}
	if strings.Contains(s.output.String(), `"image":"","`) {
		t.Errorf("a build was stopped:\n%s", s.output)
	}
}

// A .config that is gone is made anew, in two steps that are no changes of the user's.
func TestWatchConfigGone(t *testing.T) {
	k := testKernel(t)
	build := t.TempDir()
	s := k.lab.start("watch", "--json", "--arch=x86", "-O", build)
	s.wait(`"event":"build_started"`) // of defconfig
	if err := os.Remove(filepath.Join(build, ".config")); err != nil {
		t.Fatal(err)
	}
	s.wait(`"event":"changed"`)
	s.wait(`"event":"config_fixed"`)
	s.wait(`"event":"build_started"`)
	s.wait(`"event":"build_progress"`)
	if n := strings.Count(s.output.String(), `"event":"changed"`); n != 1 {
		t.Errorf("%d changes were seen, want that of the user's:\n%s", n, s.output)
	}
	s.end(syscall.SIGTERM)
}

// kill -9 leaves nothing, whatever run-kernel was doing.
func TestKilledInEachPhase(t *testing.T) {
	k := testKernel(t)
	main := newEdit(t, filepath.Join(k.source, "init/main.c"))
	config := newEdit(t, filepath.Join(k.build, ".config"))
	for _, test := range []struct{ phase, process string }{
		{"check", "olddefconfig"},
		{"build", "/cc1"},
		{"boot", "qemu-system"},
	} {
		t.Run(test.phase, func(t *testing.T) {
			k.lab.t = t
			switch test.phase {
			case "check":
				config.write(strings.Replace(config.original, "CONFIG_VIRTIO_CONSOLE=y\n", "", 1))
				defer config.restore()
			case "build":
				main.mark("build")
			}
			s := k.lab.start(k.flags("watch")...)
			k.lab.awaitProcess(test.process)
			killed := time.Now()
			if err := s.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if left := k.lab.await(killed.Add(time.Second+busy), nil); len(left) > 0 {
				t.Errorf("left after the kill: %s", strings.Join(left, "; "))
			}
			if test.phase == "check" {
				if data, err := os.ReadFile(config.path); err != nil || strings.Contains(string(data), "VIRTIO_CONSOLE") {
					t.Errorf(".config was changed: %v", err)
				}
			}
		})
	}
}
