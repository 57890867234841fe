// SPDX-License-Identifier: GPL-3.0-only

package userland

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
)

// grace is how long nix may take to end when it isn't wanted any more.
const grace = 5 * time.Second

// NixDirs are where nix's installers put it, beside $PATH.
var NixDirs = []string{"/nix/var/nix/profiles/default/bin", "/run/current-system/sw/bin"}

// A Builder has nix build systems, and remembers what it built.
type Builder struct {
	StateDir string // has the link that keeps the system from nix's garbage collector
	Events   event.Sink
}

func (b *Builder) outLink() string   { return filepath.Join(b.StateDir, "userland") }
func (b *Builder) builtPath() string { return filepath.Join(b.StateDir, "userland.json") }
func (b *Builder) logPath() string   { return filepath.Join(b.StateDir, "nix.log") }

// built is what a build left.
type built struct {
	Sources  string `json:"sources"` // fingerprint of the flake
	Lock     string `json:"lock"`    // and of its lock file
	Toplevel string `json:"toplevel"`
}

// command is how nix builds the flake.
func (b *Builder) command(f Flake) (*exec.Cmd, error) {
	ref, dir := f.forNix()
	// --print-out-paths came after nix 2.8.
	cmd, err := nixCommand("build", "--json", "--out-link", b.outLink(), ref+"#"+f.Attr)
	if err == nil {
		cmd.Dir = dir
	}
	return cmd, err
}

// shown is a command of nix for people.
func shown(cmd *exec.Cmd) []string {
	if cmd.Dir == "" {
		return cmd.Args
	}
	return append([]string{"env", "-C", cmd.Dir}, cmd.Args...)
}

// nixCommand is a command of nix.
func nixCommand(args ...string) (*exec.Cmd, error) {
	nix, err := proc.Look("nix", NixDirs...)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(nix, append([]string{"--extra-experimental-features", "nix-command flakes"}, args...)...)
	cmd.Env = environment()
	return cmd, nil
}

// Command returns the command that Build would run, or nothing where it would
// run none.
func (b *Builder) Command(ctx context.Context, f Flake) ([]string, error) {
	if _, _, ok := b.previous(ctx, f); ok {
		return nil, nil
	}
	cmd, err := b.command(f)
	if err != nil {
		return nil, err
	}
	return shown(cmd), nil
}

// previous returns the toplevel that the last build left, and says whether it is
// still there and the flake as it was. What a flake elsewhere is like only nix can
// tell.
func (b *Builder) previous(ctx context.Context, f Flake) (string, fingerprint, bool) {
	if f.Dir == "" {
		return "", fingerprint{}, false
	}
	now, err := f.read(ctx)
	if err != nil {
		return "", fingerprint{}, false // nix will say more
	}
	var last built
	data, err := private.ReadFile(b.builtPath())
	if err != nil || json.Unmarshal(data, &last) != nil {
		return "", now, false
	}
	link, err := os.Readlink(b.outLink())
	ok := err == nil && link == last.Toplevel && exists(last.Toplevel) && now == fingerprint{last.Sources, last.Lock}
	return last.Toplevel, now, ok
}

// Build returns the path of the flake's system in the store, and has nix build
// it where it isn't there or the flake has changed. The error of a nix that failed
// is a *NixError. When ctx ends first, nix is stopped and the error is the cause.
func (b *Builder) Build(ctx context.Context, f Flake) (string, error) {
	if !f.Exists() {
		return "", &NoFlakeError{f.Dir}
	}
	toplevel, before, ok := b.previous(ctx, f)
	if ok {
		return toplevel, nil
	}
	cmd, err := b.command(f)
	if err != nil {
		return "", err
	}
	began := time.Now()
	b.Events.Emit(event.UserlandStarted{Flake: f.String(), Command: shown(cmd)})
	toplevel, err = b.run(ctx, cmd, f)
	b.Events.Emit(event.UserlandFinished{Path: toplevel, Elapsed: time.Since(began), Err: err})
	if err != nil {
		return "", err
	}
	if after, err := f.read(ctx); err == nil && f.Dir != "" && after.sources == before.sources {
		// Losing it costs a call of nix, no more.
		data, _ := json.Marshal(built{after.sources, after.lock, toplevel})
		_ = atomicfile.Write(b.builtPath(), data, 0o600)
	}
	return toplevel, nil
}

