// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
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

// shortObjects is how many objects a short build has at most. With more, make's walk
// matters little.
const shortObjects = 200

// A Short is a short build that can be made.
type Short struct {
	Objects  []graph.Target
	archives []string // that have the objects, from below, relative to the build directory; or lists of modules
	modules  []string // whose objects these are, relative to the build directory, without .ko; empty: the image's
}

// An UncertainError says why it takes a full make, which need not have been tried.
type UncertainError struct{ Reason string }

func (e *UncertainError) Error() string { return e.Reason }

func uncertain(format string, args ...any) error {
	return &UncertainError{fmt.Sprintf(format, args...)}
}

// descends is the recipe by which the top Makefile descends, with its goals.
var descends = []byte("$(Q)$(MAKE) $(build)=$@ need-builtin=1 need-modorder=1 $(single-goals)")

// unsuited are options with which more is made from an object than the archives, or after
// its .cmd file was written.
var unsuited = []string{"LTO", "MODVERSIONS", "TRIM_UNUSED_KSYMS", "FTRACE_MCOUNT_USE_RECORDMCOUNT", "RUST"}

// readHeaders are options with which headers go into the build that no .cmd file lists.
var readHeaders = []string{"IKHEADERS", "HEADERS_INSTALL", "UAPI_HEADER_TEST", "RUST"}

// plainName are names that make and the shell take as they are.
var plainName = pattern.New(`^[A-Za-z0-9_][A-Za-z0-9_.,+@/-]*$`)

// PlanShort says how a short build brings the image of the last build up to date, given
// the source files that have changed since: absolute paths. more are objects that it
// compiles as well. The error is an *UncertainError where only a full make is known to be
// right.
func (t *Tree) PlanShort(g *graph.Graph, o BuildOptions, changed []string, more []graph.Target) (*Short, error) {
	switch {
	case len(o.Args) > 0:
		return nil, uncertain("make has other goals")
	case len(changed) == 0:
		return nil, uncertain("it isn't known what changed")
	case t.reconfigured():
		return nil, uncertain(".config changed")
	case g.Len() == 0:
		return nil, uncertain("nothing is known of the last build")
	}
	makefile, err := os.ReadFile(filepath.Join(t.Source, "Makefile"))
	if err != nil || !bytes.Contains(makefile, descends) {
		return nil, uncertain("the Makefile descends in a way that isn't known")
	}
	set, err := t.autoConf()
	if err != nil {
		return nil, uncertain("%v", err)
	}
	for _, option := range unsuited {
		if set[option] {
			return nil, uncertain("CONFIG_%s is set", option)
		}
	}
	if broken := g.Broken(); len(broken) > 0 {
		return nil, uncertain("%s is incomplete", cmdFile(broken[0]))
	}
	now := time.Now()
	for _, file := range changed {
		if err := t.certainFile(file, now, set); err != nil {
			return nil, err
		}
		if !g.Knows(file) {
			return nil, uncertain("%s isn't part of the last build", t.Rel(file))
		}
	}
	s := &Short{Objects: g.Rebuilt(changed...)}
	for _, m := range more {
		if !slices.ContainsFunc(s.Objects, func(o graph.Target) bool { return o.Name == m.Name }) {
			s.Objects = append(s.Objects, m)
		}
	}
	if len(s.Objects) == 0 {
		return nil, uncertain("it rebuilds nothing")
	}
	if len(s.Objects) > shortObjects {
		return nil, uncertain("it rebuilds %d objects", len(s.Objects))
	}
	if err := checkRules(t, s.Objects); err != nil {
		return nil, err
	}
	if s.modules = t.modulesOf(s.Objects); len(s.modules) > 0 {
		if !o.Modules {
			return nil, uncertain("no module is built")
		}
		s.archives, err = t.listsOf(s.modules, now)
		return s, err
	}
	if o.Target != "vmlinux" {
		return nil, uncertain("%s is more than vmlinux", o.Target)
	}
	if s.archives, err = t.archivesOf(s.Objects, now); err != nil {
		return nil, err
	}
	return s, nil
}

// checkRules checks that objects are compiled from a source of the same name by make's
// general rule.
func checkRules(t *Tree, objects []graph.Target) error {
	for _, o := range objects {
		stem, isObject := strings.CutSuffix(o.Name, ".o")
		rel := t.Rel(o.Source)
		if !isObject || !o.Whole || !plainName.MatchString(o.Name) || path.Clean(o.Name) != o.Name ||
			rel != stem+".c" && rel != stem+".S" {
			return uncertain("%s takes rules of its own", o.Name)
		}
	}
	return nil
}

