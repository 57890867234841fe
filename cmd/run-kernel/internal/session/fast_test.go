// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kbuild/kbuildtest"
	"github.com/metaspace/run-kernel/watch"
)

// builderMake says for a short build and a full one what the files "short" and "full" have,
// runs them, and logs which it was.
const builderMake = `#!/bin/sh
cd "$2"
case "$*" in
*single-goals=*) echo "${*##*vmlinux }" >>../made; . ../short;;
*) echo full >>../made; . ../full;;
esac
`

// A builderLab is a small kernel that was built in its source.
type builderLab struct {
	*kbuildtest.Tree
	*builder
	t       *testing.T
	options kbuild.BuildOptions

	mu     sync.Mutex
	events []event.Event
}

func newBuilderLab(t *testing.T) *builderLab {
	t.Helper()
	l := &builderLab{Tree: kbuildtest.New(t), t: t}
	cmd := func(name string) string {
		return fmt.Sprintf("cmd_%[1]s.o := gcc -Wp,-MMD,x.d -c -o %[1]s.o %[2]s/%[1]s.c\n\nsource_%[1]s.o := %[2]s/%[1]s.c\n\ndeps_%[1]s.o := \\\n  %[2]s/include/linux/a.h \\\n\n%[1]s.o: $(deps_%[1]s.o)\n\n$(deps_%[1]s.o):\n", name, l.Dir)
	}
	archive := func(names ...string) string {
		table := strings.Join(names, "/\n") + "/\n"
		if len(table)%2 == 1 {
			table += "\n"
		}
		text := fmt.Sprintf("!<thin>\n%-48s%-10d`\n%s", "//", len(table), table)
		at := 0
		for _, n := range names {
			text += fmt.Sprintf("%-48s%-10d`\n", fmt.Sprintf("/%d", at), 8)
			at += len(n) + 2
		}
		return text
	}
	for path, text := range map[string]string{
		"../bin/make": builderMake, "Makefile": "VERSION = 6\nPATCHLEVEL = 1\n\t$(Q)$(MAKE) $(build)=$@ need-builtin=1 need-modorder=1 $(single-goals)\n",
		".config": "CONFIG_64BIT=y\nCONFIG_PVH=y\n", "vmlinux": "", "include/linux/a.h": "", "fs/other.c": "", "kernel/fork.c": "",
		"init/main.o": "", "init/.main.o.cmd": cmd("init/main"), "kernel/fork.o": "", "kernel/.fork.o.cmd": cmd("kernel/fork"),
		"init/built-in.a": archive("main.o"), "kernel/built-in.a": archive("fork.o"), "built-in.a": archive("init/main.o", "kernel/fork.o"),
	} {
		l.Write(path, text)
	}
	past := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(l.Dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, past, past)
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Write("include/config/auto.conf", "CONFIG_64BIT=y\n")
	l.plays("full", "echo '  CALL    scripts/checksyscalls.sh'")
	l.compiles("init/main", "kernel/fork")
	tree, err := kbuild.Find(kbuild.Options{Dir: l.Dir, Arch: "x86"})
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	s := &Session{Options: Options{Config: &c, Events: l.sink}}
	s.Kernel = &prepare.Kernel{Tree: tree, Config: &c, Events: l.sink}
	l.builder = newBuilder(s)
	l.list(t.Context())
	l.options = kbuild.BuildOptions{Image: filepath.Join(l.Dir, "vmlinux"), Target: "vmlinux", Events: l.sink}
	return l
}

