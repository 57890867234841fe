// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/boottest"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/tty"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kbuild/kbuildtest"
)

func TestMain(m *testing.M) {
	tty.Main()
	boottest.Main()
	os.Exit(m.Run())
}

// limit is for what has to happen at some time, on any machine.
const limit = time.Minute

// A lab is a source tree with a make and a qemu of its own.
type lab struct {
	*kbuildtest.Tree
	*boottest.Lab
	t      *testing.T
	source *kbuild.Tree
	config config.Config

	stdout *os.File
	events chan event.Event // all of them, in their order
	mu     sync.Mutex
	seen   []event.Event
}

// newLab makes a lab whose guest behaves as boottest says.
func newLab(t *testing.T, guest string) *lab {
	t.Helper()
	l := &lab{Tree: kbuildtest.New(t), Lab: boottest.New(t, guest), t: t, config: config.Default(), events: make(chan event.Event, 1000)}
	image, err := os.ReadFile(l.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	l.Write("../kernel", string(image))
	l.Write("../image", "arch/x86/boot/bzImage")
	l.Write("../refused", "PVH\n") // so that the image is bzImage
	if l.source, err = kbuild.Find(kbuild.Options{Dir: l.Tree.Dir, Arch: "x86"}); err != nil {
		t.Fatal(err)
	}
	r := &l.config.Run
	r.QEMU, r.Virtiofsd, r.Accel, r.Userland, r.MemoryGiB = l.QEMU, l.Virtiofsd, "tcg", l.Lab.Dir, 1
	if l.stdout, err = os.Create(filepath.Join(t.TempDir(), "stdout")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.stdout.Close() })
	return l
}

func (l *lab) sink(e event.Event) {
	l.mu.Lock()
	l.seen = append(l.seen, e)
	l.mu.Unlock()
	l.events <- e
}

func (l *lab) options() Options {
	null, err := os.Open(os.DevNull)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = null.Close() })
	return Options{
		Command: "test", Config: &l.config, Dir: "/", Events: l.sink, Turns: true,
		Terminal: &Terminal{Stdin: null, Stdout: l.stdout, Stderr: l.stdout, Events: l.sink},
	}
}

// open begins a session that is closed with the test.
func (l *lab) open() (context.Context, *Session) {
	l.t.Helper()
	ctx, s, err := Open(l.t.Context(), l.source, l.options())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = s.Close() })
	return ctx, s
}

// output is what commands have written to standard output.
func (l *lab) output() string {
	l.t.Helper()
	data, err := os.ReadFile(l.stdout.Name())
	if err != nil {
		l.t.Fatal(err)
	}
	return string(data)
}

// await waits for an event that matches.
func await[E event.Event](l *lab, matches func(E) bool) E {
	l.t.Helper()
	late := time.After(limit)
	for {
		select {
		case e := <-l.events:
			if e, ok := e.(E); ok && matches(e) {
				return e
			}
		case <-late:
			l.mu.Lock()
			defer l.mu.Unlock()
			l.t.Fatalf("no such %T in %+v", *new(E), l.seen)
		}
	}
}

