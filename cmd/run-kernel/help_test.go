// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/google/shlex"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/proc"
)

// commands are all commands that a user may call.
func commands(root *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if !c.Hidden {
			list = append(list, commands(c)...)
		}
	}
	return list
}

// helpOf is what --help prints.
func helpOf(c *cobra.Command) string {
	var b bytes.Buffer
	c.InitDefaultHelpFlag()
	c.SetOut(&b)
	help(c, nil)
	return b.String()
}

// In a narrow terminal, help has the same words in shorter lines.
func TestHelpWidth(t *testing.T) {
	for _, c := range commands(new(app).rootCommand()) {
		wide := helpOf(c)
		for _, width := range []int{leastWidth, 80} {
			var b bytes.Buffer
			printHelp(c, &b, width)
			text := b.String()
			if diff := cmp.Diff(strings.Fields(wide), strings.Fields(text)); diff != "" {
				t.Errorf("%s has other words in %d columns: %s", c.CommandPath(), width, diff)
			}
			for line := range strings.Lines(text) {
				// Examples and tables are as they are.
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width && (line[0] != ' ' || strings.HasPrefix(line, "      --")) {
					t.Errorf("%s: a line of %d columns where there are %d: %s", c.CommandPath(), n, width, line)
				}
			}
		}
	}
	host, guest, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	defer guest.Close()
	for columns, want := range map[uint16]int{0: helpWidth, 20: leastWidth, 72: 72, 200: helpWidth} {
		if err := pty.Setsize(host, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
			t.Fatal(err)
		}
		for _, w := range []io.Writer{guest, &stdout{w: guest}} {
			if got := widthOf(w); got != want {
				t.Errorf("in a terminal of %d columns, help has %d", columns, got)
			}
		}
	}
	if got := widthOf(&bytes.Buffer{}); got != helpWidth {
		t.Errorf("without a terminal, help has %d columns", got)
	}
}