func (l *builderLab) sink(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// plays is what make does in one of its two ways.
func (l *builderLab) plays(way, script string) {
	l.t.Helper()
	l.Write("../"+way, script+"\n")
}

// compiles lets a short build compile those of the objects that it is asked for, and link.
func (l *builderLab) compiles(stems ...string) {
	l.t.Helper()
	var script strings.Builder
	for _, s := range stems {
		dir, base := filepath.Split(s)
		fmt.Fprintf(&script, "case \"$*\" in *%s.o*) echo '  CC      %s.o'; echo > %s.o; cp ../%s.cmd %s.%s.o.cmd;; esac\n", s, s, s, base, dir, base)
		data, err := os.ReadFile(filepath.Join(l.Dir, dir, "."+base+".o.cmd"))
		if err != nil {
			l.t.Fatal(err)
		}
		l.Write("../"+base+".cmd", string(data))
	}
	l.plays("short", script.String()+"echo '  LD      vmlinux'; sleep .01; echo > vmlinux")
}

// save changes a file and tells of it.
func (l *builderLab) save(paths ...string) {
	l.t.Helper()
	for _, p := range paths {
		l.Write(p, "/* changed */\n")
		l.saved([]string{filepath.Join(l.Dir, p)})
	}
}

// builds builds, and checks how.
func (l *builderLab) builds(want ...string) error {
	l.t.Helper()
	_, err := l.build(l.t.Context(), l.options)
	l.made(want...)
	return err
}

func (l *builderLab) made(want ...string) {
	l.t.Helper()
	path := filepath.Join(l.Dir, "../made")
	data, err := os.ReadFile(path)
	if err != nil {
		l.t.Fatal(err)
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(string(data)), "\n")); diff != "" {
		l.t.Errorf("make (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func told[E event.Event](l *builderLab) []E {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []E
	for _, e := range l.events {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

func (l *builderLab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// An object that make wrote after its source had been saved, but had compiled before, is
// compiled again, although its time says that it is up to date.
func TestBuilderSaveWhileItCompiles(t *testing.T) {
	for name, tell := range map[string]func(l *builderLab){
		"a file":    func(l *builderLab) { l.saved([]string{filepath.Join(l.Dir, "init/main.c")}) },
		"a header":  func(l *builderLab) { l.saved([]string{filepath.Join(l.Dir, "include/linux/a.h")}) },
		"too many":  func(l *builderLab) { l.lost() },
		"not short": func(l *builderLab) { l.off = true; l.saved([]string{filepath.Join(l.Dir, "init/main.c")}) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newBuilderLab(t)
			l.must(l.builds("full"))
			saved := "init/main.c"
			if name == "a header" {
				saved = "include/linux/a.h"
			}
			l.lost()
			l.plays("full", "sleep .1; echo '/* new */' >"+saved+"; sleep .02; echo >init/main.o; exit 2")
			if err := l.builds("full"); err == nil {
				t.Error("make didn't fail")
			}
			tell(l)
			l.plays("full", "[ -e init/.main.o.cmd ] || echo compiles >>../made; [ -e kernel/.fork.o.cmd ] || echo too much >>../made")
			l.must(l.builds("full", "compiles"))
		})
	}
}

// A header that nothing has read may be what a short build reads when the header is saved:
// the object then has what was in it before, and make goes by the times.
func TestBuilderSaveOfWhatIsNotReadYet(t *testing.T) {
	l := newBuilderLab(t)
	l.Write("include/linux/b.h", "")
	l.list(t.Context())
	l.must(l.builds("full"))
	header := filepath.Join(l.Dir, "include/linux/b.h")
	if !l.unread(header) {
		t.Fatal("something reads the header")
	}
	l.plays("short", "echo '  CC      init/main.o'; : >../began; while [ ! -e ../saved ]; do sleep .01; done; echo >init/main.o;"+
		"sed 's|/a.h|/b.h|' ../main.cmd >init/.main.o.cmd; echo '  LD      vmlinux'; sleep .01; echo >vmlinux")
	l.save("init/main.c")
	built := make(chan error)
	go func() {
		_, err := l.build(t.Context(), l.options)
		built <- err
	}()
	for {
		if _, err := os.Stat(filepath.Join(l.Dir, "../began")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if l.unread(header) {
		t.Error("while an object is compiled, it is said that it doesn't read the header")
	}
	l.save("include/linux/b.h")
	l.Write("../saved", "")
	l.must(<-built)
	l.made(shortMain)
	l.must(l.builds(shortMain))
}

// A build that reads a file by a link has it by the link's name, of which a save tells
// nothing.
func TestBuilderLinks(t *testing.T) {
	for _, name := range []string{"fs/linux/b.h", "fs/b.h"} {
		for _, isNew := range []bool{false, true} {
			l := newBuilderLab(t)
			l.Write("include/linux/b.h", "")
			link, to := "fs/linux", "../include/linux"
			if name == "fs/b.h" {
				link, to = "fs/b.h", "../include/linux/b.h"
			}
			l.must(os.Symlink(to, filepath.Join(l.Dir, link)))
			cmd := filepath.Join(l.Dir, "kernel/.fork.o.cmd")
			data, err := os.ReadFile(cmd)
			l.must(err)
			l.must(os.WriteFile(cmd, []byte(strings.ReplaceAll(string(data), "include/linux/a.h", name)), 0o644))
			l.compiles("init/main", "kernel/fork")
			if isNew {
				l.saved([]string{filepath.Join(l.Dir, link)})
			} else {
				l.list(t.Context())
			}
			l.must(l.builds("full"))
			if l.unread(filepath.Join(l.Dir, "include/linux/b.h")) {
				t.Errorf("%s, new: %v: nothing is said to read what it leads to", name, isNew)
			}
			l.save("include/linux/b.h")
			l.must(l.builds("full"))
			l.save("kernel/fork.c")
			l.must(l.builds("single-goals=./kernel/fork.o"))

			// The same for an object that has what was there before.
			l.save("Makefile.local")
			l.plays("full", "sleep .1; echo '/* new */' >include/linux/b.h; sleep .02; echo >kernel/fork.o; exit 2")
			if err := l.builds("full"); err == nil {
				t.Error("make didn't fail")
			}
			l.saved([]string{filepath.Join(l.Dir, "include/linux/b.h")})
			l.plays("full", "[ -e kernel/.fork.o.cmd ] || echo compiles >>../made")
			l.must(l.builds("full", "compiles"))
		}
	}
}

// A file that takes the place of another one, and keeps its time, is compiled also where that
// is older than the object.
func TestBuilderReplaced(t *testing.T) {
	l := newBuilderLab(t)
	l.off = true
	l.Write("init/main.c", "")
	saved := time.Now().Add(-time.Minute)
	for name, at := range map[string]time.Time{"init/main.c": saved, "init/main.o": saved.Add(time.Second), "kernel/fork.o": saved.Add(time.Second)} {
		l.must(os.Chtimes(filepath.Join(l.Dir, name), at, at))
	}
	l.must(l.builds("full"))
	l.plays("full", "[ -e init/.main.o.cmd ] || echo compiles >>../made; [ -e kernel/.fork.o.cmd ] || echo too much >>../made")
	l.Write("init/main.c.bak", "/* as it was */\n")
	l.must(os.Chtimes(filepath.Join(l.Dir, "init/main.c.bak"), saved, saved))
	l.must(os.Rename(filepath.Join(l.Dir, "init/main.c.bak"), filepath.Join(l.Dir, "init/main.c")))
	l.saved([]string{filepath.Join(l.Dir, "init/main.c")})
	l.must(l.builds("full", "compiles"))
}

const shortMain = "single-goals=./init/main.o"

// A change of a module outside of the tree builds nothing in it.
func TestBuilderExternal(t *testing.T) {
	l := newBuilderLab(t)
	outside := t.TempDir()
	l.kernel.Tree.External = []string{outside}
	l.must(l.builds("full"))
	l.save("init/main.c")
	l.must(l.builds(shortMain))
	l.saved([]string{filepath.Join(outside, "mine.c")})
	l.must(l.builds(""))
	if !l.unproved() {
		t.Error("the short build before needs no proof any more")
	}
	l.saved([]string{filepath.Join(outside, "mine.c"), filepath.Join(l.Dir, "init/main.c")})
	l.must(l.builds(shortMain))
	l.lost()
	l.saved([]string{filepath.Join(outside, "mine.c")})
	l.must(l.builds("full"))

	// The tree is in the directory of the modules.
	l.kernel.Tree.External = []string{filepath.Dir(l.Dir)}
	l.save("init/main.c")
	l.must(l.builds(shortMain))
}

// A tree in a directory of modules is watched once, with what is said of it.
func TestExternalOptions(t *testing.T) {
	tree := &kbuild.Tree{Source: "/mine/linux", External: []string{"/mine", "/mine/linux/drivers/mine", "/other"}}
	s := &Session{Kernel: &prepare.Kernel{Tree: tree}}
	for i, o := range s.externalOptions(watch.Options{Ignore: []string{"/build"}}) {
		want := []string{"/build"}
		if i == 0 {
			want = append(want, tree.Source)
		}
		if o.Root != tree.External[i] || !slices.Equal(o.Ignore, want) {
			t.Errorf("%s without %q, want %q", o.Root, o.Ignore, want)
		}
	}
}

func TestBuilder(t *testing.T) {
	l := newBuilderLab(t)
	l.must(l.builds("full"))
	l.save("init/main.c")
	l.must(l.builds(shortMain))
	if !l.unproved() {
		t.Error("a short build needs no proof")
	}
	r, err := l.prove(t.Context(), l.options)
	l.must(err)
	l.made("full")
	if r.NewImage {
		t.Error("the full make linked")
	}
	if p := told[event.BuildProved](l); len(p) != 1 || len(p[0].Missed) > 0 {
		t.Errorf("%+v", p)
	}
	l.save("include/linux/a.h")
	l.must(l.builds("single-goals=./init/main.o ./kernel/fork.o"))
	if n := told[event.Notice](l); len(n) != 1 || !strings.HasPrefix(n[0].Text, "include/linux/a.h: rebuilds 2 objects") {
		t.Errorf("notices: %+v", n)
	}

	// Nobody says what changed.
	l.must(l.builds("full"))
	l.save("init/main.c")
	l.lost()
	l.must(l.builds("full"))
	l.save("init/main.c")
	l.must(l.builds(shortMain))

	// A file that isn't C; one that is new, and then isn't any more.
	l.save("Makefile.local")
	l.must(l.builds("full"))
	l.save("init/new.c")
	if l.unread(filepath.Join(l.Dir, "init/new.c")) {
		t.Error("a new file is said to be read by nothing")
	}
	l.must(l.builds("full"))
	for path, want := range map[string]bool{"init/new.c": true, "fs/other.c": true, "init/main.c": false, "fs/none.c": false, "Makefile": false} {
		if got := l.unread(filepath.Join(l.Dir, path)); got != want {
			t.Errorf("%s: unread %v", path, got)
		}
	}
}

// After a mistake, the files that were changed before are still to be built.
func TestBuilderMistake(t *testing.T) {
	l := newBuilderLab(t)
	l.must(l.builds("full"))
	good, err := os.ReadFile(filepath.Join(l.Dir, "../short"))
	l.must(err)
	l.plays("short", "echo '  CC      init/main.o'; echo \"init/main.c:1:2: error: expected ';'\"; exit 2")
	l.save("init/main.c")
	if err := l.builds(shortMain); err == nil {
		t.Error("no error")
	}
	if l.unread(filepath.Join(l.Dir, "fs/other.c")) {
		t.Error("something is certain while an object is missing")
	}
	l.Write("../short", string(good))
	l.save("kernel/fork.c")
	l.must(l.builds("single-goals=./init/main.o ./kernel/fork.o"))
	l.save("kernel/fork.c")
	l.must(l.builds("single-goals=./kernel/fork.o"))

	// One that may have another cause.
	l.plays("short", "echo 'ld: undefined reference to x'; exit 2")
	l.save("init/main.c")
	l.must(l.builds(shortMain, "full"))
	if n := told[event.Notice](l); len(n) != 1 || !strings.HasPrefix(n[0].Text, "make walks the whole tree: the short build failed") {
		t.Errorf("notices: %+v", n)
	}
}

// A build that was overtaken is made up for.
func TestBuilderOvertaken(t *testing.T) {
	l := newBuilderLab(t)
	l.must(l.builds("full"))
	good, err := os.ReadFile(filepath.Join(l.Dir, "../short"))
	l.must(err)
	l.plays("short", "echo '  CC      init/main.o'; : >../began; sleep 60")
	l.save("init/main.c")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(l.Dir, "../began")); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := l.build(ctx, l.options); err == nil {
		t.Error("no error")
	}
	l.made(shortMain)
	l.Write("../short", string(good))
	l.save("kernel/fork.c")
	l.must(l.builds("single-goals=./init/main.o ./kernel/fork.o"))
}

func TestBuilderMissed(t *testing.T) {
	l := newBuilderLab(t)
	l.must(l.builds("full"))
	l.save("init/main.c")
	l.must(l.builds(shortMain))
	l.plays("full", "echo '  CALL    scripts/checksyscalls.sh'; echo '  CC      init/version.o'; echo '  LD      vmlinux'; echo new > vmlinux")
	r, err := l.prove(t.Context(), l.options)
	l.must(err)
	l.made("full")
	if !r.NewImage {
		t.Error("the image isn't new")
	}
	steps := []string{"CC init/version.o", "LD vmlinux"}
	if diff := cmp.Diff(steps, told[event.BuildProved](l)[0].Missed); diff != "" {
		t.Error(diff)
	}
	if w := told[event.Warning](l); len(w) != 1 || !strings.Contains(w[0].Text, "CC init/version.o") || !strings.Contains(w[0].Hint, "missed.json") {
		t.Errorf("%+v", w)
	}
	var m kbuild.Missed
	data, err := os.ReadFile(filepath.Join(l.Dir, ".run-kernel/missed.json"))
	l.must(err)
	l.must(json.Unmarshal(data, &m))
	want := kbuild.Missed{Time: m.Time, Kernel: "6.1", Changed: []string{"init/main.c"}, Compiled: []string{"init/main.o"}, Steps: steps}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	l.save("init/main.c")
	l.must(l.builds("full"))
	l.save("init/main.c")
	l.must(l.builds("full"))
}

// What was saved while the full make ran isn't what a short build has missed.
func TestBuilderProofOfALaterSave(t *testing.T) {
	l := newBuilderLab(t)
	l.must(l.builds("full"))
	l.save("init/main.c")
	l.must(l.builds(shortMain))
	time.Sleep(20 * time.Millisecond) // more than a tick of the file system's clock
	l.save("kernel/fork.c")
	l.plays("full", "echo '  CC      kernel/fork.o'; echo '  LD      vmlinux'")
	_, err := l.prove(t.Context(), l.options)
	l.must(err)
	l.made("full")
	if p := told[event.BuildProved](l); len(p) != 0 {
		t.Errorf("%+v", p)
	}
	l.must(l.builds("single-goals=./kernel/fork.o"))
}

// What make itself has written while it ran isn't what was saved then, but for the name of
// the release, which a commit changes.
func TestBuilderProofWritesHeaders(t *testing.T) {
	for header, missed := range map[string]bool{"fs/table.h": true, "include/generated/utsrelease.h": false} {
		l := newBuilderLab(t)
		cmd := filepath.Join(l.Dir, "kernel/.fork.o.cmd")
		data, err := os.ReadFile(cmd)
		l.must(err)
		l.must(os.WriteFile(cmd, []byte(strings.ReplaceAll(string(data), "include/linux/a.h", header)), 0o644))
		l.Write(header, "")
		l.must(l.builds("full"))
		l.save("init/main.c")
		l.must(l.builds(shortMain))
		l.plays("full", "sleep .02; echo '  GEN     "+header+"'; echo new >"+header+"; echo '  CC      kernel/fork.o'; echo '  LD      vmlinux'; echo new >vmlinux")
		r, err := l.prove(t.Context(), l.options)
		l.must(err)
		l.made("full")
		if p := told[event.BuildProved](l); len(p) > 0 != missed || r.NewImage != missed {
			t.Errorf("%s: %+v, a new image: %v", header, p, r.NewImage)
		}
	}
}

// A full make that fails because of what was saved while it ran proves nothing against short
// builds.
func TestBuilderProofOfALaterMistake(t *testing.T) {
	for name, c := range map[string]struct{ save, says string }{
		"a source":   {"kernel/fork.c", "  CC      kernel/fork.o\nkernel/fork.c:1:2: error: expected ';'"},
		"a Makefile": {"kernel/Makefile", "kernel/Makefile:1: *** missing separator.  Stop."},
		"a header that is gone": {"", "  CC      kernel/fork.o\n" +
			"kernel/fork.c:1:2: fatal error: linux/a.h: No such file or directory"},
		"nothing": {"", "  CC      kernel/fork.o\nkernel/fork.c:1:2: error: expected ';'"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBuilderLab(t)
			l.must(l.builds("full"))
			l.save("init/main.c")
			l.must(l.builds(shortMain))
			l.plays("full", "echo \""+c.says+"\"; exit 2")
			time.Sleep(20 * time.Millisecond) // more than a tick of the file system's clock
			switch {
			case c.save != "":
				l.save(c.save)
			case strings.Contains(c.says, "No such file"):
				l.must(os.Remove(filepath.Join(l.Dir, "include/linux/a.h")))
				l.saved([]string{filepath.Join(l.Dir, "include/linux/a.h")})
			}
			if _, err := l.prove(t.Context(), l.options); err == nil {
				t.Error("no error")
			}
			l.made("full")
			l.plays("full", "true")
			l.Write("include/linux/a.h", "")
			l.save("kernel/fork.c")
			l.must(l.builds("full"))
			l.save("init/main.c")
			if name == "nothing" {
				l.must(l.builds("full"))
			} else {
				l.must(l.builds(shortMain))
			}
		})
	}
}

// A full make that was stopped has left nothing behind, or it takes another.
func TestBuilderProofStopped(t *testing.T) {
	for output, want := range map[string]string{"  CALL    scripts/checksyscalls.sh": shortMain, "  CC      init/version.o": "full"} {
		l := newBuilderLab(t)
		l.must(l.builds("full"))
		l.save("init/main.c")
		l.must(l.builds(shortMain))
		l.plays("full", "echo '"+output+"'; : >../began; sleep 60")
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				if _, err := os.Stat(filepath.Join(l.Dir, "../began")); err == nil {
					cancel()
				}
				time.Sleep(time.Millisecond)
			}
		}()
		if _, err := l.prove(ctx, l.options); err == nil {
			t.Error("no error")
		}
		l.made("full")
		l.plays("full", "true")
		l.save("init/main.c")
		l.must(l.builds(want))
	}
}

// make by hand is seen.
func TestBuilderOtherMake(t *testing.T) {
	l := newBuilderLab(t)
	l.must(l.builds("full"))
	l.must(os.Remove(filepath.Join(l.Dir, "kernel/.fork.o.cmd")))
	l.save("init/main.c")
	l.must(l.builds("full"))
}

// What compile_commands.json is made from is there after each build, and asking for it
// takes nothing away from the next short build.
func TestBuilderObjects(t *testing.T) {
	for _, off := range []bool{false, true} {
		l := newBuilderLab(t)
		l.off = off
		short := func(want string) string {
			if off {
				return "full"
			}
			return want
		}
		check := func(what string, changed ...string) {
			t.Helper()
			objects, names, err := l.objects()
			l.must(err)
			if len(objects) != 2 || objects[0].Name != "init/main.o" || objects[1].Name != "kernel/fork.o" {
				t.Errorf("%s: the objects are %+v", what, objects)
			}
			if off {
				// Its make writes no .cmd file.
				changed = slices.DeleteFunc(changed, func(name string) bool { return what != "at first" })
			}
			slices.Sort(names)
			if names = slices.Compact(names); !slices.Equal(names, changed) {
				t.Errorf("%s: %v changed, want %v", what, names, changed)
			}
		}
		l.must(l.builds("full"))
		check("at first", "init/main.o", "kernel/fork.o")
		check("at once again")
		l.save("init/main.c")
		l.must(l.builds(short(shortMain)))
		check("after a short build", "init/main.o")
		if off {
			continue
		}
		good, err := os.ReadFile(filepath.Join(l.Dir, "../short"))
		l.must(err)
		l.plays("short", "echo \"init/main.c:1:2: error: expected ';'\"; exit 2")
		l.save("init/main.c")
		if err := l.builds(shortMain); err == nil {
			t.Error("no error")
		}
		check("after a mistake")
		l.Write("../short", string(good))
		l.save("kernel/fork.c")
		l.must(l.builds("single-goals=./init/main.o ./kernel/fork.o"))
		check("after it was mended", "init/main.o", "kernel/fork.o")
	}
}

func TestBuilderOff(t *testing.T) {
	l := newBuilderLab(t)
	l.off = true
	l.must(l.builds("full"))
	l.save("init/main.c")
	l.must(l.builds("full"))
	if l.unproved() || l.unread(filepath.Join(l.Dir, "fs/other.c")) {
		t.Error("it isn't off")
	}
}

// A .cmd file that a killed build has left incomplete makes make compile the object again.
func TestBuilderRepairs(t *testing.T) {
	l := newBuilderLab(t)
	path := filepath.Join(l.Dir, "init/.main.o.cmd")
	data, err := os.ReadFile(path)
	l.must(err)
	l.must(os.WriteFile(path, data[:len(data)-4], 0o644))
	l.must(l.builds("full"))
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
