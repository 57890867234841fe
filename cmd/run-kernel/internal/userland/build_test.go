// SPDX-License-Identifier: GPL-3.0-only

package userland

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
)

func TestMain(m *testing.M) {
	proc.Main() // children have a guard, which is this program
	os.Exit(m.Run())
}

// fakeNix takes its arguments down and builds $OUT, after what $SCRIPT does, or
// evaluates to $VALUE.
const fakeNix = `#!/bin/sh
printf '%s\n' "$@" >>"$CALLS"
case $3 in eval)
	eval "$SCRIPT"
	echo "$VALUE"
	exit
esac
while [ $# -gt 0 ]; do
	case $1 in --out-link) link=$2 ;; esac
	shift
done
eval "$SCRIPT"
mkdir -p "$OUT"
touch "$OUT/init"
ln -sfn "$OUT" "$link"
echo '[{"drvPath":"/nix/store/x.drv","outputs":{"out":"'"$OUT"'"}}]'
`

// A bench is a flake, a nix and a builder.
type bench struct {
	t       *testing.T
	dir     string
	flake   Flake
	builder *Builder
	events  []event.Event
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	b.write("bin/nix", fakeNix)
	if err := os.Chmod(b.path("bin/nix"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", b.path("bin")+":"+os.Getenv("PATH"))
	t.Setenv("CALLS", b.path("calls"))
	t.Setenv("OUT", b.path("store/system"))
	t.Setenv("SCRIPT", "echo building >&2")
	b.write("flake/flake.nix", "{ }")
	b.write("flake/modules/ssh.nix", "{ }")
	b.write("state/x", "")
	b.write("store/x", "")
	var err error
	if b.flake, err = ParseFlake("./flake", b.dir); err != nil {
		t.Fatal(err)
	}
	b.builder = &Builder{StateDir: b.path("state"), Events: func(e event.Event) { b.events = append(b.events, e) }}
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.path(name)), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// build builds, and says whether that called nix.
func (b *bench) build() (called bool) {
	b.t.Helper()
	_ = os.Remove(b.path("calls"))
	got, err := b.builder.Build(b.t.Context(), b.flake)
	if err != nil || got != b.path("store/system") {
		b.t.Fatalf("got %s, %v", got, err)
	}
	return exists(b.path("calls"))
}

func TestBuildCallsNix(t *testing.T) {
	b := newBench(t)
	if !b.build() {
		t.Fatal("the first build didn't call nix")
	}
	args, err := os.ReadFile(b.path("calls"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"--extra-experimental-features", "nix-command flakes", "build", "--json", "--out-link", b.path("state/userland"),
		"path:" + b.path("flake") + "#nixosConfigurations.vm.config.system.build.toplevel", "",
	}
	if diff := cmp.Diff(want, strings.Split(string(args), "\n")); diff != "" {
		t.Error(diff)
	}
	if log, err := os.ReadFile(b.path("state/nix.log")); err != nil || string(log) != "building\n" {
		t.Errorf("the log has %q, %v", log, err)
	}
	if len(b.events) != 3 || b.events[1] != (event.UserlandProgress{Line: "building"}) {
		t.Errorf("got events %+v", b.events)
	}
}

func TestBuildOnlyWhatChanged(t *testing.T) {
	b := newBench(t)
	b.build()
	for _, c := range []struct {
		name   string
		change func() error
		called bool
	}{
		{"nothing", func() error { return nil }, false},
		{"a time", func() error { return os.Chtimes(b.path("flake/flake.nix"), time.Time{}, time.Unix(1, 0)) }, false},
		{"a file", func() error { return os.WriteFile(b.path("flake/modules/ssh.nix"), []byte("{ a = 1; }"), 0o644) }, true},
		{"a file to a program", func() error { return os.Chmod(b.path("flake/modules/ssh.nix"), 0o755) }, true},
		{"the lock file", func() error { return os.WriteFile(b.path("flake/flake.lock"), []byte("{}"), 0o644) }, true},
		{"a new file", func() error { return os.WriteFile(b.path("flake/new.nix"), nil, 0o644) }, true},
		{"a file's name", func() error { return os.Rename(b.path("flake/new.nix"), b.path("flake/newer.nix")) }, true},
		{"a link", func() error { return os.Symlink("a", b.path("flake/link")) }, true},
		{"a link's target", func() error {
			return errors.Join(os.Remove(b.path("flake/link")), os.Symlink("b", b.path("flake/link")))
		}, true},
		{"a file less", func() error { return os.Remove(b.path("flake/link")) }, true},
		{"the garbage collector took the system", func() error { return os.RemoveAll(b.path("store/system")) }, true},
		{"the link to the system is gone", func() error { return os.Remove(b.path("state/userland")) }, true},
		{"the memory is broken", func() error { return os.WriteFile(b.path("state/userland.json"), []byte("{"), 0o644) }, true},
		{"the attribute", func() error { b.flake.Attr = "other"; return nil }, true},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		if called := b.build(); called != c.called {
			t.Errorf("%s changed: nix called: %v", c.name, called)
		}
		if b.build() {
			t.Errorf("%s changed: nix called a second time", c.name)
		}
	}
}

// What nix writes itself is no change, what the user writes meanwhile is.
func TestBuildWhileTheFlakeChanges(t *testing.T) {
	b := newBench(t)
	t.Setenv("SCRIPT", "echo '{}' >"+b.path("flake/flake.lock"))
	b.build()
	if b.build() {
		t.Error("the lock file that nix wrote counts as a change")
	}
	b.write("flake/flake.nix", "{ a = 1; }")
	t.Setenv("SCRIPT", "echo '{ b = 2; }' >"+b.path("flake/flake.nix"))
	b.build()
	if !b.build() {
		t.Error("a change during the build was lost")
	}
}

func TestBuildOfARepository(t *testing.T) {
	b := newBench(t)
	b.write("bin/git", "#!/bin/sh\nprintf 'flake.nix\\0gone.nix\\0'\n")
	if err := errors.Join(os.Chmod(b.path("bin/git"), 0o755), os.Mkdir(b.path("flake/.git"), 0o755)); err != nil {
		t.Fatal(err)
	}
	b.build()
	b.write("flake/unknown.nix", "nix doesn't see what git doesn't know")
	b.write("flake/.git/index", "changes all the time")
	if b.build() {
		t.Error("a file that git doesn't know counts as a change")
	}
	b.write("flake/flake.nix", "{ a = 1; }")
	if !b.build() {
		t.Error("a file that git knows doesn't count")
	}
}

// In a linked worktree, git bisect run and git rebase --exec tell their commands of the
// kernel's repository, which the flake isn't in.
func TestBuildUnderGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	b := newBench(t)
	repository := func(name string) {
		for _, args := range [][]string{{"init", "--quiet"}, {"add", "."}} {
			git := exec.Command("git", append([]string{"-C", b.path(name)}, args...)...)
			git.Env = environment()
			if out, err := git.CombinedOutput(); err != nil {
				t.Fatalf("git %q: %v: %s", args, err, out)
			}
		}
	}
	b.write("linux/Makefile", "")
	repository("linux")
	repository("flake")
	var err error
	if b.flake, err = ParseFlake("./flake", b.dir); err != nil {
		t.Fatal(err)
	}
	b.build()
	t.Setenv("GIT_DIR", b.path("linux/.git"))
	t.Setenv("GIT_PREFIX", "")
	t.Setenv("SCRIPT", `echo "GIT_DIR=$GIT_DIR" >&2`)
	if b.build() {
		t.Error("the flake is another one under git")
	}
	b.write("flake/modules/ssh.nix", "{ a = 1; }")
	if !b.build() {
		t.Error("under git, a change of the flake is lost")
	}
	if log, err := os.ReadFile(b.path("state/nix.log")); err != nil || string(log) != "GIT_DIR=\n" {
		t.Errorf("nix is told of the kernel's repository: %q, %v", log, err)
	}
}

// nix 2.8 doesn't undo the escapes in a path, and so gets none.
func TestBuildInAnOddDirectory(t *testing.T) {
	for _, name := range []string{"my vms", "vms, é", "50%"} {
		b := newBench(t)
		b.write(name+"/flake.nix", "{ }")
		var err error
		if b.flake, err = ParseFlake(name+"#vm", b.dir); err != nil {
			t.Fatal(err)
		}
		t.Setenv("SCRIPT", `pwd >>"$CALLS"`)
		t.Setenv("VALUE", "[]")
		command, err := b.builder.Command(t.Context(), b.flake)
		if err != nil || !slices.Equal(command[:3], []string{"env", "-C", b.path(name)}) {
			t.Errorf("the command is %q, %v", command, err)
		}
		if !b.build() {
			t.Error("nix wasn't called")
		}
		if _, err := b.builder.Required(t.Context(), b.flake); err != nil {
			t.Error(err)
		}
		calls, err := os.ReadFile(b.path("calls"))
		for _, want := range []string{
			"\npath:.#nixosConfigurations.vm.config.system.build.toplevel\n" + b.path(name) + "\n", "\npath:.#nixosConfigurations.vm\n", ")\n" + b.path(name) + "\n",
		} {
			if err != nil || !strings.Contains(string(calls), want) {
				t.Errorf("no %q in %q, %v", want, calls, err)
			}
		}
	}
}

// What is on another host may have changed at any time.
func TestBuildOfARemoteFlake(t *testing.T) {
	b := newBench(t)
	b.flake = Flake{Ref: "github:me/flakes", Attr: "vm"}
	b.build()
	if !b.build() {
		t.Error("nix wasn't asked")
	}
}

func TestBuildErrors(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want, hint   string
	}{
		{
			"evaluation", "echo \"error: undefined variable 'x'\" >&2; exit 1",
			"toplevel: exit status 1\nerror: undefined variable 'x'", "nix.log",
		},
		{
			"attribute", "echo \"error: flake 'path:x' does not provide attribute 'vm'\" >&2; exit 1",
			"does not provide attribute 'vm'", "./nixos#vm",
		},
		{
			"system", "echo \"error: a 'aarch64-linux' with features {} is required to build 'x'\" >&2; exit 1",
			"a 'aarch64-linux'", "this host's",
		},
		{"output", "echo '[]'; exit 0", `printed "[]\n", which names no output`, ""},
		{"no system", `touch "$OUT"; echo '[{"outputs":{"out":"'"$OUT"'"}}]'; exit 0`, "in which there is no init", "NixOS system"},
		{"death", "kill -9 $$", "signal: killed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			t.Setenv("SCRIPT", c.script)
			_, err := b.builder.Build(t.Context(), b.flake)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v", err)
			}
			var hinted interface{ Hint() string }
			if c.hint != "" && (!errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), c.hint)) {
				t.Errorf("the hint of %v doesn't name %q", err, c.hint)
			}
			t.Setenv("SCRIPT", `rm -rf "$OUT"`)
			if !b.build() {
				t.Error("the failure is remembered as success")
			}
		})
	}
	t.Run("no flake", func(t *testing.T) {
		b := newBench(t)
		b.flake.Dir = b.path("none")
		if _, err := b.builder.Build(t.Context(), b.flake); !errors.As(err, new(*NoFlakeError)) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no nix", func(t *testing.T) {
		b := newBench(t)
		dirs := NixDirs
		t.Cleanup(func() { NixDirs = dirs })
		NixDirs = nil
		t.Setenv("PATH", b.path("state"))
		if _, err := b.builder.Build(t.Context(), b.flake); !errors.As(err, new(*proc.MissingToolError)) {
			t.Errorf("got %v", err)
		}
		for ref, flake := range map[string]Flake{"in " + b.flake.Dir: b.flake, "github:me/vms": {Ref: "github:me/vms"}} {
			if kind, why := Choose(flake); kind != Host || !strings.Contains(why, "flake "+ref+", but no nix") {
				t.Errorf("auto is %s: %q", kind, why)
			}
		}
	})
}

