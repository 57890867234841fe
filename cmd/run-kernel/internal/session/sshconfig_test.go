// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/kbuild"
)

// ssh itself starts the command, whatever the paths are.
func TestSSHConfigQuotes(t *testing.T) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(t.TempDir(), `a b'c"d%h$HOME\#`)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, build := filepath.Join(dir, "run-kernel"), filepath.Join(dir, "%%b=é ")
	record := filepath.Join(t.TempDir(), "record")
	script := "#!/bin/sh\nprintf '%s\\n' \"$@\" >'" + record + "'\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"guest", "second", "vm.local"} {
		text, err := sshConfig(program, build, "second", "vm.local")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "ssh_config")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(ssh, "-F", path, host).CombinedOutput()
		if err == nil {
			t.Errorf("%s: ssh is content: %s", host, out)
		}
		got, err := os.ReadFile(record)
		if err != nil {
			t.Fatalf("%s: %v: %s\n%s", host, err, out, text)
		}
		if diff := cmp.Diff("ssh\n--stdio\n-O\n"+build+"\n--name=second\n", string(got)); diff != "" {
			t.Errorf("%s: %s", host, diff)
		}
		if err := os.Remove(record); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSSHConfigHosts(t *testing.T) {
	for hostname, want := range map[string]string{
		"run-kernel": "Host guest run-kernel\n", "guest": "Host guest\n", "*": "Host guest\n", "!x": "Host guest\n", "a b": "Host guest\n", "": "Host guest\n",
	} {
		text, err := sshConfig("/run-kernel", "/build", "", hostname)
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%q: %v, %s", hostname, err, text)
		}
	}
	if text, err := sshConfig("/run-kernel", "/bu\nild", "", ""); err == nil {
		t.Errorf("a line break is taken: %s", text)
	}
}

func TestWriteSSHConfig(t *testing.T) {
	tree := &kbuild.Tree{BuildDir: t.TempDir()}
	read := func(hostname string) (string, os.FileInfo) {
		t.Helper()
		path, err := WriteSSHConfig(tree, "", hostname)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != 0o600 {
			t.Errorf("its mode is %s", st.Mode())
		}
		return string(text), st
	}
	_, first := read("a")
	if _, again := read("a"); !os.SameFile(first, again) {
		t.Error("it is written anew without a change")
	}
	if text, _ := read("b"); !strings.Contains(text, "Host guest b\n") {
		t.Errorf("it isn't written anew: %s", text)
	}
	// Another terminal doesn't know the guest's host name, only where run-kernel is.
	if _, err := RefreshSSHConfig(tree, "", "run-kernel"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(tree.BuildDir, ".run-kernel/ssh_config")
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "Host guest b\n") {
		t.Errorf("the name of the guest's terminal is lost: %s, %v", text, err)
	}
	if err := os.WriteFile(path, []byte("Host guest b\n\tProxyCommand /old/run-kernel\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RefreshSSHConfig(tree, "", "run-kernel"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "/old/") {
		t.Errorf("it isn't written anew: %s, %v", text, err)
	}
	if entries, _ := filepath.Glob(filepath.Join(tree.BuildDir, ".run-kernel/ssh*")); len(entries) != 1 {
		t.Errorf("in the state directory: %q", entries)
	}
	// A VM with a name has its own.
	named, err := WriteSSHConfig(tree, "second", "b")
	if err != nil || named != filepath.Join(tree.BuildDir, ".run-kernel/vm/second/ssh_config") {
		t.Errorf("for a VM with a name: %s, %v", named, err)
	}
	// Where it can't be put, nothing stays.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteSSHConfig(tree, "", "c"); err == nil {
		t.Error("it replaces a directory")
	}
	if entries, _ := filepath.Glob(filepath.Join(tree.BuildDir, ".run-kernel/ssh*")); len(entries) != 1 {
		t.Errorf("in the state directory: %q", entries)
	}
}
