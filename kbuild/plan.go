// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/kbuild/graph"
)

// shortObjects is how many objects a short build has at most. With more, make's walk
// matters little.
const shortObjects = 200

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
	case !slices.Contains([]string{"", "0"}, os.Getenv("KBUILD_VERBOSE")):
		// Then make prints whole commands in place of steps, or reasons behind them, and what
		// it did can't be told.
		return nil, uncertain("KBUILD_VERBOSE is set")
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
	if err := t.checkRules(s.Objects); err != nil {
		return nil, err
	}
	if s.modules = t.modulesOf(s.Objects); len(s.modules) > 0 {
		if !o.Modules {
			return nil, uncertain("no module is built")
		}
		if s.archives, err = t.listsOf(s.modules, now); err != nil {
			return nil, err
		}
		return s, nil
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
func (t *Tree) checkRules(objects []graph.Target) error {
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
		has := false // a directory further down
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
				if !ok && has {
					// The directory below isn't a part of this one, but of one above, as
					// arch/x86/pci is by arch/x86/Makefile. make compiles the object for both,
					// at the same time, and for this one by rules that aren't its own.
					return nil, uncertain("%s is below a directory that it doesn't belong to", o.Name)
				}
				if has = has || ok; ok && !slices.Contains(archives, archive) {
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
