// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const victim = "RUN_KERNEL_TEST_FIX"

func TestMain(m *testing.M) {
	if path := os.Getenv(victim); path != "" {
		// A fix that is killed while olddefconfig runs.
		x := Fixer{Path: path, Olddefconfig: func(_ context.Context, path string) error {
			if err := os.WriteFile(path+".1234.tmp", nil, 0o644); err != nil {
				return err
			}
			fmt.Println("ready")
			time.Sleep(time.Hour)
			return nil
		}}
		_, err := x.Fix(context.Background(), []Requirement{{Symbol: "B", Want: Want{Value: "y"}}})
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A kernel is a fake olddefconfig: what it knows, and what it makes of it.
type kernel struct {
	t      *testing.T
	drop   []string // symbols that it doesn't grant
	judge  func(f *File)
	err    error
	before func(path string)
	calls  int
}

func (k *kernel) olddefconfig(_ context.Context, path string) error {
	k.calls++
	if k.before != nil {
		k.before(path)
	}
	if k.err != nil {
		return k.err
	}
	f, err := ReadFile(path)
	if err != nil {
		return err
	}
	if k.judge != nil {
		k.judge(f)
	}
	var kept File
	for _, l := range f.lines {
		dropped := false
		for _, d := range k.drop {
			dropped = dropped || l.symbol == d
		}
		if !dropped {
			kept.lines = append(kept.lines, l)
		}
	}
	// As conf does it: the old file beside, the new one by rename.
	if err := os.Rename(path, path+".old"); err != nil {
		return err
	}
	return os.WriteFile(path, kept.Bytes(), 0o644)
}

const original = "#\n# Linux/x86 6.1.0 Kernel Configuration\n#\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\n"

// tree makes a .config in a directory of its own.
func tree(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".config")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func needs(t *testing.T, texts ...string) []Requirement {
	t.Helper()
	var list []Requirement
	for _, text := range texts {
		r, err := ParseRequire(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// state is all there is to see of a directory's files.
func state(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := map[string]string{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := os.ReadFile(path)
		s[e.Name()] = fmt.Sprintf("%v inode %d mtime %v\n%s", st.Mode(), st.Sys().(*syscall.Stat_t).Ino, st.ModTime(), data)
	}
	return s
}

func TestFixSets(t *testing.T) {
	path := tree(t, original)
	k := &kernel{t: t, judge: func(f *File) { f.Set("FOLLOWS", "y") }}
	x := Fixer{Path: path, Olddefconfig: k.olddefconfig}
	report, err := x.Fix(t.Context(), needs(t, "A=y", "B=y", "C=y", "N>=8", `S="x"`, "A2=n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Edit{{"B", "n", "y"}, {"C", "m", "y"}, {"N", "", "8"}, {"S", "", `"x"`}, {"FOLLOWS", "", "y"}}
	if diff := cmp.Diff(want, report.Edits); diff != "" {
		t.Error(diff)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("#\n# Linux/x86 6.1.0 Kernel Configuration\n#\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\nCONFIG_N=8\nCONFIG_S=\"x\"\nCONFIG_FOLLOWS=y\n", string(data)); diff != "" {
		t.Error(diff)
	}
	if got := string(report.Config.Bytes()); got != string(data) {
		t.Error("the report's config isn't the file")
	}
	if old, _ := os.ReadFile(path + ".old"); string(old) != original {
		t.Errorf(".config.old holds %q", old)
	}
	st := state(t, filepath.Dir(path))
	if len(st) != 2 {
		t.Errorf("left behind: %v", st)
	}
	if s, _ := os.Stat(path); s.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", s.Mode())
	}

	calls := k.calls
	report, err = x.Fix(t.Context(), needs(t, "A=y", "B=y", "C=y", "N>=8", `S="x"`, "A2=n"))
	if err != nil || len(report.Edits) != 0 || k.calls != calls {
		t.Errorf("a second fix: %+v %v, %d calls more", report, err, k.calls-calls)
	}
	if diff := cmp.Diff(st, state(t, filepath.Dir(path))); diff != "" {
		t.Errorf("a second fix changed something: %s", diff)
	}
}

func TestFixLeavesWhatIsMet(t *testing.T) {
	path := tree(t, original)
	before := state(t, filepath.Dir(path))
	k := &kernel{t: t}
	report, err := (&Fixer{Path: path, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "A=y", "B=n", "C=y|m", "D=n"))
	if err != nil {
		t.Fatal(err)
	}
	if k.calls != 0 {
		t.Error("olddefconfig was called")
	}
	if len(report.Edits)+len(report.Unmet) > 0 || string(report.Config.Bytes()) != original {
		t.Errorf("got %+v", report)
	}
	if diff := cmp.Diff(before, state(t, filepath.Dir(path))); diff != "" {
		t.Error(diff)
	}
}

func TestDryRun(t *testing.T) {
	path := tree(t, original)
	before := state(t, filepath.Dir(path))
	k := &kernel{t: t}
	report, err := (&Fixer{Path: path, DryRun: true, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Edit{{"B", "n", "y"}}, report.Edits); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, state(t, filepath.Dir(path))); diff != "" {
		t.Error(diff)
	}
}

// What can be had of what can't all be is set where that is asked for.
func TestKeepGoing(t *testing.T) {
	path := tree(t, original)
	k := &kernel{t: t, drop: []string{"X"}}
	solve := func(old *File, list []Requirement) (*Solution, error) {
		f, err := Parse(path, old.Bytes())
		if err != nil {
			return nil, err
		}
		s := &Solution{File: f, Settings: []Setting{{Symbol: "B", Value: "y"}}, Refused: []Result{{Requirement: list[1], Verdict: NotFound, Proof: &Step{Symbol: "X", Want: "y", Text: "no"}}}}
		f.Set("B", "y")
		return s, nil
	}
	fixer := &Fixer{Path: path, Olddefconfig: k.olddefconfig, Solve: solve}
	var unmet *UnmetError
	if _, err := fixer.Fix(t.Context(), needs(t, "B=y", "X=y")); !errors.As(err, &unmet) || unmet.Kept || unmet.Others != 1 {
		t.Errorf("got %+v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != original {
		t.Errorf(".config is %q, %v", data, err)
	}
	fixer.KeepGoing, fixer.DryRun = true, true
	would, err := fixer.Fix(t.Context(), needs(t, "B=y", "X=y"))
	if !errors.As(err, &unmet) || unmet.Kept || would == nil || len(would.Edits) != 1 {
		t.Errorf("a dry run: got %+v, %v", would, err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != original {
		t.Errorf(".config is %q after a dry run, %v", data, err)
	}
	fixer.DryRun = false
	report, err := fixer.Fix(t.Context(), needs(t, "B=y", "X=y"))
	if !errors.As(err, &unmet) || !unmet.Kept || len(unmet.Unmet) != 1 || unmet.Unmet[0].Symbol != "X" {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "no way was found, which doesn't prove that there is none") || !strings.Contains(unmet.Hint(), ".config has the others") {
		t.Errorf("got %v; %s", err, unmet.Hint())
	}
	f, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if have, _ := f.Get("B"); have != "y" || len(report.Edits) != 1 {
		t.Errorf("B is %q, edits %v", have, report.Edits)
	}
}

// Whatever makes a fix fail, the directory is as it was.
func TestFixFails(t *testing.T) {
	overtaken := errors.New("overtaken")
	for _, c := range []struct {
		name  string
		k     kernel
		needs []string
		check func(t *testing.T, err error)
	}{
		{"dropped", kernel{drop: []string{"X", "Y"}}, []string{"X=y", "B=y", "Y=y", "Z?=y"}, func(t *testing.T, err error) {
			var unmet *UnmetError
			if !errors.As(err, &unmet) || len(unmet.Unmet) != 2 {
				t.Fatalf("got %v", err)
			}
			for _, text := range []string{"X: want y, olddefconfig made it absent", "Y: want y, olddefconfig made it absent", "asked for"} {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q doesn't contain %q", err, text)
				}
			}
			if unmet.Hint() == "" {
				t.Error("no hint")
			}
		}},
		{"other value", kernel{judge: func(f *File) { f.Set("B", "m") }}, []string{"B=y"}, func(t *testing.T, err error) {
			if err == nil || !strings.Contains(err.Error(), "B: want y, olddefconfig made it m") {
				t.Errorf("got %v", err)
			}
		}},
		{"olddefconfig fails", kernel{err: overtaken}, []string{"B=y"}, func(t *testing.T, err error) {
			if !errors.Is(err, overtaken) {
				t.Errorf("got %v", err)
			}
		}},
		{"broken result", kernel{judge: func(f *File) { f.lines = append(f.lines, line{text: "???\n"}) }}, []string{"B=y"}, func(t *testing.T, err error) {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Errorf("got %v", err)
			}
		}},
		{"no result", kernel{before: func(path string) { _ = os.Remove(path) }}, []string{"B=y"}, func(t *testing.T, err error) {
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("got %v", err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := tree(t, original)
			before := state(t, filepath.Dir(path))
			c.k.t = t
			report, err := (&Fixer{Path: path, Olddefconfig: c.k.olddefconfig}).Fix(t.Context(), needs(t, c.needs...))
			if err == nil {
				t.Fatalf("got %+v", report)
			}
			c.check(t, err)
			if diff := cmp.Diff(before, state(t, filepath.Dir(path))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFixCancelled(t *testing.T) {
	overtaken := errors.New("overtaken")
	for _, late := range []bool{false, true} {
		path := tree(t, original)
		before := state(t, filepath.Dir(path))
		ctx, cancel := context.WithCancelCause(t.Context())
		k := &kernel{t: t}
		x := Fixer{Path: path, Olddefconfig: func(ctx context.Context, path string) error {
			cancel(overtaken)
			if late {
				return k.olddefconfig(ctx, path)
			}
			return context.Cause(ctx)
		}}
		if _, err := x.Fix(ctx, needs(t, "B=y")); !errors.Is(err, overtaken) {
			t.Errorf("late %v: got %v", late, err)
		}
		if diff := cmp.Diff(before, state(t, filepath.Dir(path))); diff != "" {
			t.Errorf("late %v: %s", late, diff)
		}
	}
}

func TestFixOptional(t *testing.T) {
	t.Run("dropped alone", func(t *testing.T) {
		path := tree(t, original)
		before := state(t, filepath.Dir(path))
		k := &kernel{t: t, drop: []string{"X"}}
		report, err := (&Fixer{Path: path, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "X?=y", "A=y"))
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Unmet) != 1 || report.Unmet[0].Symbol != "X" || len(report.Edits) != 0 || string(report.Config.Bytes()) != original {
			t.Errorf("got %+v", report)
		}
		if diff := cmp.Diff(before, state(t, filepath.Dir(path))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("dropped beside others", func(t *testing.T) {
		path := tree(t, original)
		k := &kernel{t: t, drop: []string{"X"}}
		report, err := (&Fixer{Path: path, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "X?=y", "B=y", "W?=y"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Edit{{"B", "n", "y"}, {"W", "", "y"}}, report.Edits); diff != "" {
			t.Error(diff)
		}
		if len(report.Unmet) != 1 || report.Unmet[0].Symbol != "X" {
			t.Errorf("got %+v", report.Unmet)
		}
	})
	// Of a choice, the last member that is set to y wins.
	t.Run("in the way of a requirement", func(t *testing.T) {
		path := tree(t, original)
		k := &kernel{t: t, judge: func(f *File) {
			if v, _ := f.Get("X"); v == "y" {
				f.Set("B", "n")
			}
		}}
		report, err := (&Fixer{Path: path, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y", "X?=y"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Edit{{"B", "n", "y"}}, report.Edits); diff != "" {
			t.Error(diff)
		}
		if data, _ := os.ReadFile(path); string(data) != string(report.Config.Bytes()) {
			t.Error("the report's config isn't the file")
		}
	})
}

// What one pass made possible, the next sets.
// What a solver found is set, and what it proved impossible is shown with that.
func TestFixSolved(t *testing.T) {
	path := tree(t, original)
	k := &kernel{t: t, drop: []string{"X"}}
	x := Fixer{Path: path, Olddefconfig: k.olddefconfig, Solve: func(f *File, list []Requirement) (*Solution, error) {
		solved, err := Parse("", f.Bytes())
		if err != nil {
			return nil, err
		}
		s := &Solution{File: solved}
		for _, r := range list {
			if r.Symbol == "X" {
				s.Refused = append(s.Refused, Result{Requirement: r, Proof: &Step{Symbol: "X", Want: "y", At: "Kconfig:7", Text: "never"}})
				continue
			}
			s.Settings = append(s.Settings, Setting{Symbol: "DEP", Value: "y", For: r.Symbol}, Setting{Symbol: r.Symbol, Value: "y"})
			solved.Set("DEP", "y")
			solved.Set(r.Symbol, "y")
		}
		return s, nil
	}}
	if _, err := x.Fix(t.Context(), needs(t, "X=y")); err == nil || !strings.Contains(err.Error(), "Kconfig:7: X=y: never") {
		t.Errorf("got %v", err)
	}
	k.calls = 0
	report, err := x.Fix(t.Context(), needs(t, "B=y", "X?=y"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Edit{{"B", "n", "y"}, {"DEP", "", "y"}}, report.Edits); diff != "" {
		t.Error(diff)
	}
	if len(report.Unmet) != 1 || k.calls != 1 {
		t.Errorf("unmet: %v, %d calls of olddefconfig", report.Unmet, k.calls)
	}
}

func TestFixInSteps(t *testing.T) {
	path := tree(t, original)
	k := &kernel{t: t}
	k.judge = func(f *File) {
		if k.calls == 1 {
			f.Set("LATE", "n")
		}
	}
	report, err := (&Fixer{Path: path, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y", "LATE=y"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Edit{{"B", "n", "y"}, {"LATE", "", "y"}}, report.Edits); diff != "" {
		t.Error(diff)
	}
}

func TestFixThroughALink(t *testing.T) {
	target := tree(t, original)
	link := filepath.Join(t.TempDir(), ".config")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	k := &kernel{t: t}
	if _, err := (&Fixer{Path: link, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(link); err != nil || got != target {
		t.Errorf("the link is %q %v", got, err)
	}
	if data, _ := os.ReadFile(target); !strings.Contains(string(data), "CONFIG_B=y") {
		t.Errorf("the target holds %q", data)
	}
}

func TestFixBadFiles(t *testing.T) {
	k := &kernel{t: t}
	dir := filepath.Join(t.TempDir(), ".config")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Fixer{Path: dir, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y")); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: got %v", err)
	}
	if _, err := (&Fixer{Path: dir + ".absent", Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: got %v", err)
	}
	path := tree(t, original+"<<<<<<< HEAD\n")
	var syntax *SyntaxError
	if _, err := (&Fixer{Path: path, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y")); !errors.As(err, &syntax) || syntax.Line != 7 || syntax.Path != path {
		t.Errorf("broken line: got %v", err)
	}
	if k.calls != 0 {
		t.Error("olddefconfig was called")
	}
}

func TestFixReadOnlyDirectory(t *testing.T) {
	path := tree(t, original)
	dir := filepath.Dir(path)
	k := &kernel{t: t}
	var err error
	if e := os.Chmod(path, 0o644); e != nil {
		t.Fatal(e)
	}
	before := state(t, dir)
	if e := os.Chmod(dir, 0o555); e != nil {
		t.Fatal(e)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	unprivileged(t, dir, func() { _, err = (&Fixer{Path: path, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y")) })
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, state(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestFixKeepsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	path := tree(t, original)
	if err := os.Chown(path, 12345, 23456); err != nil {
		t.Fatal(err)
	}
	k := &kernel{t: t}
	if _, err := (&Fixer{Path: path, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y")); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := st.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 23456 || st.Mode().Perm() != 0o640 {
		t.Errorf("owner %d:%d, mode %v", s.Uid, s.Gid, st.Mode())
	}
}

func TestFixOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("a small disk needs a mount:", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, ".config")
	text := original + strings.Repeat("# filler\n", 2000)
	fill := func() {
		f, err := os.Create(filepath.Join(dir, "fill"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for {
			if _, err := f.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}
	for _, c := range []struct {
		name   string
		before func(string)
	}{
		{"before the candidate", nil},
		{"before the backup", func(string) { fill() }},
	} {
		if err := os.RemoveAll(filepath.Join(dir, "fill")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		k := &kernel{t: t, before: c.before}
		if c.before == nil {
			fill()
		}
		x := Fixer{Path: path, Olddefconfig: func(ctx context.Context, path string) error {
			k.calls++
			if c.before != nil {
				c.before(path)
			}
			return nil
		}}
		_, err := x.Fix(t.Context(), needs(t, "B=y"))
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: got %v", c.name, err)
		}
		if data, _ := os.ReadFile(path); string(data) != text {
			t.Errorf("%s: .config has changed", c.name)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, candidatePrefix+"*")); len(left) > 0 {
			t.Errorf("%s: left behind: %v", c.name, left)
		}
	}
}

func TestFixSeesAnotherWriter(t *testing.T) {
	path := tree(t, original)
	const saved = "CONFIG_SAVED=y\n"
	k := &kernel{t: t, before: func(string) {
		if err := os.WriteFile(path, []byte(saved), 0o644); err != nil {
			t.Error(err)
		}
	}}
	_, err := (&Fixer{Path: path, Olddefconfig: k.olddefconfig}).Fix(t.Context(), needs(t, "B=y"))
	if err == nil || !strings.Contains(err.Error(), "changed while") {
		t.Errorf("got %v", err)
	}
	if data, _ := os.ReadFile(path); string(data) != saved {
		t.Errorf("what was saved meanwhile is lost: %q", data)
	}
}

func TestKilledFix(t *testing.T) {
	path := tree(t, original)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), victim+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("got %q %v", line, err)
	}
	stale := filepath.Join(filepath.Dir(path), candidatePrefix+strconv.Itoa(cmd.Process.Pid))
	alive := filepath.Join(filepath.Dir(path), candidatePrefix+strconv.Itoa(os.Getppid()))
	if err := os.WriteFile(alive, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	k := &kernel{t: t}
	x := Fixer{Path: path, Olddefconfig: k.olddefconfig}
	if _, err := x.Fix(t.Context(), needs(t, "A=y")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); err != nil {
		t.Errorf("the candidate of a fix that runs is gone: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if data, _ := os.ReadFile(path); string(data) != original {
		t.Errorf(".config holds %q", data)
	}
	if _, err := os.Stat(stale); err != nil {
		t.Fatalf("the test needs a stale candidate: %v", err)
	}
	if _, err := x.Fix(t.Context(), needs(t, "A=y")); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range state(t, filepath.Dir(path)) {
		names = append(names, name)
	}
	if len(names) != 2 {
		t.Errorf("left behind: %v", names)
	}
}

// unprivileged runs f in a thread that has no rights over other users' files,
// and makes dir reachable for it.
func unprivileged(t *testing.T, dir string, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		st, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(d, st.Mode().Perm()|0o055); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with the goroutine: nobody else gets it.
		runtime.LockOSThread()
		if err := syscall.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// A limit that is too low is raised with room, since each change of it rebuilds
// the kernel.
func TestToSet(t *testing.T) {
	for want, value := range map[Want]string{
		{Value: "2", Min: true}:               "2",
		{Value: "2", Min: true, Room: "64"}:   "64",
		{Value: "100", Min: true, Room: "64"}: "100",
		{Value: "y"}:                          "y",
	} {
		if got := want.Setting(); got != value {
			t.Errorf("%+v: %s, want %s", want, got, value)
		}
	}
}

// What would be replaced must be a file: as root, /dev/null can be replaced too.
func TestFixOfADevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		x := Fixer{Path: path, Olddefconfig: (&kernel{t: t}).olddefconfig}
		_, err := x.Fix(t.Context(), nil)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || err.Error() != path+" isn't a regular file" {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it reads the pipe")
	}
}
