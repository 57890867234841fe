// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/ui"
)

// needProgram returns the path of an editor's program, or skips the test. ./test installs
// those that are required.
func needProgram(t *testing.T, name string, required bool) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && required && os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "" {
		t.Fatalf("%v: ./test should have installed it", err)
	}
	if err != nil {
		t.Skip(err)
	}
	return path
}

// editorBlock is the only block of a language in docs/editors.md.
func editorBlock(t *testing.T, language string) string {
	t.Helper()
	blocks, _ := blocksOf(documents(t)["docs/editors.md"])
	i := slices.IndexFunc(blocks, func(b block) bool { return b.language == language })
	if i < 0 {
		t.Fatalf("docs/editors.md has nothing for %s", language)
	}
	return blocks[i].text()
}

// A problem is what an editor makes of a line.
type problem struct {
	file         string
	line, column int
	severity     string
}

// loopOutput is what watch prints, with one of each kind of line, and the problems in it.
func loopOutput() (text string, problems []problem) {
	var b bytes.Buffer
	out := ui.NewText(ui.Options{Out: &b, Err: &b, Now: func() time.Time { return time.Date(2026, 11, 29, 14, 2, 7, 0, time.Local) }})
	for _, e := range []event.Event{
		event.Notice{Text: "no KVM: /dev/kvm: no such file (see run-kernel doctor)"},
		event.WatchStarted{Dirs: 5096, Elapsed: 240 * time.Millisecond},
		event.BuildFinished{Image: "/home/me/linux/vmlinux", NewImage: true, Objects: 2, Elapsed: 4300 * time.Millisecond},
		event.BootReady{Elapsed: 2400 * time.Millisecond},
		event.Output{Data: []byte("[    0.812233] my driver: ready\n")},
		event.CommandFinished{Command: "dmesg; uptime", Elapsed: 93 * time.Millisecond},
		event.KernelReport{Title: "WARNING in frob", Class: "warning", File: "drivers/misc/mine.c", Line: 77, Up: true},
		event.KernelReport{Title: "INFO: task hung in frob", Class: "hang"},
		event.Waiting{VM: true},
		event.Changed{Paths: []string{"drivers/misc/mine.c", "init/main.c"}, Total: 7},
		event.Diagnostic{
			File: "drivers/misc/mine.c", Line: 42, Column: 9, Severity: event.Error, Message: "'speed' undeclared (first use in this function)",
			Detail: []string{"   42 |         speed++;", "      |         ^~~~~"},
		},
		event.Diagnostic{File: "drivers/misc/mine.c", Line: 50, Column: 1, Severity: event.Warn, Message: "control reaches end of non-void function [-Wreturn-type]"},
		event.Diagnostic{File: "arch/x86/entry/entry_64.S", Line: 87, Severity: event.Error, Message: "no such instruction: `nosuch %rax'"},
		event.Diagnostic{File: "/home/me/module/x.h", Line: 3, Column: 4, Severity: event.Error, Message: "expected ';' before 'int'"},
		event.Diagnostic{Severity: event.Error, Message: `modpost: "foo_register" [drivers/foo/foo.ko] undefined!`},
		event.BuildFinished{Elapsed: 2100 * time.Millisecond, Log: "/home/me/linux/.run-kernel/build.log", Err: errors.New("exit status 2")},
		event.Waiting{VM: true, Broken: true},
	} {
		out.Event(e)
	}
	return b.String(), []problem{
		{"drivers/misc/mine.c", 77, 0, "report"},
		{"drivers/misc/mine.c", 42, 9, "error"},
		{"drivers/misc/mine.c", 50, 1, "warning"},
		{"arch/x86/entry/entry_64.S", 87, 0, "error"},
		{"/home/me/module/x.h", 3, 4, "error"},
	}
}

func compareProblems(t *testing.T, want, got []problem) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(problem{})); diff != "" {
		t.Error(diff)
	}
}

