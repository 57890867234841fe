// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
)

// A hostLab is a tree, and a build host: a directory of this machine with a home, a cache
// and programs of its own. rsync is the real one.
type hostLab struct {
	t        *testing.T
	src, dir string // the source tree, and the host
	tree     *Tree
	events   *recorder
}

// newHostLab has a host whose make runs a script, in its build directory.
func newHostLab(t *testing.T, script string, o Options) *hostLab {
	t.Helper()
	if _, err := proc.Look("rsync"); err != nil {
		if os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l := &hostLab{t: t, src: source(t, physical(t)), dir: physical(t), events: new(recorder)}
	write(t, l.src, map[string]string{".git/HEAD": ""})
	link(t, "init", l.src+"/link")
	o.Dir, o.Output, o.Host = l.src, physical(t), "me@buildbox"
	var err error
	if l.tree, err = Find(o); err != nil {
		t.Fatal(err)
	}
	write(t, l.tree.BuildDir, map[string]string{".config": "CONFIG_A=y\n"})
	write(t, l.dir, map[string]string{
		"bin/make":  "#!/bin/sh\nprintf '%s\\n' \"$@\" \"KCFLAGS=$KCFLAGS\" \"LC_MESSAGES=$LC_MESSAGES\" >" + l.dir + "/asked\nsource=$2; cd \"${4#O=}\"\n" + script + "\n",
		"bin/gcc":   "#!/bin/sh\necho 'gcc 12'\n",
		"bin/nproc": "#!/bin/sh\necho 40\n",
		"home/":     "",
	})
	here := tools(t, "exit 1")
	write(t, here, map[string]string{
		"gcc": "#!/bin/sh\necho 'gcc 12'\n",
		// The login shell there prints something first.
		"ssh": `#!/bin/sh
while [ "$1" != -- ] && [ "$1" != me@buildbox ]; do [ "$1" = -o ] && shift; [ "$1" = -l ] && { [ "$2" = me ] || exit 9; shift; }; [ "$1" = buildbox ] && break; shift; done
[ "$1" = -- ] && shift
shift
case $* in exec*) echo "Welcome!";; esac
exec env -i HOME=` + l.dir + `/home PATH=` + l.dir + `/bin:/usr/bin:/bin sh -c "$*"
`,
	})
	return l
}

func (l *hostLab) build(ctx context.Context, o BuildOptions) (*Result, error) {
	l.t.Helper()
	o.Image, o.Target, o.Events = filepath.Join(l.tree.BuildDir, "vmlinux"), "vmlinux", l.events.sink
	return l.tree.Build(ctx, o)
}

func (l *hostLab) asked() []string {
	data, _ := os.ReadFile(filepath.Join(l.dir, "asked"))
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

func TestBuildHost(t *testing.T) {
	t.Setenv("KCFLAGS", "-Wextra")
	l := newHostLab(t, `
printf '  CC      init/main.o\n%s/init/main.c:1:2: warning: odd\n  LD      vmlinux\n' "$source"
cat .config "$source/init/main.c" >vmlinux; [ -L "$source/link" ] && ln -sf vmlinux System.map
mkdir -p include/config drivers/net
echo 6.1 >include/config/kernel.release; : >include/config/other; : >include/config/auto.conf; : >drivers/net/foo.o
echo drivers/net/foo.o >modules.order; cp vmlinux drivers/net/foo.ko`, Options{Arch: "arm64"})
	r, err := l.build(t.Context(), BuildOptions{Modules: true, GDB: true})
	if err != nil {
		t.Fatal(err)
	}
	if !r.NewImage || !r.NewModules || r.Objects != 1 {
		t.Errorf("%+v", r)
	}
	build := l.tree.BuildDir
	if got := read(t, build+"/vmlinux"); got != "CONFIG_A=y\n" {
		t.Errorf("the image is %q", got)
	}
	if got := read(t, build+"/include/config/kernel.release"); got != "6.1\n" {
		t.Errorf("the release is %q", got)
	}
	for _, name := range []string{"include/config/other", "include/config/auto.conf", "drivers/net/foo.o", "System.map"} {
		if _, err := os.Stat(filepath.Join(build, name)); err == nil {
			t.Errorf("%s came back", name)
		}
	}
	list := l.asked()
	there := strings.TrimPrefix(list[3], "O=")
	source := list[1]
	want := []string{"-C", source, "-j40", "O=" + there, "ARCH=arm64", "vmlinux", "modules", "KCFLAGS=-Wextra -fdebug-prefix-map=" + source + "=" + l.src, "LC_MESSAGES=C"}
	if !slices.Equal(list, want) {
		t.Errorf("make got\n%q, want\n%q", list, want)
	}
	if _, err := os.Stat(source + "/.git"); err == nil || !strings.HasPrefix(source, l.dir+"/home/.cache/run-kernel/trees/") {
		t.Errorf("the source there: %v, %s", err, source)
	}
	if d := of[event.Diagnostic](l.events); len(d) != 1 || d[0].File != "init/main.c" {
		t.Errorf("%+v", d)
	}
	if log := read(t, r.Log); strings.Contains(log, l.dir) || !strings.Contains(log, l.src+"/init/main.c:1:2") {
		t.Errorf("the log is %s", log)
	}
	if s := of[event.BuildStarted](l.events); len(s) != 1 || !slices.Equal(s[0].Command[:3], []string{"ssh", "me@buildbox", "make"}) {
		t.Errorf("%+v", s)
	}
	if n := of[event.Notice](l.events); len(n) != 1 || !strings.Contains(n[0].Text, "copying") {
		t.Errorf("told: %+v", n)
	}

	if shown, err := l.tree.Command(BuildOptions{Target: "vmlinux"}); err != nil || shown[0] != "ssh" || shown[len(shown)-1] != "vmlinux" || !strings.HasPrefix(shown[4], "~/.cache/run-kernel/trees/") {
		t.Errorf("%q %v", shown, err)
	}

	// An edit, a file that is gone, and the same image. What it compiles says nothing of
	// how many objects there are.
	l.events = new(recorder)
	counted := read(t, build+"/.run-kernel/objects.vmlinux")
	if !strings.HasPrefix(counted, "1 ") {
		t.Errorf("counted: %q", counted)
	}
	write(t, l.dir, map[string]string{"bin/make": strings.Replace(read(t, l.dir+"/bin/make"), "cat .config", "echo '  CC      init/version.o'; cat .config", 1)})
	write(t, l.src, map[string]string{"init/main.c": "int x;\n"})
	if err := os.Remove(l.src + "/drivers/net/foo.c"); err != nil {
		t.Fatal(err)
	}
	if r, err = l.build(t.Context(), BuildOptions{}); err != nil || !r.NewImage || read(t, build+"/vmlinux") != "CONFIG_A=y\nint x;\n" {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := os.Stat(source + "/drivers/net/foo.c"); err == nil {
		t.Error("a file that is gone here is left there")
	}
	if n := of[event.Notice](l.events); len(n) > 0 {
		t.Errorf("told: %+v", n)
	}
	if now := read(t, build+"/.run-kernel/objects.vmlinux"); now != counted {
		t.Errorf("counted: %q, and it was %q", now, counted)
	}
}

func TestBuildHostFails(t *testing.T) {
	for name, c := range map[string]struct {
		make       string
		change     func(*hostLab)
		text, hint string
	}{
		"broken code": {make: "echo \"$source/init/main.c:3:1: error: no\"; exit 2", text: "make failed", hint: "/build.log"},
		"no answer":   {change: func(l *hostLab) { l.here("ssh", "echo no route >&2; exit 255") }, text: "build host me@buildbox: ssh: no route", hint: "ssh me@buildbox true"},
		"no compiler": {change: func(l *hostLab) { l.tree.options.CC = "ccache gcc-99 -m64" }, text: "gcc-99: not found", hint: "gcc-99"},
		"no ssh":      {change: func(l *hostLab) { t.Setenv("PATH", l.dir+"/home") }, text: "ssh not found", hint: "openssh-client"},
		"another processor": {
			change: func(l *hostLab) {
				write(l.t, l.dir, map[string]string{"bin/uname": "#!/bin/sh\necho pdp11\n"})
			}, text: "architecture pdp11", hint: "--arch",
		},
		"a disk that is full": {change: func(l *hostLab) {
			write(l.t, l.dir, map[string]string{"bin/rsync": "#!/bin/sh\necho 'rsync: write failed: No space left on device (28)' >&2; exit 11\n"})
		}, text: "No space left", hint: "build host's disk is full"},
		"a disk that fills":     {make: "echo 'ld: final link failed: No space left on device'; exit 2", text: "make failed", hint: "build host's disk is full"},
		"a broken connection":   {make: "echo 'client_loop: send disconnect: Broken pipe' >&2; exit 255", text: "the connection ended: client_loop", hint: "run it again"},
		"nothing was built":     {make: "exit 0", text: "there is no ", hint: "build.log"},
		"in the source tree":    {change: func(l *hostLab) { l.tree.BuildDir = l.src }, text: "objects of its own", hint: "-O DIR"},
		"built in place before": {change: func(l *hostLab) { write(l.t, l.src, map[string]string{".config": ""}) }, text: "was built in place", hint: "mrproper"},
		"start-up files alone":  {change: func(l *hostLab) { l.here("ssh", "echo Welcome") }, text: `it said "Welcome\n"`, hint: "start-up files"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newHostLab(t, c.make, Options{})
			if c.change != nil {
				c.change(l)
			}
			_, err := l.build(t.Context(), BuildOptions{})
			var hinted interface{ Hint() string }
			if err == nil || !strings.Contains(err.Error(), c.text) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), c.hint) {
				t.Errorf("%v; %v", err, hinted)
			}
			if _, err := os.Stat(filepath.Join(l.tree.BuildDir, "vmlinux")); err == nil {
				t.Error("there is an image")
			}
		})
	}
}