// run builds, and returns what was built.
func (b *Builder) run(ctx context.Context, cmd *exec.Cmd, f Flake) (string, error) {
	out, err := b.output(ctx, cmd, f, "build")
	if err != nil {
		return "", err
	}
	var results []struct {
		Outputs map[string]string `json:"outputs"`
	}
	if err := json.Unmarshal(out, &results); err != nil || len(results) != 1 || results[0].Outputs["out"] == "" {
		return "", fmt.Errorf("nix build --json printed %q, which names no output", out)
	}
	toplevel := results[0].Outputs["out"]
	if !exists(filepath.Join(toplevel, "init")) {
		return "", &notSystemError{f, toplevel}
	}
	return toplevel, nil
}

// output runs nix, which is to do something with the flake, and returns what it
// prints.
func (b *Builder) output(ctx context.Context, cmd *exec.Cmd, f Flake, do string) ([]byte, error) {
	log, err := private.CreateLog(b.logPath())
	if err != nil {
		return nil, fmt.Errorf("log of nix: %w", err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out bytes.Buffer
	tail := new(proc.Tail)
	cmd.Stdout, cmd.Stderr = &out, w
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.follow(io.TeeReader(r, io.MultiWriter(log, tail)))
	}()
	err = proc.Run(ctx, cmd, grace)
	_ = w.Close()
	<-read
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, new(*exec.ExitError)):
		return nil, &NixError{Flake: f, Do: do, Err: err, Message: tail.String(), Log: log.Name()}
	}
	return out.Bytes(), err
}

// follow tells how nix goes on.
func (b *Builder) follow(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			b.Events.Emit(event.UserlandProgress{Line: line})
		}
		if err != nil {
			return
		}
	}
}

// A NoFlakeError says that a directory has no flake.
type NoFlakeError struct{ Dir string }

func (e *NoFlakeError) Error() string { return "there is no flake.nix in " + e.Dir }

// Hint names what makes one.
func (e *NoFlakeError) Hint() string {
	return "run-kernel init writes one for NixOS into ./nixos; --userland host does without"
}

// NoDaemonHint is the next step where nix doesn't work for this user.
const NoDaemonHint = "start nix's daemon, as by systemctl start nix-daemon, and see that it takes you; Debian: the package nix-setup-systemd, and the group nix-users"

// A NixError is a nix that failed.
type NixError struct {
	Flake   Flake
	Do      string // what nix was to do: build or evaluate
	Err     error
	Message string // what nix said, at most the last 8 KiB
	Log     string // has all of it
}

func (e *NixError) Error() string {
	text := fmt.Sprintf("nix could not %s %s: %v", e.Do, e.Flake, e.Err)
	if e.Message != "" {
		text += "\n" + e.Message
	}
	return text
}

func (e *NixError) Unwrap() error { return e.Err }

// Hint is a next step.
func (e *NixError) Hint() string {
	text := "all that nix said is in " + e.Log
	switch m := e.Message; {
	case strings.Contains(m, "does not provide attribute"), strings.Contains(m, "is not a derivation"), strings.Contains(m, "to be a derivation or path"):
		text = "name the system after a #, as in --flake ./nixos#vm, or give the whole attribute path of its toplevel; " + text
	case strings.Contains(m, "is required to build"):
		text = "the flake's system must be this host's, such as x86_64-linux; " + text
	case strings.Contains(m, "build users group"):
		text = "nix isn't set up for root: make the group and its users, or set build-users-group = in /etc/nix/nix.conf; " + text
	case noDaemon.MatchString(m):
		text = NoDaemonHint + "; " + text
	case e.Flake.repository():
		if file := notTracked.FindStringSubmatch(m); file != nil {
			text = "nix sees only the files that git tracks: " + qemu.Quote([]string{"git", "-C", e.Flake.Dir, "add", file[1]}) + "; " + text
		}
	}
	return text
}

var (
	// noDaemon is in what nix says to users whose it isn't, where no daemon works for them.
	noDaemon = pattern.New(`'/nix/var/nix/daemon-socket/|[' "]/nix/var/nix/[^\n]*: (?:Operation not permitted|Permission denied)`)
	// notTracked is in what nix says of a file that isn't in its copy of a repository.
	notTracked = pattern.New(`'/nix/store/[0-9a-z]{32}-source/([^']+)'(?:: No such file or directory| does not exist)`)
)

// A notSystemError says that what nix built can't be booted.
type notSystemError struct {
	flake    Flake
	toplevel string
}

func (e *notSystemError) Error() string {
	return fmt.Sprintf("nix built %s from %s, in which there is no init", e.toplevel, e.flake)
}

func (e *notSystemError) Hint() string {
	return "the attribute must be the toplevel of a NixOS system, in the store of this host"
}
