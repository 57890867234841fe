// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/kbuild/graph"
)

// A short build compiles the objects that the changed files rebuild, and links. It is make
// that does both, by its own rules, but without its walk through all directories: half of
// the time of a build that compiles one file.
//
// Since Linux 6.1, the top Makefile makes the directory "." with the goals of the variable
// single-goals, in which it names the objects that a user asks for, as in
// "make init/main.o". With the goal vmlinux and that variable from the command line, make
// prepares as always, descends only to these objects, and links after that. The archives
// above them are thin and have no symbol table: the same list of objects is the same
// archive. Only their times have to be brought up to date, for the next make that looks.
//
// What happens when all this is killed at any moment:
//
//   - The .cmd files of the objects are removed first, and so are those of what is linked.
//     make takes a target without one for out of date, and writes it after the target. So
//     half a target isn't taken for a whole one, neither by us nor by a make of the user's.
//   - The archives get their new times last. Until then, the objects are newer, and the
//     next make links.
//
// Where all objects belong to modules, the goal is modules in place of vmlinux: then make
// descends to the modules' own objects, runs modpost on all modules, and links those that
// changed. What archives are to vmlinux, the lists of modules (modules.order) are to
// modpost. Not so the goals that a user has for this, as in "make fs/fuse/fuse.ko": these
// give modpost one module only, and remove the list of the others.

// A Short is a short build that can be made.
type Short struct {
	Objects  []graph.Target
	archives []string // that have the objects, from below, relative to the build directory; or lists of modules
	modules  []string // whose objects these are, relative to the build directory, without .ko; empty: the image's
}

// linked are the targets at the top of the build directory that are made from the
// archives.
var linked = pattern.New(`^\.(\.?vmlinux.*|built-in-fixup\.a|\.tmp_vmlinux.*|\.btf\..*|modules\.builtin.*|Module\.symvers)\.cmd$`)

