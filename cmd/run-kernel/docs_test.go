// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/shlex"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/doctor"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/ui"
	"github.com/metaspace/run-kernel/kbuild"
)

// top is the top of the checkout.
const top = "../.."

// documents are the texts for users and contributors, by their path below top.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	paths, err := filepath.Glob(filepath.Join(top, "docs/*.md"))
	if err != nil || len(paths) < 7 {
		t.Fatalf("docs: %v, %v", paths, err)
	}
	for _, path := range append(paths, filepath.Join(top, "README.md"), filepath.Join(top, "CONTRIBUTING.md"), filepath.Join(top, "bench/README.md")) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(top, path)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(data)
	}
	return texts
}

// A block is what stands between fences.
type block struct {
	language string
	line     int // of its first line
	lines    []string
}

func (b block) text() string { return strings.Join(b.lines, "\n") + "\n" }

// commands are the lines that a reader types.
func (b block) commands() map[int]string {
	commands := make(map[int]string)
	for i, l := range b.lines {
		switch b.language {
		case "sh":
			commands[b.line+i] = l
		case "console":
			if command, ok := strings.CutPrefix(l, "$ "); ok {
				commands[b.line+i] = command
			}
		}
	}
	return commands
}

// blocksOf returns the fenced blocks of a text, and the text without them, with the
// lines where they were.
func blocksOf(text string) (blocks []block, prose []string) {
	var open *block
	for i, l := range strings.Split(text, "\n") {
		fence, ok := strings.CutPrefix(l, "```")
		switch {
		case ok && open == nil:
			open = &block{language: fence, line: i + 2}
		case ok:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.lines = append(open.lines, l)
			l = ""
		}
		if ok {
			l = ""
		}
		prose = append(prose, l)
	}
	return blocks, prose
}

// ownName is our name as a word of the shell.
var ownName = regexp.MustCompile(`(^|[ ;|(])run-kernel `)

var codeSpan = regexp.MustCompile("`([^`]+)`")

// separators end a command of the shell.
var separators = []string{"&&", "||", "|", ";"}

// prefixes come before a command of run-kernel, as other programs take it.
var prefixes = [][]string{{"git", "bisect", "run"}, {"nix", "run", ".", "--"}}

// invocations returns the arguments of each run-kernel that a shell's line starts.
func invocations(line string) ([][]string, error) {
	words, err := shlex.Split(line)
	if err != nil {
		return nil, err
	}
	var list [][]string
	begins := true
	for len(words) > 0 {
		w, rest := words[0], words[1:]
		for _, prefix := range prefixes {
			if n := len(prefix); begins && len(words) > n && slices.Equal(words[:n], prefix) {
				w, rest = "run-kernel", words[n:]
				if rest[0] == "run-kernel" {
					rest = rest[1:]
				}
			}
		}
		switch {
		case slices.Contains(separators, w) || strings.HasSuffix(w, ";"):
			begins = true
		case begins && w == "run-kernel":
			list = append(list, arguments(rest))
			begins = false
		case begins && strings.Contains(w, "=") && w[0] != '-': // an assignment
		default:
			begins = false
		}
		words = rest
	}
	return list, nil
}

// arguments are the words up to the end of the command.
func arguments(words []string) []string {
	end := slices.IndexFunc(words, func(w string) bool {
		return slices.Contains(separators, w) || w != "" && (w[0] == '<' || w[0] == '>')
	})
	if end >= 0 {
		words = words[:end]
	}
	return slices.Clone(words)
}

// parse does all with a command line but what it asks for: it finds the command,
// its flags and the configuration, and checks every value. dir is the working
// directory.
func parse(dir string, args []string) (*cobra.Command, error) {
	a := &app{env: Env{Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Dir: dir}}
	root := a.rootCommand()
	c, rest, err := root.Find(makeFlags(root, args))
	if err != nil {
		return nil, err
	}
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	if err := c.ParseFlags(rest); err != nil {
		return c, a.flagError(c, err)
	}
	a.json = false
	if help, err := c.Flags().GetBool("help"); err == nil && help {
		return c, nil
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		return c, err
	}
	if !c.HasParent() && c.ArgsLenAtDash() != 0 && c.Flags().NArg() > 0 {
		return c, a.unknownCommand(c, c.Flags().Arg(0))
	}
	if c.HasSubCommands() && c.HasParent() {
		return c, fmt.Errorf("%s needs a command", c.CommandPath())
	}
	return c, a.setUp(c)
}