// VS Code finds the problems of the loop, and where a turn begins and ends.
func TestDocumentedVSCode(t *testing.T) {
	type pattern struct {
		Regexp                                string
		File, Line, Column, Severity, Message int
	}
	var tasks struct {
		Tasks []struct {
			Command string
			Options struct{ Env map[string]string }

			ProblemMatcher []struct {
				Pattern    pattern
				Background *struct{ BeginsPattern, EndsPattern string }
			}
		}
	}
	if err := json.Unmarshal([]byte(editorBlock(t, "json")), &tasks); err != nil {
		t.Fatal(err)
	}
	task := tasks.Tasks[0]
	list, err := invocations(task.Command)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %v", task.Command, err)
	}
	if _, err := parse(t.TempDir(), list[0]); err != nil {
		t.Error(err)
	}
	if task.Options.Env["TERM"] != "dumb" {
		t.Error("the task has a terminal that lines are written over in")
	}
	text, want := loopOutput()
	var got []problem
	begins, ends := 0, 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		for _, m := range task.ProblemMatcher {
			if b := m.Background; b != nil {
				if regexp.MustCompile(b.BeginsPattern).MatchString(line) {
					begins++
				}
				if regexp.MustCompile(b.EndsPattern).MatchString(line) {
					ends++
				}
			}
			groups := regexp.MustCompile(m.Pattern.Regexp).FindStringSubmatch(line)
			if groups == nil {
				continue
			}
			p := problem{file: groups[m.Pattern.File], severity: "report"}
			p.line, _ = strconv.Atoi(groups[m.Pattern.Line])
			if m.Pattern.Column > 0 {
				p.column, _ = strconv.Atoi(groups[m.Pattern.Column])
			}
			if m.Pattern.Severity > 0 {
				p.severity = groups[m.Pattern.Severity]
			}
			if groups[m.Pattern.Message] == "" {
				t.Errorf("no message in %s", line)
			}
			got = append(got, p)
		}
	}
	compareProblems(t, want, got)
	if begins != 1 || ends != 2 {
		t.Errorf("%d turns begin and %d end in %s", begins, ends, text)
	}
}

// vim puts the problems into its quickfix list.
func TestDocumentedVim(t *testing.T) {
	vim := needProgram(t, "vim", true)
	dir := t.TempDir()
	text, want := loopOutput()
	log := strings.Join([]string{
		"make: Entering directory '" + dir + "/linux'", "make[1]: Entering directory '" + dir + "/build'", "  CC      init/main.o",
		"../linux/init/main.c: In function 'start_kernel':", "../linux/init/main.c:943:9: error: 'speed' undeclared (first use in this function)",
		"  943 |         speed++;", "make[3]: *** [../linux/scripts/Makefile.build:250: init/main.o] Error 1",
	}, "\n") + "\n"
	for name, text := range map[string]string{
		"rc.vim": editorBlock(t, "vim"), "out": text, ".run-kernel/build.log": log, "linux/init/main.c": "", "build/Makefile": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list := func(commands ...string) (problems []problem) {
		t.Helper()
		cmd := exec.Command(vim, "-es", "-u", "NONE", "-i", "NONE", "-S", "rc.vim")
		for _, c := range commands {
			cmd.Args = append(cmd.Args, "-c", c)
		}
		cmd.Args = append(cmd.Args, "-c", `call writefile(map(filter(getqflist(), 'v:val.valid'), 'bufname(v:val.bufnr) . "|" . v:val.lnum . "|" . v:val.col . "|" . v:val.type'), "list")`, "-c", "qa!")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("vim: %v: %s", err, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, "list"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Split(strings.TrimSpace(line), "|")
			p := problem{file: f[0], severity: map[string]string{"e": "error", "w": "warning", "": "report"}[strings.ToLower(f[3])]}
			p.line, _ = strconv.Atoi(f[1])
			p.column, _ = strconv.Atoi(f[2])
			problems = append(problems, p)
		}
		return problems
	}
	compareProblems(t, want, list("cgetfile out"))
	found := list("KernelErrors")
	if len(found) == 0 || filepath.Join(dir, found[0].file) != filepath.Join(dir, "linux/init/main.c") || found[0].line != 943 {
		t.Errorf("in make's log it finds %v", found)
	}
	// The command leaves the format of :make as it was.
	compareProblems(t, want, list("KernelErrors", "cgetfile out"))
}

// Emacs's compilation-mode finds the problems.
func TestDocumentedEmacs(t *testing.T) {
	emacs := needProgram(t, "emacs", false)
	dir := t.TempDir()
	text, want := loopOutput()
	const script = `(require 'compile)
(load-file "init.el")
(with-temp-buffer
  (insert-file-contents "out")
  (compilation-mode)
  (compilation--ensure-parse (point-max))
  (let ((pos (point-min)) msg)
    (while (setq pos (next-single-property-change pos 'compilation-message))
      (when (setq msg (get-text-property pos 'compilation-message))
        (let ((loc (compilation--message->loc msg)))
          (princ (format "%s|%s|%s|%s\n" (caar (compilation--loc->file-struct loc)) (compilation--loc->line loc)
                         (or (compilation--loc->col loc) 0) (compilation--message->type msg))))))))
`
	for name, text := range map[string]string{"init.el": editorBlock(t, "elisp"), "out": text, "test.el": script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(emacs, "--batch", "-Q", "-l", "test.el")
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []problem
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "|")
		p := problem{file: f[0], severity: map[string]string{"2": "error", "1": "warning"}[f[3]]}
		p.line, _ = strconv.Atoi(f[1])
		p.column, _ = strconv.Atoi(f[2])
		got = append(got, p)
	}
	want[0].severity = "warning" // it has no other kind
	compareProblems(t, want, got)
}