// forget removes the .cmd files of the objects and of what is linked from them.
func (t *Tree) forget(s *Short) error {
	var names []string
	for _, o := range s.Objects {
		names = append(names, cmdFile(o.Name))
	}
	for _, m := range s.modules {
		names = append(names, cmdFile(m+".o"), cmdFile(m+".mod.o"), cmdFile(m+".ko"))
	}
	if len(s.modules) > 0 {
		names = append(names, cmdFile("Module.symvers")) // so that modpost runs
	} else {
		names = append(names, "init/.version-timestamp.o.cmd")
		entries, err := os.ReadDir(t.BuildDir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if linked.MatchString(e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(t.BuildDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// steps that are no work: make does them each time, or they follow from the link.
var (
	always = pattern.New(`^(GEN Makefile|(DESCEND|CALL|CHK|INSTALL) .*)$`)
	makes  = pattern.New(`^(CC|AS|LD|AR|RUSTC) `)
	links  = pattern.New(`^(` +
		`(AR|LD|COPY|OBJTOOL|OBJCOPY|RSTRIP|STRIP|SORTTAB|BTF|BTFIDS|NM|KSYMS|AS|CC|SYSMAP|POSTLINK|RELOCS|XIPKERNEL) ` +
		`(\./)?(\.?vmlinux(\.[\w.-]+)?|built-in-fixup\.a|\.tmp_vmlinux[\w.-]*|\.btf\.vmlinux[\w.-]*|System\.map|modules\.builtin[\w.]*)` +
		`|(GEN|NM|SYSMAP|OBJCOPY) (\./)?(\.vmlinux\.objs|\.vmlinux\.export\.c|System\.map|modules\.builtin[\w.]*|\.tmp_vmlinux[\w.-]*)` +
		`|MODPOST \S+` +
		`|UPD include/generated/utsversion\.h` +
		`|CC init/version-timestamp\.o` +
		`|CC \[M\] \S+\.mod\.o|(LD|BTF|SIGN) \[M\] \S+\.ko` +
		`)$`)
)

// Short makes a short build. The error is an *UncertainError when make did something else
// than was to be expected, or failed otherwise than by a mistake in the source: then it
// takes a full make to tell.
func (t *Tree) Short(ctx context.Context, s *Short, o BuildOptions) (*Result, error) {
	var goals []string
	for _, object := range s.Objects {
		goals = append(goals, "./"+object.Name)
	}
	if len(s.modules) > 0 {
		// Which compile those of several objects first.
		o.onlyModules, goals = true, nil
		for _, m := range s.modules {
			goals = append(goals, "./"+m+".o")
		}
	}
	o.GDB = false // the scripts don't change with the sources
	o.commands = t.checkCommands(o.Changed)
	if err := t.forget(s); err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	o.Args = []string{"single-goals=" + strings.Join(goals, " ")}
	r, err := t.build(ctx, o)
	if err != nil {
		var failed *BuildError
		if errors.As(err, &failed) && !inSource(failed.Diagnostics) {
			return nil, uncertain("the short build failed: %v", err)
		}
		return nil, err
	}
	compiled := map[string]bool{}
	for _, step := range r.Steps {
		name := step[strings.LastIndexByte(step, ' ')+1:]
		switch strings.TrimSuffix(step, " "+name) {
		case "CC", "AS", "CC [M]", "AS [M]":
			if compiled[name] {
				return nil, uncertain("the short build compiled %s twice", name)
			}
			compiled[name] = true
		case "LD [M]":
			if stem, ok := strings.CutSuffix(name, ".o"); ok && slices.Contains(s.modules, stem) {
				continue
			}
		}
		if !always.MatchString(step) && !links.MatchString(step) && !slices.ContainsFunc(s.Objects, func(o graph.Target) bool { return o.Name == name }) {
			return nil, uncertain("the short build did more than was to be expected: %s", step)
		}
	}
	for _, object := range s.Objects {
		if !compiled[object.Name] {
			return nil, uncertain("the short build didn't compile %s", object.Name)
		}
	}
	if err := t.touchArchives(s); err != nil {
		return nil, err
	}
	return r, nil
}

// inSource says whether all errors are in the source's text, as a full make would find
// them as well. A header that isn't found may be one that is made elsewhere.
func inSource(errors []event.Diagnostic) bool {
	for _, d := range errors {
		if d.File == "" || d.Line == 0 || strings.Contains(d.Message, "No such file") || strings.Contains(d.Message, "not found") {
			return false
		}
	}
	return len(errors) > 0
}

// touchArchives makes the archives as new as the objects in them, so that the next make
// finds nothing to do.
func (t *Tree) touchArchives(s *Short) error {
	var newest time.Time
	objects, linked := []string{}, []string{"vmlinux"}
	for _, o := range s.Objects {
		objects = append(objects, o.Name)
	}
	if len(s.modules) > 0 {
		linked = []string{"Module.symvers"}
	}
	for _, m := range s.modules {
		objects, linked = append(objects, m+".o"), append(linked, m+".ko")
	}
	for _, name := range objects {
		st, err := os.Stat(filepath.Join(t.BuildDir, name))
		if err != nil {
			return uncertain("%v", err)
		}
		if st.ModTime().After(newest) {
			newest = st.ModTime()
		}
	}
	for _, archive := range s.archives {
		if err := os.Chtimes(filepath.Join(t.BuildDir, archive), time.Time{}, newest); err != nil {
			return uncertain("%v", err)
		}
	}
	// What make linked has to be newer, or it links once more. Clocks jump.
	for _, name := range linked {
		st, err := os.Stat(filepath.Join(t.BuildDir, name))
		if err != nil {
			return uncertain("%v", err)
		}
		if st.ModTime().Before(newest) {
			return uncertain("%s is older than what it was linked from", name)
		}
	}
	return nil
}

// Repair removes the .cmd files that a build left incomplete, so that make makes their
// targets again. make itself would go by half a list of headers.
func (t *Tree) Repair(g *graph.Graph) error {
	for _, name := range g.Broken() {
		if err := os.Remove(filepath.Join(t.BuildDir, cmdFile(name))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Outdate removes the .cmd files of targets by whose times make would go wrongly. They have
// what was in a file before: make has made them since a time from files that were saved since
// it, or before a file with an older time took the place of the one that they were made
// from. Without files, it looks at all that the graph knows, for what was saved.
func (t *Tree) Outdate(g *graph.Graph, since time.Time, files []string) error {
	late := Saved(since, files)
	if files == nil {
		late = Saved(since, slices.DeleteFunc(g.Files(), func(file string) bool { return byTools(t.Rel(file)) }))
	}
	if err := t.outdate(g.Rebuilt(late...), func(made time.Time) bool { return !made.Before(since) }); err != nil {
		return err
	}
	old, from, to := replaced(files)
	return t.outdate(g.Rebuilt(old...), func(made time.Time) bool { return !made.Before(from) && made.Before(to) })
}

// outdate removes the .cmd files of those targets that were made at a wrong time.
func (t *Tree) outdate(targets []graph.Target, wrong func(made time.Time) bool) error {
	for _, target := range targets {
		st, err := os.Stat(filepath.Join(t.BuildDir, target.Name))
		if err != nil || !wrong(st.ModTime()) {
			continue
		}
		if err := os.Remove(filepath.Join(t.BuildDir, cmdFile(target.Name))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Saved returns those of the files that were saved since a time.
func Saved(since time.Time, files []string) []string {
	var saved []string
	for _, file := range files {
		if st, err := os.Stat(file); err == nil && !st.ModTime().Before(since) {
			saved = append(saved, file)
		}
	}
	return saved
}

// keptTime is by how much, at least, a file is older than its place where mv or cp -p kept
// its time. Editors and git take less from the last write to the rename.
const keptTime = time.Second

// Replaced says whether one of the files has a time from before it got its place.
func Replaced(files []string) bool {
	old, _, _ := replaced(files)
	return len(old) > 0
}

// replaced returns those of the files that have a time from before they got their place, the
// first of these times, and when the last of them got its place.
func replaced(files []string) (old []string, from, to time.Time) {
	for _, file := range files {
		st, err := os.Stat(file)
		if err != nil {
			continue
		}
		saved, placed := st.ModTime(), time.Time{}
		if inode, ok := st.Sys().(*syscall.Stat_t); ok {
			placed = time.Unix(inode.Ctim.Unix())
		}
		if placed.Sub(saved) < keptTime {
			continue
		}
		if len(old) == 0 || saved.Before(from) {
			from = saved
		}
		if placed.After(to) {
			to = placed
		}
		old = append(old, file)
	}
	return old, from, to
}