func all[E event.Event](l *lab) []E {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []E
	for _, e := range l.seen {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

func TestOnce(t *testing.T) {
	l := newLab(t, "answers")
	ctx, s := l.open()
	status, err := s.Once(ctx, Once{Argv: []string{"echo from the guest; exit 3"}})
	if err != nil || status != 3 {
		t.Fatalf("status %d, %v", status, err)
	}
	if got := l.output(); got != "from the guest\n" {
		t.Errorf("output %q", got)
	}
	var phases []event.Phase
	for _, p := range all[event.PhaseStarted](l) {
		phases = append(phases, p.Phase)
	}
	if want := []event.Phase{event.PhaseCheck, event.PhaseBuild, event.PhaseBoot, event.PhaseRun}; !slices.Equal(phases, want) {
		t.Errorf("phases %v", phases)
	}
	if made := strings.Fields(l.Made()); len(made) < 2 || made[0] != "defconfig" || made[len(made)-1] != "bzImage" {
		t.Errorf("make %s", made)
	}

	// What is there boots without make.
	if status, err := s.Once(ctx, Once{NoBuild: true, Argv: []string{"true"}}); err != nil || status != 0 {
		t.Errorf("without a build: status %d, %v", status, err)
	}
	if made := l.Made(); made != "" {
		t.Errorf("make %s", made)
	}
}

func TestOnceWithoutTree(t *testing.T) {
	l := newLab(t, "answers")
	l.config.Run.Kernel = l.Kernel
	s := OpenImage(l.options())
	if status, err := s.Once(t.Context(), Once{Argv: []string{"exit 4"}}); err != nil || status != 4 {
		t.Errorf("status %d, %v", status, err)
	}
	if made := l.Made(); made != "" {
		t.Errorf("make %s", made)
	}
}

func TestGuestCrashes(t *testing.T) {
	l := newLab(t, "panics")
	ctx, s := l.open()
	_, err := s.Once(ctx, Once{Argv: []string{"true"}})
	if !errors.As(err, new(*boot.CrashError)) {
		t.Errorf("got %v", err)
	}
	stopped := all[event.VMStopped](l)
	if len(stopped) != 1 || len(stopped[0].Tail) == 0 {
		t.Errorf("the console's end isn't shown: %+v", stopped)
	}
}

// A build directory has one session at a time, but for VMs with names.
func TestBusy(t *testing.T) {
	l := newLab(t, "answers")
	_, s := l.open()
	if _, _, err := Open(t.Context(), l.source, l.options()); !errors.As(err, new(*control.BusyError)) {
		t.Errorf("a second session: %v", err)
	}
	o := l.options()
	o.Name = "second"
	ctx, named, err := Open(t.Context(), l.source, o)
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	if _, err := named.Once(ctx, Once{Argv: []string{"true"}}); !errors.As(err, new(*control.BusyError)) {
		t.Errorf("a build beside the first session: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if status, err := named.Once(ctx, Once{Argv: []string{"true"}}); err != nil || status != 0 {
		t.Errorf("afterwards: status %d, %v", status, err)
	}
}

func TestLoop(t *testing.T) {
	l := newLab(t, "answers")
	l.config.Watch.Exec = "echo turn"
	l.config.Watch.Ignore = []string{filepath.Join(l.Tree.Dir, "arch")} // the image; no git says so
	ctx, s := l.open()
	ended := make(chan error, 1)
	go func() { ended <- s.Loop(ctx, nil) }()
	finished := func(f event.CommandFinished) bool { return f.Status == 0 && f.Command == "echo turn" }
	await(l, finished)
	l.Write("init/main.c", "int x;\n")
	changed := await(l, func(event.Changed) bool { return true })
	if !slices.Equal(changed.Paths, []string{"init/main.c"}) {
		t.Errorf("changed: %v", changed.Paths)
	}
	await(l, finished)

	// Another terminal sees the guest, runs a command in it, and ends it all.
	address := control.Address{Build: l.source.BuildDir}
	client, err := control.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if status, err := client.Status(); err != nil || !status.Guest || status.Command != "test" {
		t.Errorf("status %+v, %v", status, err)
	}
	var out strings.Builder
	if status, err := boot.Run(t.Context(), client.Client, boot.Command{Shell: "echo other; exit 7", Stdout: &out, Stderr: io.Discard}); err != nil || status != 7 || out.String() != "other\n" {
		t.Errorf("exec: status %d, %q, %v", status, out.String(), err)
	}
	stopping, err := control.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer stopping.Close()
	go func() { _, _ = stopping.Stop(t.Context()) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the loop ends with %v", err)
		}
	case <-time.After(limit):
		t.Fatal("the loop goes on")
	}
}

// A turn isn't a good one when its guest, or its command, came to nothing after the boot.
func TestTurnThatFails(t *testing.T) {
	for _, c := range []struct{ guest, exec, user, want string }{
		{"answers", "true", "", "status 0"},
		{"answers", "kill -USR2 $PPID; sleep 60", "", "failed"}, // it panics
		{"answers", "kill -USR1 $PPID; sleep 60", "", "failed"}, // it powers off
		{"answers", "true", "nobody-has-this-name", "failed"},
	} {
		t.Run(c.exec, func(t *testing.T) {
			l := newLab(t, c.guest)
			l.config.Watch.Exec, l.config.Run.User = c.exec, c.user
			l.config.Watch.Ignore = []string{filepath.Join(l.Tree.Dir, "arch")} // the image; no git says so
			ctx, s := l.open()
			ctx, cancel := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() { ended <- s.Loop(ctx, nil) }()
			if turn := await(l, func(event.TurnFinished) bool { return true }); turn.Result != c.want {
				t.Errorf("%s, want %s", turn.Result, c.want)
			}
			cancel()
			<-ended
		})
	}
}

// A flake may get more files while it is watched.
func TestLoopWatchesTheFlake(t *testing.T) {
	l := newLab(t, "answers")
	bin, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	flake := filepath.Join(bin, "vms")
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
			t.Fatal(err)
		}
	}
	// What nix makes of it doesn't matter, but that there is something at first.
	write(filepath.Join(bin, "system/init"), "", 0o755)
	write(filepath.Join(bin, "nix"), `#!/bin/sh
case $3 in eval) echo "[]"; exit ;; esac
mkdir "${0%/*}/once" && echo '[{"outputs":{"out":"'"${0%/*}/system"'"}}]'
`, 0o755)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	write(filepath.Join(flake, "flake.nix"), "{ }\n", 0o644)
	l.config.Run.Userland, l.config.Run.Flake = userland.Nix, flake
	ctx, s := l.open()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Loop(ctx, nil) }()
	defer func() {
		cancel()
		<-ended
	}()
	await(l, func(event.WatchStarted) bool { return true })
	added := filepath.Join(flake, "modules/ssh.nix")
	for _, path := range []string{filepath.Join(flake, "flake.nix"), added, added, filepath.Join(flake, "flake.lock")} {
		write(path, "{ } # "+time.Now().String()+"\n", 0o644)
		await(l, func(c event.Changed) bool { return slices.Equal(c.Paths, []string{path}) })
	}
}