// checkDatabase compares compile_commands.json with what the kernel's own script makes of
// the build.
func checkDatabase(t *testing.T, k *kernel) {
	t.Helper()
	python := needProgram(t, "python3", true)
	made := filepath.Join(t.TempDir(), "compile_commands.json")
	script := filepath.Join(k.source, "scripts/clang-tools/gen_compile_commands.py")
	if out, err := exec.Command(python, script, "-d", k.build, "-o", made).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct{ Command, Directory, File string }
	read := func(path string) (list []entry) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &list); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte(`.[cS])`)) {
			// Until Linux 6.12, the script leaves assembler out.
			list = slices.DeleteFunc(list, func(e entry) bool { return strings.HasSuffix(e.File, ".S") })
		}
		slices.SortFunc(list, func(a, b entry) int {
			return strings.Compare(a.File+"\x00"+a.Command, b.File+"\x00"+b.Command)
		})
		return list
	}
	want, got := read(made), read(filepath.Join(k.build, "compile_commands.json"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the script has %d entries, and run-kernel %d: %.4000s", len(want), len(got), diff)
	}
	if len(got) < 1000 {
		t.Errorf("only %d entries", len(got))
	}
}

// checkClangd opens files with clangd, which is set up as docs/editors.md says.
func checkClangd(t *testing.T, k *kernel, files ...string) {
	t.Helper()
	clangd := needProgram(t, "clangd", true)
	setup := strings.Replace(editorBlock(t, "yaml"), "../build", k.build, 1)
	path := filepath.Join(k.source, ".clangd")
	if err := os.WriteFile(path, []byte(setup), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	for _, file := range files {
		// The flags say that nothing else is tried at each place of the file, which takes long.
		cmd := exec.Command(clangd, "--check="+file, "--check-lines=1")
		cmd.Dir = k.source
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME=/nonexistent", "XDG_CACHE_HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		var complaints []string
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "E[") {
				complaints = append(complaints, line)
			}
		}
		if err != nil || len(complaints) > 0 || !strings.Contains(string(out), "Compile command from CDB is") {
			t.Errorf("clangd on %s: %v: %s", file, err, fmt.Sprint(complaints))
		}
	}
}

// What editors read of a build is what the kernel's own tools write, and clangd is content.
func TestEditorsBuild(t *testing.T) {
	k := testKernel(t)
	checkDatabase(t, k)
	checkClangd(t, k, "init/main.c", "kernel/fork.c", "fs/namei.c", "arch/x86/kernel/setup.c", "drivers/virtio/virtio_pci_common.c", "include/linux/sched.h")
}

// The same in the source tree, for the newer kernel.
func TestEditorsInTree(t *testing.T) {
	k := inTreeKernel(t)
	checkDatabase(t, k)
	checkClangd(t, k, "init/main.c", "kernel/fork.c", "drivers/virtio/virtio_pci_common.c")
}

// A terminal without control sequences, as editors have them, gets lines.
func TestDumbTerminal(t *testing.T) {
	host, guest, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	defer guest.Close()
	for kind, want := range map[string]bool{"dumb": false, "xterm": true} {
		a := &app{color: colorAuto, env: Env{Stderr: guest, Environ: []string{"TERM=" + kind}}}
		colored, err := a.colored()
		if a.onTerminal() != want || colored != want || err != nil {
			t.Errorf("TERM=%s: on a terminal: %v, coloured: %v, %v", kind, a.onTerminal(), colored, err)
		}
	}
}
