// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/proc"
)

// The scripts run the program in a kernel tree of empty files, with the tools of
// testdata/tools and nothing else of this machine but what those need.

var update = flag.Bool("update", false, "write the expected output of the scripts anew")

func TestScript(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the tools in testdata/tools are those of an x86 host")
	}
	tools, err := filepath.Abs("testdata/tools")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(e *testscript.Env) error { return setUpScript(e, tools) },
		Condition:           scriptCondition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"run":    runCommand,
			"nobody": nobodyCommand,
			"lack":   lackCommand,
			"tmpfs":  tmpfsCommand,
			"give":   giveCommand,
		},
	})
}

// fakeTree are the files by which a kernel tree is known.
var fakeTree = map[string]string{
	"Kbuild": "", "Kconfig": "", "MAINTAINERS": "", "scripts/kconfig/Makefile": "", "init/main.c": "int main;\n",
	"Makefile": "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 0\nEXTRAVERSION =\n",
}

// systemTools are what the scripts and their tools take from the machine.
var systemTools = []string{"sh", "cat", "chmod", "cp", "env", "grep", "head", "mkdir", "rm", "sleep", "stat", "touch", "mount", "setpriv", "unshare", "bash"}

// setUpScript makes the directories of a script: linux, the tree, where it starts;
// tools, all that is in $PATH; fake, which tells the tools what to do.
func setUpScript(e *testscript.Env, tools string) error {
	in := func(name string) string { return filepath.Join(e.WorkDir, name) }
	for name, text := range fakeTree {
		path := in(filepath.Join("linux", name))
		if _, err := os.Stat(path); err == nil {
			continue // the script has its own
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range []string{"fake", "tools", "xdg", "home"} {
		if err := os.MkdirAll(in(dir), 0o755); err != nil {
			return err
		}
	}
	// Copied, since another user may not reach this source.
	if err := os.CopyFS(in("tools"), os.DirFS(tools)); err != nil {
		return err
	}
	links := map[string]string{}
	for _, name := range append(systemTools, "run-kernel") {
		if path, err := exec.LookPath(name); err == nil {
			links[name] = path
		}
	}
	for name, path := range links {
		if err := os.Symlink(path, in(filepath.Join("tools", name))); err != nil {
			return err
		}
	}
	// Another user shall reach all of it, and the program.
	reach := []string{filepath.Dir(e.WorkDir), e.WorkDir}
	if path := links["run-kernel"]; path != "" {
		reach = append(reach, filepath.Dir(filepath.Dir(path)))
	}
	for _, dir := range reach {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	runtime := in("runtime")
	if err := os.Mkdir(runtime, 0o700); err != nil {
		return err
	}
	e.Setenv("PATH", in("tools"))
	e.Setenv("FAKE", in("fake"))
	e.Setenv("HOME", in("home"))
	e.Setenv("XDG_CONFIG_HOME", in("xdg"))
	e.Setenv("XDG_RUNTIME_DIR", runtime)
	e.Cd = in("linux")
	return nil
}

// scriptCondition knows root, and mount, which is whether root may mount.
func scriptCondition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "mount":
		return os.Geteuid() == 0 && exec.Command("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp").Run() == nil, nil
	}
	return false, errors.New("unknown condition " + name)
}

// runCommand runs run-kernel, and wants an exit status:
//
//	run 125 boot --no-build
//
// No run may panic.
func runCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: run STATUS ARG...")
	}
	wantStatus(ts, args[0], append([]string{"run-kernel"}, args[1:]...))
}

// nobodyCommand is run as somebody who isn't root.
func nobodyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: nobody STATUS ARG...")
	}
	argv := append([]string{"run-kernel"}, args[1:]...)
	if os.Geteuid() == 0 {
		argv = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, argv...)
	}
	wantStatus(ts, args[0], argv)
}

func wantStatus(ts *testscript.TestScript, text string, argv []string) {
	want, err := strconv.Atoi(text)
	ts.Check(err)
	status := 0
	if err := ts.Exec(argv[0], argv[1:]...); err != nil {
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		status = proc.ExitStatus(exit.ProcessState)
	}
	if status != want {
		ts.Fatalf("status %d, want %d", status, want)
	}
	if strings.Contains(ts.ReadFile("stderr"), "goroutine ") {
		ts.Fatalf("it panicked")
	}
}

// lackCommand takes tools away.
func lackCommand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Check(os.Remove(filepath.Join(ts.Getenv("WORK"), "tools", name)))
	}
}

// giveCommand makes files, with all that is in them, those of a user:
//
//	give UID PATH...
func giveCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: give UID PATH...")
	}
	uid, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, root := range args[1:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(root), func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, uid, uid))
		}))
	}
}

// tmpfsCommand mounts a small disk:
//
//	tmpfs DIR SIZE
func tmpfsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tmpfs DIR SIZE")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}