// What nix 2.8 and 2.26 say, and the next step.
func TestNixErrorHints(t *testing.T) {
	dir := t.TempDir()
	repository := Flake{Dir: dir, Ref: "git+file://" + dir}
	for _, c := range []struct {
		flake          Flake
		message, wants string
	}{
		{Flake{}, "error: flake output attribute 'nixosConfigurations.vm' is not a derivation", "./nixos#vm"},
		{Flake{}, "error: expected flake output attribute 'nixosConfigurations.vm' to be a derivation or path but found a set: { }", "./nixos#vm"},
		{Flake{}, "error: could not set permissions on '/nix/var/nix/profiles/per-user' to 755: Operation not permitted", "nix's daemon"},
		{Flake{}, "error: opening lock file '/nix/var/nix/db/big-lock': Permission denied", "nix's daemon"},
		{Flake{}, "error:\n  … while fetching\n  error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused", "nix's daemon"},
		{
			repository, "error: getting status of '/nix/store/0ccnxa25whszw7mgbgyzdm4nqc0zwnm8-source/flake.nix': No such file or directory",
			"git -C " + dir + " add flake.nix",
		},
		{
			repository, "error: path '/nix/store/0ccnxa25whszw7mgbgyzdm4nqc0zwnm8-source/modules/my ssh.nix' does not exist",
			"git -C " + dir + " add 'modules/my ssh.nix'",
		},
	} {
		e := &NixError{Flake: c.flake, Message: c.message, Log: "/x/nix.log"}
		if got := e.Hint(); !strings.Contains(got, c.wants) || !strings.HasSuffix(got, "all that nix said is in /x/nix.log") {
			t.Errorf("%s: the hint is %q", c.message, got)
		}
	}
	for _, message := range []string{
		"error: getting status of '/nix/store/0ccnxa25whszw7mgbgyzdm4nqc0zwnm8-source/flake.nix': No such file or directory", // no repository
		"builder for '/nix/store/x.drv' failed: cat: /etc/shadow: Permission denied",
	} {
		e := &NixError{Flake: Flake{Dir: dir, Ref: "path:" + dir}, Message: message, Log: "/x/nix.log"}
		if got := e.Hint(); got != "all that nix said is in /x/nix.log" {
			t.Errorf("%s: the hint is %q", message, got)
		}
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	b := newBench(t)
	t.Setenv("SCRIPT", "echo started >&2; exec sleep 1000")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	b.builder.Events = func(e event.Event) {
		if _, ok := e.(event.UserlandProgress); ok {
			cancel(stop)
		}
	}
	if _, err := b.builder.Build(ctx, b.flake); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestCommand(t *testing.T) {
	b := newBench(t)
	command, err := b.builder.Command(t.Context(), b.flake)
	if err != nil || len(command) == 0 || command[0] != b.path("bin/nix") {
		t.Errorf("before the build: %q, %v", command, err)
	}
	b.build()
	if command, err := b.builder.Command(t.Context(), b.flake); err != nil || len(command) != 0 {
		t.Errorf("after it: %q, %v", command, err)
	}
}

func TestChoose(t *testing.T) {
	b := newBench(t)
	if kind, why := Choose(b.flake); kind != Nix || why != "" {
		t.Errorf("with flake and nix: %s, %q", kind, why)
	}
	b.flake.Dir = b.path("none")
	if kind, why := Choose(b.flake); kind != Host || why != "" {
		t.Errorf("without a flake: %s, %q", kind, why)
	}
}