// modulesOf returns the modules that have the objects; nothing, where an object isn't
// known to belong to one. They are looked for where nearly all are: in the directory of the
// object, and those above it.
func (t *Tree) modulesOf(objects []graph.Target) []string {
	inDir := map[string][]string{} // modules, without .ko
	for _, m := range t.modules() {
		if rel, err := filepath.Rel(t.BuildDir, m.file); err == nil && filepath.IsLocal(rel) {
			inDir[path.Dir(rel)] = append(inDir[path.Dir(rel)], strings.TrimSuffix(rel, ".ko"))
		}
	}
	var modules []string
	parts := map[string][]string{}
	for _, o := range objects {
		found := false
		for dir := path.Dir(o.Name); ; dir = path.Dir(dir) {
			for _, m := range inDir[dir] {
				if parts[m] == nil {
					data, err := os.ReadFile(filepath.Join(t.BuildDir, m+".mod"))
					if err != nil {
						return nil
					}
					parts[m] = strings.Fields(string(data))
				}
				if !slices.Contains(parts[m], o.Name) {
					continue
				}
				found = true
				if !slices.Contains(modules, m) {
					modules = append(modules, m)
				}
			}
			if dir == "." {
				break
			}
		}
		if !found {
			return nil
		}
	}
	for _, m := range modules {
		if !plainName.MatchString(m) {
			return nil
		}
	}
	return modules
}

// listsOf returns the lists of modules that have the modules: those of the directories
// above them.
func (t *Tree) listsOf(modules []string, now time.Time) ([]string, error) {
	var lists []string
	for _, m := range modules {
		for dir := path.Dir(m); ; dir = path.Dir(dir) {
			list := path.Join(dir, "modules.order")
			st, err := os.Stat(filepath.Join(t.BuildDir, list))
			switch {
			case err != nil:
				// Some directories have none: a Makefile above them names their objects.
			case st.ModTime().After(now):
				return nil, uncertain("%s has a time in the future", list)
			case !slices.Contains(lists, list):
				lists = append(lists, list)
			}
			if dir == "." {
				break
			}
		}
	}
	return lists, nil
}

// certainFile says whether what a changed file rebuilds is known from the .cmd files.
func (t *Tree) certainFile(file string, now time.Time, set map[string]bool) error {
	rel := t.Rel(file)
	st, err := os.Lstat(file)
	switch ext := filepath.Ext(rel); {
	case filepath.IsAbs(rel):
		return uncertain("%s isn't in the source tree", rel)
	case err != nil || !st.Mode().IsRegular():
		return uncertain("%s is no file any more", rel)
	case ext != ".c" && ext != ".S" && ext != ".h":
		return uncertain("%s is neither C nor assembler", rel)
	case strings.HasSuffix(rel, ".lds.S") || !plainName.MatchString(rel) || byTools(rel):
		return uncertain("%s takes rules of its own", rel)
	case st.ModTime().After(now):
		return uncertain("%s has a time in the future", rel)
	case ext == ".h":
		for _, option := range readHeaders {
			if set[option] {
				return uncertain("CONFIG_%s is set", option)
			}
		}
	}
	return nil
}

// Unread says whether a source file, which isn't new, is known to be read by nothing in the
// last build.
func (t *Tree) Unread(g *graph.Graph, file string) bool {
	set, err := t.autoConf()
	return err == nil && g.Len() > 0 && len(g.Broken()) == 0 && t.certainFile(file, time.Now(), set) == nil && len(g.Rebuilt(file)) == 0
}

// byTools says whether a source belongs to the programs that build the kernel, or to what
// is made of it by them.
func byTools(rel string) bool {
	top, _, _ := strings.Cut(rel, "/")
	switch top {
	case "scripts", "tools", "rust", "usr", "samples", "Documentation":
		return true
	}
	return strings.Contains(rel, "include/generated/") || strings.HasPrefix(rel, "include/config/")
}

// autoConf returns the options of the last build that are y or m.
func (t *Tree) autoConf() (map[string]bool, error) {
	data, err := os.ReadFile(filepath.Join(t.BuildDir, "include/config/auto.conf"))
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if name, is := strings.CutPrefix(name, "CONFIG_"); ok && is && (value == "y" || value == "m") {
			set[name] = true
		}
	}
	return set, nil
}