// readerDir is a working directory with the files that the documents name.
func readerDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"debug.config": "CONFIG_KASAN=y\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Each command line in the documents is one that run-kernel takes.
func TestDocumentedCommands(t *testing.T) {
	dir := readerDir(t)
	count, used := 0, make(map[string]bool)
	for name, text := range documents(t) {
		blocks, prose := blocksOf(text)
		check := func(line int, command string) {
			list, err := invocations(command)
			if err != nil {
				t.Errorf("%s:%d: %v", name, line, err)
			}
			typed, _, _ := strings.Cut(command, " # ")
			if ownName.MatchString(typed) && len(list) == 0 {
				t.Errorf("%s:%d: no command of run-kernel found in %s", name, line, command)
			}
			for _, args := range list {
				count++
				c, err := parse(dir, args)
				if err != nil {
					t.Errorf("%s:%d: run-kernel %s: %v", name, line, strings.Join(args, " "), err)
					continue
				}
				used[c.CommandPath()] = true
			}
		}
		for _, b := range blocks {
			for line, command := range b.commands() {
				check(line, command)
			}
		}
		for i, l := range prose {
			for _, m := range codeSpan.FindAllStringSubmatch(l, -1) {
				if strings.HasPrefix(m[1], "run-kernel ") && !strings.ContainsAny(m[1], "…") {
					check(i+1, m[1])
				}
			}
		}
	}
	if count < 60 {
		t.Errorf("found only %d command lines", count)
	}
	for _, c := range commands(new(app).rootCommand()) {
		if c.Runnable() && !c.HasAvailableSubCommands() && c.Name() != "help" && c.Name() != "version" && !used[c.CommandPath()] {
			t.Errorf("no document shows %s", c.CommandPath())
		}
	}
}

// What a document boots, tests, builds and fixes is planned to the end, with fake
// tools, in a tree of its own: each option is one that goes with the others.
func TestDocumentedPlans(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the tools in testdata/tools are those of an x86 host")
	}
	tools, err := filepath.Abs("testdata/tools")
	if err != nil {
		t.Fatal(err)
	}
	planned := 0
	seen := make(map[string]bool)
	for name, text := range documents(t) {
		blocks, _ := blocksOf(text)
		for _, b := range blocks {
			for line, command := range b.commands() {
				list, err := invocations(command)
				if err != nil {
					t.Fatal(err)
				}
				for _, args := range list {
					args, ok := dryRun(args)
					if text := strings.Join(args, " "); !ok || seen[text] {
						continue
					} else {
						seen[text] = true
					}
					planned++
					t.Run(fmt.Sprintf("%s:%d", name, line), func(t *testing.T) { plan(t, tools, args) })
				}
			}
		}
	}
	if planned < 20 {
		t.Errorf("planned only %d command lines", planned)
	}
}

// dryRun returns the arguments with --dry-run, where the command has that and the
// fake tools are enough: they know no other architecture and no nix.
func dryRun(args []string) ([]string, bool) {
	root := new(app).rootCommand()
	c, _, err := root.Find(makeFlags(root, args))
	if err != nil || c.Flags().Lookup("dry-run") == nil || c == root && !slices.Contains(args, "--kernel=/boot/vmlinuz") {
		return nil, false
	}
	args = slices.Clone(args)
	for i, arg := range args {
		if strings.Contains(arg, "arm64") || strings.HasPrefix(arg, "--flake") {
			return nil, false
		}
		if strings.HasPrefix(arg, "--kernel=/boot/") {
			args[i] = "--kernel=vmlinux" // of the fake tree
		}
	}
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	return slices.Insert(args, end, "--dry-run"), true
}