func TestHelp(t *testing.T) {
	for _, c := range commands(new(app).rootCommand()) {
		text := helpOf(c)
		for i, l := range strings.Split(text, "\n") {
			if n := utf8.RuneCountInString(l); n > 100 {
				t.Errorf("%s: line %d has %d columns: %s", c.CommandPath(), i+1, n, l)
			}
			if strings.TrimRight(l, " ") != l {
				t.Errorf("%s: line %d ends with blanks", c.CommandPath(), i+1)
			}
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || c.HasParent() && c.Short[:1] != strings.ToLower(c.Short[:1]) {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for l := range strings.Lines(c.Example) {
			if !strings.HasPrefix(l, "  run-kernel") && !strings.HasPrefix(l, "  git bisect run run-kernel ") {
				t.Errorf("%s: example %q", c.CommandPath(), l)
			}
		}
	}
}

// The examples in the help of a command can be parsed, and are of that command.
func TestExamples(t *testing.T) {
	for _, c := range commands(new(app).rootCommand()) {
		for l := range strings.Lines(c.Example) {
			words, err := shlex.Split(l)
			if err != nil {
				t.Fatalf("%q: %v", l, err)
			}
			words = words[slices.Index(words, "run-kernel")+1:]
			if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '<' || w[0] == '>' }); i >= 0 {
				words = words[:i]
			}
			root := new(app).rootCommand()
			found, rest, err := root.Find(makeFlags(root, words))
			if err != nil || !strings.HasPrefix(found.CommandPath(), c.CommandPath()) {
				t.Errorf("%q is of %s: %v", l, found.CommandPath(), err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%q: %v", l, err)
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%q: %v", l, err)
			}
		}
	}
}

// What each command has a use for. The help lists these flags and no others.
func TestHelpFlags(t *testing.T) {
	tables := map[string][]string{}
	for _, table := range config.Tables() {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		config.AddFlags(set, table)
		set.VisitAll(func(f *pflag.Flag) { tables[table] = append(tables[table], f.Name) })
	}
	general := strings.Fields(generalFlags)
	needs := []string{"smp", "userland", "flake", "mount-type", "virtiofsd", "disk", "network", "fragment", "profile", "require", "arch", "external"} // say what .config needs
	compiler := []string{"cross-compile", "cc", "llvm"}                                                                                               // changes what Kconfig files say
	results := []string{"junit", "ktap-out", "json-out", "github"}                                                                                    // where results of tests go
	boots := slices.Concat(tables["run"], tables["verdict"], tables["kconfig"], tables["build"], general, []string{"no-build", "dry-run", "tty", "timeout", "dmesg-baseline", "name", "ktap"}, results)
	for path, want := range map[string][]string{
		"":                 slices.Concat(boots, []string{"version"}),
		"boot":             boots,
		"test":             boots,
		"kunit":            slices.Concat(tables["run"], tables["kconfig"], tables["build"], general, results, []string{"kunitconfig", "build-dir", "no-build", "timeout"}),
		"kselftest":        slices.Concat(tables["run"], tables["verdict"], tables["kconfig"], tables["build"], general, results, []string{"test-timeout", "no-build", "timeout"}),
		"build":            slices.Concat(tables["kconfig"], tables["build"], general, []string{"smp", "userland", "flake", "mount-type", "virtiofsd", "disk", "network", "dry-run"}),
		"watch":            slices.Concat(tables["run"], tables["verdict"], tables["kconfig"], tables["build"], tables["watch"], general),
		"kconfig":          nil,
		"kconfig check":    slices.Concat(needs, general, compiler, []string{"output"}),
		"kconfig fix":      slices.Concat(needs, general, tables["build"], []string{"dry-run", "config", "keep-going"}),
		"kconfig new":      slices.Concat(needs, general, tables["build"], []string{"force"}),
		"kconfig search":   slices.Concat(compiler, []string{"arch", "output", "config-file", "json", "limit"}),
		"kconfig diff":     slices.Concat(compiler, []string{"arch", "output", "config-file", "json", "verbose"}),
		"kconfig minimize": slices.Concat(compiler, []string{"arch", "output", "config-file", "quiet", "to"}),
		"kconfig list":     slices.Concat(needs, general, []string{"all"}),
		"kconfig explain":  slices.Concat(compiler, []string{"arch", "output", "config-file", "json", "verbose"}),
		"kconfig conf": {
			"olddefconfig", "alldefconfig", "allnoconfig", "allyesconfig", "allmodconfig", "listnewconfig", "savedefconfig", "config", "write",
			"arch", "output", "cross-compile", "cc", "llvm", "config-file", "quiet", "verbose",
		},
		"config":          slices.Concat(tables["run"], tables["verdict"], tables["kconfig"], tables["build"], []string{"config-file", "json"}),
		"exec":            slices.Concat(results, []string{"user", "output", "config-file", "json", "verbose", "tty", "name", "ktap", "follow"}),
		"ssh":             {"output", "config-file", "stdio", "name"},
		"status":          {"output", "config-file", "json", "name", "all", "turns"},
		"stop":            {"output", "config-file", "name"},
		"swap":            {"output", "config-file", "json", "name"},
		"report":          {"json", "verbose", "output", "config-file", "vmlinux"},
		"version":         {"json"},
		"help":            nil,
		"completion":      nil,
		"completion bash": {"no-descriptions"},
		"completion zsh":  {"no-descriptions"},
		"completion fish": {"no-descriptions"},
	} {
		want = append(slices.Clone(want), "help")
		if path == "watch" {
			want = slices.DeleteFunc(want, func(name string) bool { return name == "kernel" || strings.Contains(name, "ssh") })
		}
		if path == "kunit" || path == "kselftest" {
			want = slices.DeleteFunc(want, func(name string) bool {
				return slices.Contains(strings.Fields("kernel user ssh ssh-command ping-ssh serial stdin"), name)
			})
		}
		root := new(app).rootCommand()
		root.InitDefaultVersionFlag()
		c, _, err := root.Find(strings.Fields(path))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for l := range strings.Lines(helpOf(c)) {
			if _, name, ok := strings.Cut(l, "--"); ok && (strings.HasPrefix(l, "      --") || strings.HasPrefix(l, "  -") && l[4] == ',') {
				got = append(got, strings.FieldsFunc(name, func(r rune) bool { return r == ' ' || r == '\n' })[0])
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
			t.Errorf("run-kernel %s: %s", path, diff)
		}
	}
}

func TestMakeFlags(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"boot", "boot"},
		{"O=b boot", "--output=b boot"},
		{"boot O=b", "boot --output=b"},
		{"boot O=", "boot --output="},
		{"ARCH=arm64 CROSS_COMPILE=x- LLVM=1 CC=cc KBUILD_OUTPUT=b", "--arch=arm64 --cross-compile=x- --llvm=1 --cc=cc --output=b"},
		{"kconfig O=b check", "kconfig --output=b check"},
		{"kconfig check O=b", "kconfig check --output=b"},
		{"build W=1 V=1", "build W=1 V=1"},
		{"build -- O=b", "build -- O=b"},
		{"O=b build -- CC=x O=c", "--output=b build -- CC=x O=c"},
		{"exec make O=b", "exec make O=b"},
		{"exec O=b make O=c", "exec --output=b make O=c"},
		{"exec -t make O=b", "exec -t make O=b"},
		{"exec -O d make O=b", "exec -O d make O=b"},
		{"ssh O=b uname O=c", "ssh --output=b -- uname O=c"},
		{"ssh -O d --config-file c -O e -N -O check", "ssh -O d --config-file c -O e -- -N -O check"},
		{"ssh --stdio -Ob", "ssh --stdio -Ob"},
		{"ssh -vv -- x", "ssh -- -vv -- x"},
		{"ssh -- x --json", "ssh -- -- x --json"},
		{"ssh", "ssh"},
		{"boot uname O=b", "boot uname --output=b"},
		{"boot boot O=b", "boot boot --output=b"},
		// A flag's value is its own.
		{"watch --exec CC=x O=b", "watch --exec CC=x --output=b"},
		{"watch --exec=CC=x O=b", "watch --exec=CC=x --output=b"},
		{"-O O=b boot", "-O O=b boot"},
		{"-qO O=b boot O=c", "-qO O=b boot --output=c"},
		{"-q O=b boot", "-q --output=b boot"},
		{"-j4 O=b boot", "-j4 --output=b boot"},
		{"boot -j O=b", "boot -j O=b"},
		{"--quiet O=b boot", "--quiet --output=b boot"},
		{"--nonsense O=b", "--nonsense --output=b"},
		{"boot -t O=b", "boot -t --output=b"},
		{"boot --config-file", "boot --config-file"},
		// The last word is still being typed.
		{"__complete O=b boot O=", "__complete --output=b boot O="},
		{"__complete O=b", "__complete O=b"},
		{"__complete", "__complete"},
	} {
		got := makeFlags(new(app).rootCommand(), strings.Fields(c.in))
		if diff := cmp.Diff(strings.Fields(c.want), got); diff != "" && len(got)+len(c.want) > 0 {
			t.Errorf("%q: %s", c.in, diff)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name         string
		err          error
		want, bisect int
	}{
		{"success", nil, 0, 0},
		{"command's 1", statusError(1), 1, 1},
		{"command's 2", statusError(2), 2, 1}, // not our usage error
		{"command's 101", statusError(101), 101, 1},
		{"command's skip", statusError(125), 125, 125},
		{"command can't run", statusError(126), 126, 125},
		{"command not found", statusError(127), 127, 125},
		{"command's signal", statusError(128 + 11), 139, 1},
		{"command's 255", statusError(255), 255, 1},
		{"usage", &usageError{problem: "x"}, 2, 128},
		{"flag's value", &config.ValueError{Where: "--smp"}, 2, 128},
		{"file's value", &config.ValueError{Where: "run-kernel.cfg:1:2"}, 125, 125},
		{"variable's value", &config.ValueError{Where: "$RUN_KERNEL_RUN_SMP"}, 125, 125},
		{"crash", fmt.Errorf("boot: %w", &boot.CrashError{}), 101, 1},
		{"boot timeout", fmt.Errorf("boot: %w", &boot.TimeoutError{}), 102, 1},
		{"command timeout", &boot.TimeoutError{Command: true}, 102, 1},
		{"no sshd", &boot.NoSSHDError{}, 102, 1},
		{"death", fmt.Errorf("boot: %w", &boot.DeathError{}), 103, 1},
		{"death by the host", fmt.Errorf("boot: %w", &boot.DeathError{Host: true}), 103, 125},
		{"init", &boot.InitError{}, 125, 125},
		{"busy", &control.BusyError{}, 125, 125},
		{"stopped", session.ErrStopped, 125, 125},
		{"other", errors.New("x"), 125, 125},
		{"Ctrl-C", fmt.Errorf("make: %w", proc.SignalError(syscall.SIGINT)), 130, 130},
		{"terminated", proc.SignalError(syscall.SIGTERM), 143, 143},
		{"with a next step", advise(fmt.Errorf("x: %w", syscall.ENOSPC)), 125, 125},
	} {
		if got := exitStatus(c.err); got != c.want {
			t.Errorf("%s: status %d, want %d", c.name, got, c.want)
		}
		if got := bisectStatus(c.err); got != c.bisect {
			t.Errorf("%s: status %d for bisect, want %d", c.name, got, c.bisect)
		}
	}
}

// A timeout of the command shows as the cause of a context.
func TestTimeoutCause(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 0, &boot.TimeoutError{Command: true, Silent: time.Second})
	defer cancel()
	<-ctx.Done()
	if got := exitStatus(context.Cause(ctx)); got != statusTimeout {
		t.Errorf("status %d", got)
	}
}

// avoided are words for which CONTRIBUTING.md has another one, and turns of phrase that
// have to be read twice.
var avoided = regexp.MustCompile(`(?i)\b(folders?|for ever|be it|closure|wish(es)?)\b`)

// The help, the sample configuration and the documents keep to the words of
// CONTRIBUTING.md.
func TestWords(t *testing.T) {
	texts := make(map[string]string)
	for _, c := range commands(new(app).rootCommand()) {
		texts[c.CommandPath()+" --help"] = helpOf(c)
	}
	var sample strings.Builder
	if err := config.Sample(&sample); err != nil {
		t.Fatal(err)
	}
	texts[config.FileName] = sample.String()
	for name, text := range documents(t) {
		_, prose := blocksOf(text) // what a program prints is its own
		texts[name] = codeSpan.ReplaceAllString(strings.Join(prose, "\n"), "")
	}
	for name, text := range texts {
		for line := range strings.Lines(text) {
			glossary := name == "CONTRIBUTING.md" && strings.HasPrefix(line, "|")
			if m := avoided.FindString(line); m != "" && !glossary {
				t.Errorf("%s: %q in %q; see CONTRIBUTING.md", name, m, strings.TrimSpace(line))
			}
		}
	}
}