// archivesOf checks that objects go into vmlinux by archives of the directories above
// them, and by nothing else. It returns the archives.
func (t *Tree) archivesOf(objects []graph.Target, now time.Time) ([]string, error) {
	members := map[string]map[string]bool{} // of archives, by their directory
	in := func(dir, object string) (bool, error) {
		if members[dir] == nil {
			list, err := thinMembers(filepath.Join(t.BuildDir, dir, "built-in.a"))
			if err != nil {
				return false, uncertain("%v", err)
			}
			members[dir] = map[string]bool{}
			for _, m := range list {
				members[dir][path.Join(dir, m)] = true
			}
		}
		return members[dir][object], nil
	}
	var archives []string
	for _, o := range objects {
		if ok, err := in(".", o.Name); err != nil {
			return nil, err
		} else if !ok {
			return nil, uncertain("%s isn't simply linked into vmlinux", o.Name)
		}
		for dir := path.Dir(o.Name); ; dir = path.Dir(dir) {
			// Some directories have none: a Makefile above them names their objects.
			archive := path.Join(dir, "built-in.a")
			if st, err := os.Stat(filepath.Join(t.BuildDir, archive)); err == nil {
				if st.ModTime().After(now) {
					return nil, uncertain("%s has a time in the future", archive)
				}
				ok, err := in(dir, o.Name)
				if err != nil {
					return nil, err
				}
				if ok && !slices.Contains(archives, archive) {
					archives = append(archives, archive)
				}
			}
			if dir == "." {
				break
			}
		}
	}
	// Those deeper in the tree go into those above.
	slices.SortStableFunc(archives, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	return archives, nil
}

// linked are the targets at the top of the build directory that are made from the
// archives.
var linked = pattern.New(`^\.(\.?vmlinux.*|\.tmp_vmlinux.*|\.btf\..*|modules\.builtin.*|Module\.symvers)\.cmd$`)

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
		`(AR|LD|OBJTOOL|OBJCOPY|RSTRIP|STRIP|SORTTAB|BTF|BTFIDS|NM|KSYMS|AS|CC|SYSMAP|POSTLINK|RELOCS|XIPKERNEL) ` +
		`(\./)?(\.?vmlinux(\.[\w.-]+)?|\.tmp_vmlinux[\w.-]*|\.btf\.vmlinux[\w.-]*|System\.map|modules\.builtin[\w.]*)` +
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

// Outdate removes the .cmd files of targets that make has made since a time from files that
// were saved since it: they may have what was in a file before, and make would go by their
// times. Without files, it looks at all that the graph knows.
func (t *Tree) Outdate(g *graph.Graph, since time.Time, files []string) error {
	late := Saved(since, files)
	if files == nil {
		late = Saved(since, slices.DeleteFunc(g.Files(), func(file string) bool { return byTools(t.Rel(file)) }))
	}
	for _, target := range g.Rebuilt(late...) {
		st, err := os.Stat(filepath.Join(t.BuildDir, target.Name))
		if err != nil || st.ModTime().Before(since) {
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

// A Missed is a case where the full make behind a short build had something to do.
type Missed struct {
	Time     time.Time `json:"time"`
	Kernel   string    `json:"kernel"`
	Changed  []string  `json:"changed"`  // source files that the short build was for
	Compiled []string  `json:"compiled"` // objects that it compiled
	Steps    []string  `json:"steps"`    // what the full make did
}

// Prove runs the make that a short build stood for, and returns what that did: nothing,
// where the short build was right.
func (t *Tree) Prove(ctx context.Context, o BuildOptions) (steps []string, r *Result, err error) {
	o.Log = "proof.log"
	r, err = t.build(ctx, o)
	if r == nil {
		return nil, nil, err
	}
	steps = slices.DeleteFunc(slices.Clone(r.Steps), always.MatchString)
	if err == nil && !r.NewImage && !r.NewModules && !slices.ContainsFunc(steps, makes.MatchString) {
		steps = nil // some kernels do more each time than others
	}
	return steps, r, err
}

// SaveMissed keeps a case for a bug report, and returns the path of the file.
func (t *Tree) SaveMissed(m Missed) (string, error) {
	state, err := t.StateDir()
	if err != nil {
		return "", err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", err
	}
	name := filepath.Join(state, "missed.json")
	return name, os.WriteFile(name, append(data, '\n'), 0o644)
}