// plan runs a command line in a fake tree that was configured and built as it says.
func plan(t *testing.T, tools string, args []string) {
	e := &testscript.Env{WorkDir: t.TempDir()}
	if err := setUpScript(e, tools); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"PATH", "FAKE", "HOME", "XDG_CONFIG_HOME"} {
		t.Setenv(name, e.Getenv(name))
	}
	in := func(name string) string { return filepath.Join(e.Cd, name) }
	files := map[string]string{"../mine/Kbuild": "obj-m := mine.o\n", "debug.config": "CONFIG_KASAN=y\n", "scratch.img": strings.Repeat("\x00", 1<<20), "golden.qcow2": "QFI\xfb\x00\x00\x00\x03"}
	for _, dir := range []string{"../src", "../home/data", "../kasan", "../build", "../mine"} {
		if err := os.MkdirAll(in(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(in(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) {
		t.Helper()
		log, err := os.Create(filepath.Join(e.WorkDir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		for i, arg := range args {
			args[i] = os.Expand(arg, e.Getenv)
		}
		if status := Execute(t.Context(), Env{Args: args, Stdin: null, Stdout: log, Stderr: log, Environ: e.Vars, Dir: e.Cd}); status != 0 {
			text, _ := os.ReadFile(log.Name())
			t.Errorf("run-kernel %s: status %d: %s", strings.Join(args, " "), status, text)
		}
	}
	var output []string
	for _, arg := range args {
		if strings.HasPrefix(arg, "O=") {
			output = append(output, arg)
		}
	}
	run(append([]string{"kconfig", "fix"}, output...)...)
	run(append([]string{"build"}, output...)...)
	if image, err := os.ReadFile(in("vmlinux")); err == nil {
		if err := os.WriteFile(in("../kasan/vmlinux"), image, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(args...)
}

// What the documents do with .config is done, on a real tree, and the transcripts show
// what it prints.
func TestDocumentedKconfig(t *testing.T) {
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	// The commands run in a build directory, to which ../build leads as well.
	build := filepath.Join(t.TempDir(), "build")
	l := newLab(t, build)
	tinyconfig(t, l, source, build)
	if err := os.WriteFile(filepath.Join(build, "debug.config"), []byte("CONFIG_KASAN=y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.expect(l.run("kconfig", "fix"), 0)
	before, err := os.ReadFile(filepath.Join(build, ".config"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := kbuild.Find(kbuild.Options{Dir: source})
	if err != nil {
		t.Fatal(err)
	}
	version, err := tree.Version()
	if err != nil {
		t.Fatal(err)
	}
	ran := make(map[string]bool)
	for name, text := range documents(t) {
		blocks, _ := blocksOf(text)
		for _, b := range blocks {
			for line, command := range b.commands() {
				list, err := invocations(command)
				if err != nil {
					t.Fatal(err)
				}
				for _, args := range list {
					key := strings.Join(args, " ")
					if args[0] != "kconfig" || ran[key] || !slices.Contains(selfContained, args[1]) || slices.Contains(args, "--config") {
						continue
					}
					ran[key] = true
					for i, arg := range args {
						args[i] = strings.Replace(arg, "/tmp/", build+"/", 1)
					}
					if err := os.WriteFile(filepath.Join(build, ".config"), before, 0o644); err != nil {
						t.Fatal(err)
					}
					r := l.run(args...)
					if r.status != 0 {
						t.Errorf("%s:%d: %s: status %d: %s%s", name, line, command, r.status, r.stdout, r.stderr)
					}
					if b.language == "console" && strings.HasPrefix(version, "6.1.") {
						checkTranscript(t, fmt.Sprintf("%s:%d", name, line), b.lines[1:], strings.ReplaceAll(r.stdout+r.stderr, build, "/home/me/linux"))
					}
				}
			}
		}
	}
	if len(ran) < 10 {
		t.Errorf("ran only %v", ran)
	}
}

// selfContained are the commands that need no other configuration than .config.
var selfContained = []string{"check", "fix", "explain", "list", "search", "conf"}

// place is a line of a Kconfig file, which moves from one release to the next, and the
// blanks that follow it.
var place = regexp.MustCompile(`(Kconfig[.a-z]*:)[0-9]+ *`)

// checkTranscript compares what a document shows, where … stands for anything, with what
// was printed.
func checkTranscript(t *testing.T, at string, shown []string, printed string) {
	t.Helper()
	plain := func(text string) string { return place.ReplaceAllString(text, "$1 ") }
	got := plain(printed)
	for part := range strings.SplitSeq(plain(strings.Join(shown, "\n")+"\n"), "…\n") {
		_, rest, ok := strings.Cut(got, part)
		if !ok {
			t.Errorf("%s: %q isn't in what was printed:\n%s", at, part, printed)
			return
		}
		got = rest
	}
	if got != "" {
		t.Errorf("%s: it printed more: %q", at, got)
	}
}

// A command that isn't right is found.
func TestParseDocumented(t *testing.T) {
	for _, c := range []struct {
		line string
		want string // part of the error; empty: none
	}{
		{"cd linux && run-kernel watch --exec 'dmesg | grep x'", ""},
		{"RUN_KERNEL_RUN_SMP=4 run-kernel config | head -3", ""},
		{"git bisect run run-kernel test -- ./x.sh", ""},
		{"nix run . -- --help", ""},
		{"run-kernel boot --share=share:./ O=../b -- ls --nonsense", ""},
		{"run-kernel bot", "did you mean"},
		{"run-kernel boot --no-such", "unknown flag"},
		{"run-kernel boot uname", "unexpected argument"},
		{"run-kernel boot --serial=usb", "isn't one of"},
		{"run-kernel boot --smp 0", "less than"},
		{"run-kernel boot --share data", "no colon"},
		{"run-kernel boot --name /", "a name has"},
		{"run-kernel kconfig", "needs a command"},
		{"run-kernel kconfig fix --require KASAN", "isn't a requirement"},
		{"run-kernel kconfig fix --profile sysd", "no profile"},
		{"run-kernel kconfig fix --fragment none.config", "no such file"},
		{"make x && run-kernel watch --kernel", "needs a value"},
		{"true | run-kernel dump", "takes one file"},
		{"git bisect run run-kernel tst -- x", "did you mean"},
		{"nix run . -- --hlp", "unknown flag"},
	} {
		list, err := invocations(c.line)
		if err != nil || len(list) != 1 {
			t.Errorf("%s: found %q, %v", c.line, list, err)
			continue
		}
		_, err = parse(t.TempDir(), list[0])
		text := ""
		if err != nil {
			text = err.Error()
			if h, ok := err.(interface{ Hint() string }); ok {
				text += "; " + h.Hint()
			}
		}
		if !strings.Contains(text, c.want) || c.want == "" && err != nil {
			t.Errorf("%s: %v, want %q", c.line, err, c.want)
		}
	}
}

// Bash takes what a reader pastes.
func TestDocumentedShell(t *testing.T) {
	for name, text := range documents(t) {
		blocks, _ := blocksOf(text)
		for _, b := range blocks {
			script := b.text()
			switch b.language {
			case "console":
				script = ""
				for _, command := range b.commands() {
					script += command + "\n"
				}
			case "sh":
			case "text", "arrows", "json", "yaml", "vim", "elisp":
				continue
			default:
				t.Errorf("%s:%d: a block in the language %q", name, b.line, b.language)
			}
			if out, err := exec.Command("bash", "-n", "-c", script).CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v: %s", name, b.line, err, out)
			}
		}
	}
}

// Each target that a reader gives to make is one of the kernel's.
func TestDocumentedMakeTargets(t *testing.T) {
	tree := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	var makefiles strings.Builder
	for _, name := range []string{"Makefile", "scripts/kconfig/Makefile"} {
		data, err := os.ReadFile(filepath.Join(tree, name))
		if err != nil {
			t.Fatal(err)
		}
		makefiles.Write(data)
	}
	found := 0
	for name, text := range documents(t) {
		blocks, _ := blocksOf(text)
		for _, b := range blocks {
			for line, command := range b.commands() {
				_, rest, ok := strings.Cut(" "+command, " make ")
				rest, _, _ = strings.Cut(rest, "&&")
				if !ok {
					continue
				}
				// A process substitution has words of its own.
				rest = regexp.MustCompile(`<\([^)]*\)`).ReplaceAllString(rest, "")
				for _, word := range strings.Fields(rest) {
					if found++; strings.ContainsAny(word, "=-") {
						continue
					}
					if !regexp.MustCompile(`(?m)(^|[ \t])` + word + `([ \t:\\]|$)`).MatchString(makefiles.String()) {
						t.Errorf("%s:%d: the kernel's make has no target %s", name, line, word)
					}
				}
			}
		}
	}
	if found == 0 {
		t.Error("no document runs make")
	}
}

// A transcript shows what run-kernel prints today.
func TestTranscripts(t *testing.T) {
	const seconds = time.Second
	output := func(text string) event.Event { return event.Output{Data: []byte(text + "\n")} }
	for _, c := range []struct {
		document, first string // of a console block
		events          []event.Event
	}{
		{"README.md", "watch  5096", []event.Event{
			event.WatchStarted{Dirs: 5096, Elapsed: 240 * time.Millisecond},
			event.BuildFinished{Image: "/home/me/linux/vmlinux", Elapsed: 43 * seconds / 10},
			event.BootReady{Elapsed: 24 * seconds / 10},
			output("[    0.812233] my driver: ready"),
			event.CommandFinished{Command: `dmesg | grep "my driver"`, Elapsed: 93 * time.Millisecond},
			event.TurnFinished{Compile: 43 * seconds / 10, Boot: 24 * seconds / 10, Command: 93 * time.Millisecond, Elapsed: 73 * seconds / 10},
			event.Waiting{VM: true},
		}},
		{"README.md", "watch  14:02:07 changed", []event.Event{
			event.Changed{Paths: []string{"drivers/misc/mine.c"}, Total: 1},
			event.BuildFinished{Image: "/home/me/linux/vmlinux", NewImage: true, Objects: 2, Elapsed: 68 * seconds / 10},
			event.BootReady{Elapsed: 24 * seconds / 10},
			output("[    0.811790] my driver: ready, and faster"),
			event.CommandFinished{Command: `dmesg | grep "my driver"`, Elapsed: 92 * time.Millisecond},
			event.TurnFinished{Compile: 32 * seconds / 10, Link: 36 * seconds / 10, Boot: 24 * seconds / 10, Command: 92 * time.Millisecond, Elapsed: 96 * seconds / 10},
			event.Waiting{VM: true},
		}},
		{"docs/loop.md", "watch  14:02:07 changed", []event.Event{
			event.Changed{Paths: []string{"drivers/misc/mine.c"}, Total: 1},
			event.Diagnostic{
				File: "drivers/misc/mine.c", Line: 42, Column: 9, Severity: event.Error, Message: "'speed' undeclared (first use in this function)",
				Detail: []string{"   42 |         speed++;", "      |         ^~~~~"},
			},
			event.BuildFinished{Elapsed: 21 * seconds / 10, Log: "/home/me/linux/.run-kernel/build.log", Err: errors.New("exit status 2")},
			event.TurnFinished{Compile: 21 * seconds / 10, Elapsed: 22 * seconds / 10},
			event.Waiting{VM: true, Broken: true},
		}},
		{"docs/kconfig.md", "config /home", []event.Event{
			event.ConfigFixed{Path: "/home/me/linux/.config", Edits: slices.Concat([]event.ConfigEdit{
				{Symbol: "NR_CPUS", From: "64", To: "8000", Why: "asked for"},
				{Symbol: "CPUMASK_OFFSTACK", To: "y", Why: "NR_CPUS_RANGE_END needs it (arch/x86/Kconfig:1006)"},
				{Symbol: "DEBUG_KERNEL", From: "n", To: "y", Why: "DEBUG_PER_CPU_MAPS needs it (lib/Kconfig.debug:935)"},
				{Symbol: "DEBUG_PER_CPU_MAPS", To: "y", Why: "CPUMASK_OFFSTACK needs it (lib/Kconfig:524)"},
			}, make([]event.ConfigEdit, 8))},
		}},
		{"docs/tests.md", "build  /home", []event.Event{
			event.BuildFinished{Image: "/home/me/linux/.run-kernel/kunit/vmlinux", NewImage: true, Objects: 3, Elapsed: 98 * seconds / 10},
			event.TestStarted{Path: []string{"list-kunit-test"}, Plan: 2},
			event.TestFinished{Path: []string{"list-kunit-test", "list_test_list_init"}, Status: "passed", Elapsed: time.Millisecond},
			event.TestFinished{
				Path: []string{"list-kunit-test", "list_test_list_add"}, Status: "failed", Elapsed: 2 * time.Millisecond,
				Log: []string{"    # list_test_list_add: EXPECTATION FAILED at lib/list-test.c:47", "    Expected list.next == &b, but"},
			},
			event.TestFinished{Path: []string{"list-kunit-test"}, Group: true, Status: "failed", Elapsed: 12 * time.Millisecond},
			event.TestsFinished{Status: "failed", Passed: 1, Failed: 1, Elapsed: 14 * time.Millisecond},
		}},
		{"docs/tests.md", "test   passes again", []event.Event{
			event.TestsFinished{
				Status: "failed", Passed: 38, Failed: 1, Elapsed: 21 * time.Millisecond, Compared: true,
				Ceased: []string{"list-kunit-test.list_test_list_add"}, Began: []string{"list-kunit-test.list_test_list_del"},
			},
		}},
	} {
		var b bytes.Buffer
		now := func() time.Time { return time.Date(2026, 11, 29, 14, 2, 7, 0, time.Local) }
		text := ui.NewText(ui.Options{Out: &b, Err: &b, Now: now})
		for _, e := range c.events {
			text.Event(e)
		}
		blocks, _ := blocksOf(documents(t)[c.document])
		i := slices.IndexFunc(blocks, func(b block) bool {
			return b.language == "console" && slices.ContainsFunc(b.lines, func(l string) bool { return strings.HasPrefix(l, c.first) })
		})
		if i < 0 {
			t.Errorf("%s has no transcript with %q", c.document, c.first)
			continue
		}
		shown := slices.DeleteFunc(slices.Clone(blocks[i].lines), func(l string) bool { return strings.HasPrefix(l, "$ ") })
		if diff := cmp.Diff(b.String(), strings.Join(shown, "\n")+"\n"); diff != "" {
			t.Errorf("%s:%d: what run-kernel prints and what is shown: %s", c.document, blocks[i].line, diff)
		}
	}
}

var (
	link       = regexp.MustCompile(`\]\(([^)]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	flagSpan   = regexp.MustCompile(`^--?([A-Za-z][a-z0-9-]*)`)
	keySpan    = regexp.MustCompile(`^(run|kconfig|build|watch)\.([a-z_]+)$`)
	tableSpan  = regexp.MustCompile(`^\[([a-z]+)\]$`)
	pathSpan   = regexp.MustCompile(`^[A-Za-z0-9._*/-]+$`)
	stateSpan  = regexp.MustCompile(`\.run-kernel/([A-Za-z_.-]+)`)
	variable   = regexp.MustCompile(`RUN_KERNEL_[A-Z0-9_]+`)
	notFlagOf  = regexp.MustCompile(`^(--readonly|--translate-uid|-v|-update|-parallel)$`) // virtiofsd's, and go test's
	kernelPath = regexp.MustCompile(`^(scripts/kconfig(/|$)|build/|tools/testing/)`)
)

// Each flag, key, variable, file and link in the documents exists.
func TestDocumentedNames(t *testing.T) {
	texts := documents(t)
	known := make(map[string]bool) // flags
	for _, c := range commands(new(app).rootCommand()) {
		c.InitDefaultHelpFlag()
		add := func(f *pflag.Flag) { known[f.Name], known[f.Shorthand] = true, true }
		c.Flags().VisitAll(add)
		c.PersistentFlags().VisitAll(add)
	}
	for short := range otherNames {
		known[short] = true
	}
	var sample strings.Builder
	if err := config.Sample(&sample); err != nil {
		t.Fatal(err)
	}
	sources := sourceText(t)
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range texts {
		_, prose := blocksOf(text)
		for i, l := range prose {
			complain := func(format string, args ...any) {
				t.Errorf("%s:%d: %s", name, i+1, fmt.Sprintf(format, args...))
			}
			for _, m := range link.FindAllStringSubmatch(l, -1) {
				if complaint := deadLink(texts, name, m[1]); complaint != "" {
					complain("%s", complaint)
				}
			}
			if name == "docs/from-vng.md" && strings.HasPrefix(l, "| ") {
				_, l, _ = strings.Cut(l[1:], "|") // what comes first is vng's
			}
			for _, m := range codeSpan.FindAllStringSubmatch(l, -1) {
				span := m[1]
				if f := flagSpan.FindStringSubmatch(span); f != nil && !known[f[1]] && !notFlagOf.MatchString(span) && name != "bench/README.md" {
					complain("no command has the flag %s", span)
				}
				if k := keySpan.FindStringSubmatch(span); k != nil && !hasKey(sample.String(), k[1], k[2]) {
					complain("there is no key %s", span)
				}
				if k := tableSpan.FindStringSubmatch(span); k != nil && !slices.Contains(config.Tables(), k[1]) {
					complain("there is no table %s", span)
				}
				first, _, below := strings.Cut(span, "/")
				ours := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.IsDir() && e.Name() == first })
				if below && ours && pathSpan.MatchString(span) && !kernelPath.MatchString(span) && !strings.Contains(span, "NAME") {
					if found, err := filepath.Glob(filepath.Join(top, span)); err != nil || len(found) == 0 {
						complain("there is no %s", span)
					}
				}
			}
		}
		for _, m := range stateSpan.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(sources, `"`+m[1]+`"`) {
				t.Errorf("%s: no source names %s", name, m[0])
			}
		}
		for _, v := range variable.FindAllString(text, -1) {
			table, key, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(v, "RUN_KERNEL_")), "_")
			if !hasKey(sample.String(), table, key) && !strings.Contains(sources, `"`+v+`"`) {
				t.Errorf("%s: nothing reads $%s", name, v)
			}
		}
	}
}

// deadLink says what is wrong with a link in a document.
func deadLink(texts map[string]string, from, target string) string {
	if strings.Contains(target, "://") {
		return ""
	}
	path, anchor, _ := strings.Cut(target, "#")
	to := from
	if path != "" {
		to = filepath.Join(filepath.Dir(from), path)
		if _, err := os.Stat(filepath.Join(top, to)); err != nil {
			return "a link to " + target + ", which doesn't exist"
		}
	}
	if anchor == "" {
		return ""
	}
	for _, m := range heading.FindAllStringSubmatch(texts[to], -1) {
		// As GitHub has it.
		id := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(id, " ", "-") == anchor {
			return ""
		}
	}
	return "a link to " + target + ", and there is no such heading"
}

// hasKey says whether the sample configuration has a key in a table.
func hasKey(sample, table, key string) bool {
	_, rest, ok := strings.Cut(sample, "["+table+"]\n")
	rest, _, _ = strings.Cut(rest, "\n[")
	return ok && strings.Contains(rest, "\n#"+key+" = ")
}

// sourceText is the text of all Go files but this one.
func sourceText(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".go" || filepath.Base(path) == "docs_test.go" {
			return err
		}
		data, err := os.ReadFile(path)
		b.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// docs/testing.md has each variable that ./test sets, and each that people set.
func TestDocumentedTestVariables(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(top, "test"))
	if err != nil {
		t.Fatal(err)
	}
	text := documents(t)["docs/testing.md"]
	_, after, ok := strings.Cut(text, "`./test` sets these")
	set, _, ok2 := strings.Cut(after, "Set these yourself")
	if !ok || !ok2 {
		t.Fatal("docs/testing.md has other headings")
	}
	unique := func(text string) []string {
		list := variable.FindAllString(text, -1)
		slices.Sort(list)
		return slices.Compact(list)
	}
	if diff := cmp.Diff(unique(string(script)), unique(set)); diff != "" {
		t.Errorf("what ./test sets, and what docs/testing.md says it does: %s", diff)
	}
}

// docs/json.md has each field of what the commands print.
func TestDocumentedObjects(t *testing.T) {
	var want []string
	var describe func(name string, v reflect.Type)
	describe = func(name string, v reflect.Type) {
		for i := range v.NumField() {
			f := v.Field(i)
			key, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			if key == "" {
				continue
			}
			if option == "omitempty" {
				key += "?"
			}
			want = append(want, name+" "+key)
			if name == "report" && f.Type.Kind() == reflect.Slice {
				describe(name+"."+key, f.Type.Elem())
			}
		}
	}
	describe("status", reflect.TypeFor[control.Status]())
	describe("doctor.checks", reflect.TypeFor[doctor.Check]())
	describe("config", reflect.TypeFor[config.Value]())
	describe("report", reflect.TypeFor[jsonReport]())
	// What is printed from maps is compared with what is printed.
	for name, args := range map[string][]string{"version": {"version", "--json"}, "doctor": {"doctor", "--json"}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			Execute(t.Context(), Env{Args: args, Stdin: os.Stdin, Stdout: w, Stderr: os.Stderr, Dir: t.TempDir(), Environ: os.Environ()})
			_ = w.Close()
		}()
		var object map[string]any
		if err := json.NewDecoder(r).Decode(&object); err != nil {
			t.Fatal(err)
		}
		for key := range object {
			want = append(want, name+" "+key)
		}
	}
	_, table, ok := strings.Cut(documents(t)["docs/json.md"], "| object | field | type | meaning |\n|---|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if !ok {
		t.Fatal("docs/json.md has no table of objects")
	}
	var got []string
	name := ""
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if n := strings.Trim(cells[1], " `"); n != "" {
			name = n
		}
		key := strings.Trim(cells[2], " `")
		if strings.HasSuffix(strings.TrimSpace(cells[4]), "; may be missing") {
			key += "?"
		}
		got = append(got, name+" "+key)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is printed, and what docs/json.md says: %s", diff)
	}
}

// vngOptions are those of virtme-ng 1.41, as its parser has them.
const vngOptions = `--version -V --run -r --build -b --clean -x --dump -d --mcp --dry-run --no-virtme-ng-init --empty-passwords --pin -P
--gdb --snaps --debug --kconfig -k --skip-modules -S --commit -c --config --custom -f --configitem --busybox --qemu --name --user --shell --root
--root-release --rw --force-9p --disable-microvm --disable-kvm --disable-monitor --cwd --rodir --rwdir --overlay-rwdir --cpus -p --memory -m --numa
--numa-distance --balloon --network -n --no-dhcp --net-mac-address --disk -D --exec -e --append -a --force-initramfs --sound --graphics -g --verbose -v
--quiet -q --qemu-opts -o --build-host --build-host-exec-prefix --build-host-vmlinux --arch --cross-compile --force envs --nvgpu --vfio-pci --console
--console-client --ssh --ssh-client --ssh-tcp --remote-cmd --systemd`

// docs/from-vng.md has each option of vng once.
func TestDocumentedVNG(t *testing.T) {
	_, tables, _ := strings.Cut(documents(t)["docs/from-vng.md"], "\n## ")
	var got []string
	for line := range strings.Lines(tables) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for _, m := range codeSpan.FindAllStringSubmatch(cells[1], -1) {
				got = append(got, m[1])
			}
		}
	}
	want := strings.Fields(vngOptions)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("vng's options, and those in docs/from-vng.md: %s", diff)
	}
}