// here replaces a program of this machine.
func (l *hostLab) here(name, script string) {
	l.t.Helper()
	dir, _, _ := strings.Cut(os.Getenv("PATH"), ":")
	write(l.t, dir, map[string]string{name: "#!/bin/sh\n" + script + "\n"})
}

// Another compiler there may change what .config is.
func TestBuildHostDiffers(t *testing.T) {
	l := newHostLab(t, ": >vmlinux", Options{Jobs: 3})
	write(t, l.dir, map[string]string{"bin/gcc": "#!/bin/sh\necho 'gcc 14'\n"})
	if _, err := l.build(t.Context(), BuildOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := of[event.Notice](l.events); len(n) != 2 || !strings.HasPrefix(n[0].Text, "me@buildbox compiles with gcc 14, and .config was made for gcc 12") {
		t.Errorf("told: %+v", n)
	}
	if list := l.asked(); list[2] != "-j3" {
		t.Errorf("make got %q", list)
	}
}

// The commands of an earlier build on this machine say nothing about one there.
func TestBuildHostAfterOneHere(t *testing.T) {
	l := newHostLab(t, "sleep .5; : >vmlinux", Options{})
	write(t, l.tree.BuildDir, map[string]string{
		"init/.main.o.cmd":         "savedcmd_init/main.o := ./cc -c -o init/main.o main.c\n",
		"cc":                       "#!/bin/sh\necho 'init/main.c:1:1: error: the configuration here was another'\n",
		"include/config/auto.conf": "",
	})
	if err := os.Chmod(l.tree.BuildDir+"/cc", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := l.build(t.Context(), BuildOptions{Changed: []string{l.src + "/init/main.c"}}); err != nil {
		t.Fatal(err)
	}
	if d := of[event.Diagnostic](l.events); len(d) > 0 {
		t.Errorf("told: %+v", d)
	}
}

// Two saves in one second are two, also when the file keeps its size.
func TestBuildHostSecondSave(t *testing.T) {
	l := newHostLab(t, `cat .config "$source/init/main.c" >vmlinux`, Options{})
	second := time.Now().Truncate(time.Second)
	for i, text := range []string{"1\n", "2\n"} {
		for _, path := range []string{l.src + "/init/main.c", l.tree.ConfigPath()} {
			write(t, filepath.Dir(path), map[string]string{filepath.Base(path): text})
			saved := second.Add(time.Duration(i+1) * time.Second / 4)
			if err := os.Chtimes(path, saved, saved); err != nil {
				t.Fatal(err)
			}
		}
		_, err := l.build(t.Context(), BuildOptions{})
		if got := read(t, l.tree.BuildDir+"/vmlinux"); err != nil || got != text+text {
			t.Errorf("%v: built from %q, want %q", err, got, text+text)
		}
	}
}

// A file that was saved before an object was written, and copied after that, is compiled: it
// was saved while make ran, or the clock there is ahead.
func TestBuildHostLateSave(t *testing.T) {
	l := newHostLab(t, `
[ main.o -nt "$source/init/main.c" ] && [ -e .main.o.cmd ] || { cat "$source/init/main.c" "$source/init/a.h" >main.o; echo "deps := $source/init/a.h $source/init/main.c" >.main.o.cmd; }
[ auto.conf -nt .config ] || { echo CONFIG_THERE=y >>.config; sleep .02; cp .config auto.conf; }
cat main.o auto.conf >vmlinux`, Options{})
	save := func(path, text string, ago time.Duration) {
		t.Helper()
		write(t, filepath.Dir(path), map[string]string{filepath.Base(path): text})
		if saved := time.Now().Add(-ago); os.Chtimes(path, saved, saved) != nil {
			t.Fatal(path)
		}
	}
	build := func(want string) {
		t.Helper()
		_, err := l.build(t.Context(), BuildOptions{})
		if got := read(t, l.tree.BuildDir+"/vmlinux"); err != nil || got != want {
			t.Errorf("%v: built from %q, want %q", err, got, want)
		}
	}
	main, header := l.src+"/init/main.c", l.src+"/init/a.h"
	save(main, "main 1\n", time.Hour)
	save(header, "a.h 1\n", time.Hour)
	save(l.tree.ConfigPath(), "CONFIG_A=1\n", time.Hour)
	build("main 1\na.h 1\nCONFIG_A=1\nCONFIG_THERE=y\n")
	save(main, "main 2\n", time.Minute)
	build("main 2\na.h 1\nCONFIG_A=1\nCONFIG_THERE=y\n")
	save(header, "a.h 2\n", time.Minute)
	build("main 2\na.h 2\nCONFIG_A=1\nCONFIG_THERE=y\n")
	save(l.tree.ConfigPath(), "CONFIG_A=2\n", time.Minute)
	build("main 2\na.h 2\nCONFIG_A=2\nCONFIG_THERE=y\n")
	// make there keeps its .config as long as this one is as it was.
	build("main 2\na.h 2\nCONFIG_A=2\nCONFIG_THERE=y\n")
}

// Build directories inside the source stay here, whatever they are named.
func TestBuildHostOtherBuilds(t *testing.T) {
	l := newHostLab(t, "cp .config vmlinux", Options{})
	for _, dir := range []string{"b", "out/arm*64", "d[1]"} {
		write(t, filepath.Join(l.src, dir), map[string]string{"big.o": ""})
		link(t, l.src, filepath.Join(l.src, dir, "source"))
	}
	write(t, l.src, map[string]string{"out/arm-64/mine.c": "", "d1/mine.c": ""})
	if _, err := l.build(t.Context(), BuildOptions{}); err != nil {
		t.Fatal(err)
	}
	var copied []string
	_ = filepath.WalkDir(l.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (d.Name() == "big.o" || d.Name() == "mine.c") {
			copied = append(copied, d.Name())
		}
		return nil
	})
	if got := strings.Join(copied, " "); got != "mine.c mine.c" {
		t.Errorf("copied: %s", got)
	}
}

// What comes back has the rights that files of this user have, whatever it has there: a
// program of the build host's that anybody may run with this user's rights is none here.
func TestBuildHostRights(t *testing.T) {
	l := newHostLab(t, `echo >vmlinux; chmod 6777 vmlinux; echo >drivers.ko; chmod 4777 drivers.ko`, Options{})
	if _, err := l.build(t.Context(), BuildOptions{Modules: true}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vmlinux", "drivers.ko"} {
		st, err := os.Stat(filepath.Join(l.tree.BuildDir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode()&(os.ModeSetuid|os.ModeSetgid|0o022) != 0 {
			t.Errorf("%s has the mode %s", name, st.Mode())
		}
	}
}

// When the connection ends, so does make there, with all that it has started: a link that
// goes on would be in the way of the next make. The same if nothing comes any more, as when
// the network has gone.
func TestBuildHostLifeLine(t *testing.T) {
	for _, silent := range []bool{false, true} {
		l := newHostLab(t, `
(echo runs; sleep 3; echo 'a step of make goes on')
echo 'make goes on'`, Options{})
		if silent {
			write(t, l.dir, map[string]string{"bin/timeout": "#!/bin/sh\n[ $1 = " + lifeSilence + " ] || exit 9\nshift\nexec /usr/bin/timeout 0.5 \"$@\"\n"})
		}
		h, err := l.tree.reach(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cmd, err := h.command([]string{"vmlinux"})
		if err != nil {
			t.Fatal(err)
		}
		life, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		guard := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer guard.Stop()
		_, _ = life.Write([]byte{'.'})
		said := ""
		for b := make([]byte, 100); !strings.Contains(said, "runs"); {
			n, err := out.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			said += string(b[:n])
		}
		if !silent {
			_ = life.Close()
		}
		rest, _ := io.ReadAll(out)
		if err := cmd.Wait(); err == nil || strings.Contains(string(rest), "goes on") {
			t.Errorf("silent %v: %q %v", silent, rest, err)
		}
	}
}

// The life line of a build isn't silent.
func TestBuildHostBeats(t *testing.T) {
	l := newHostLab(t, `until [ -s "$(dirname "$0")/../beats" ]; do sleep 0.1; done; echo >vmlinux`, Options{})
	write(t, l.dir, map[string]string{"bin/timeout": "#!/bin/sh\nshift\n\"$@\" | tee -a " + l.dir + "/beats\n"})
	if _, err := l.build(t.Context(), BuildOptions{}); err != nil {
		t.Fatal(err)
	}
	if beats := read(t, l.dir+"/beats"); !strings.HasPrefix(beats, ".") {
		t.Errorf("the life line said %q", beats)
	}
}
