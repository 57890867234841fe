// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/trust"
)

// Options say where the tree is and how it is built. Empty fields are make's
// defaults.
type Options struct {
	Dir          string   // a directory of the tree, or of a build directory
	Output       string   // O=, relative to Dir
	Arch         string   // ARCH=
	CrossCompile string   // CROSS_COMPILE=
	LLVM         string   // LLVM=
	CC           string   // CC=
	Jobs         int      // -j; 0: see Jobs
	Host         string   // on which make builds, as ssh and rsync name it; empty: this machine
	External     []string // directories of modules outside of the tree, each as in M=; absolute

	// Trust says whose trees and build directories are used: make runs what is in
	// them.
	Trust trust.Policy
}

// A Tree is a kernel source and the directory it is built in.
type Tree struct {
	Source   string   // absolute, without links
	BuildDir string   // the same as Source for an in-tree build
	External []string // directories of modules outside of the tree, absolute, without links

	options Options
}

// A NotTreeError says that a directory belongs to no kernel tree.
type NotTreeError struct {
	Dir string

	stopped string // looks like a tree, but everybody can write it; empty: nothing does
	trust   trust.Policy
}

func (e *NotTreeError) Error() string {
	return fmt.Sprintf("%s is not in a Linux kernel tree", e.Dir)
}

// Hint says where to go.
func (e *NotTreeError) Hint() string {
	if e.stopped != "" {
		return "change to a kernel source, or to its build directory; " + e.trust.Allow(e.stopped)
	}
	return "change to the top of a kernel source (the directory with Kbuild, Kconfig, Makefile, init and scripts), or to its build directory"
}

// Find looks for the tree from o.Dir upwards. In a build directory made with
// O=, it is the source that the directory was made from. It makes the build
// directory where there is none yet, as make does.
//
// The search ends below a directory that everybody can write. A tree or a build
// directory whose owner isn't trusted is a *trust.ForeignError.
func Find(o Options) (*Tree, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	output := o.Output
	if output != "" && !filepath.IsAbs(output) {
		output = filepath.Join(dir, output)
	}
	dirs := []string{dir}
	// A link into the tree has other parents than the directory that it names.
	if physical, err := filepath.EvalSymlinks(dir); err == nil && physical != dir {
		dirs = append(dirs, physical)
	}
	none := &NotTreeError{Dir: dir, trust: o.Trust}
	for _, start := range dirs {
		for d := start; ; d = filepath.Dir(d) {
			if o.Trust.Stops(d) {
				if isSource(d) || isBuild(d) {
					none.stopped = d
				}
				break
			}
			if isSource(d) {
				return newTree(d, output, o)
			}
			if isBuild(d) {
				// make leaves a link to the source in each build directory.
				if output == "" {
					output = d
				}
				return newTree(filepath.Join(d, "source"), output, o)
			}
			if d == "/" {
				break
			}
		}
	}
	return nil, none
}

// An ArchError says that a kernel has no such architecture.
type ArchError struct {
	Arch, Source string
	has          []string
}

func (e *ArchError) Error() string {
	return fmt.Sprintf("%s has no architecture %q", e.Source, e.Arch)
}

// Hint lists those that there are.
func (e *ArchError) Hint() string { return "it has " + strings.Join(e.has, ", ") }

// checkArch looks for the architecture's directory.
func (t *Tree) checkArch() error {
	if _, err := os.Stat(filepath.Join(t.Source, "arch", t.SrcArch())); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	e := &ArchError{Arch: t.Arch(), Source: t.Source}
	entries, _ := os.ReadDir(filepath.Join(t.Source, "arch"))
	for _, entry := range entries {
		if entry.IsDir() {
			e.has = append(e.has, entry.Name())
		}
	}
	if len(e.has) == 0 {
		return nil // less than a kernel: make says what is missing
	}
	return e
}

func newTree(source, build string, o Options) (*Tree, error) {
	source, err := filepath.EvalSymlinks(source)
	if err != nil {
		return nil, err
	}
	t := &Tree{Source: source, options: o}
	if err := o.Trust.Check("kernel tree", source, sourceFiles...); err != nil {
		return nil, err
	}
	if err := t.checkArch(); err != nil {
		return nil, err
	}
	if build == "" {
		build = source
	}
	if err := os.MkdirAll(build, 0o755); err != nil {
		return nil, fmt.Errorf("build directory: %w", err)
	}
	if t.BuildDir, err = filepath.EvalSymlinks(build); err != nil {
		return nil, err
	}
	if err := o.Trust.Check("build directory", t.BuildDir, buildFiles...); err != nil {
		return nil, err
	}
	for _, dir := range o.External {
		dir, err := externalDir(dir, o)
		if err != nil {
			return nil, err
		}
		t.External = append(t.External, dir)
	}
	return t, nil
}

// An externalError says that there are no modules in a directory.
type externalError struct{ dir string }

func (e *externalError) Error() string {
	return fmt.Sprintf("%s has neither a Kbuild file nor a Makefile", e.dir)
}

func (e *externalError) Hint() string {
	return "a directory of modules has one, such as: obj-m := mine.o"
}

// externalDir is a directory of modules, without links.
func externalDir(dir string, o Options) (string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("modules outside of the tree: %w", err)
	}
	if err := o.Trust.Check("module directory", real, "Kbuild", "Makefile"); err != nil {
		return "", err
	}
	for _, name := range []string{"Kbuild", "Makefile"} {
		if _, err := os.Stat(filepath.Join(real, name)); err == nil {
			return real, nil
		}
	}
	return "", &externalError{real}
}

// Generated says whether make makes a file in a directory of modules, by its name.
func Generated(name string) bool {
	name = filepath.Base(name)
	switch name {
	case "modules.order", "Module.symvers", ".module-common.o":
		return true
	}
	for _, suffix := range []string{".o", ".ko", ".mod", ".mod.c", ".cmd", ".d", ".dwo", ".a", ".symversions"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return strings.HasPrefix(name, ".tmp_")
}

// ExternalOf returns the directory of modules outside of the tree that a file is in; empty:
// it is in none.
func (t *Tree) ExternalOf(file string) string {
	for _, dir := range t.External {
		// The tree may be in that directory, and is no part of the modules then.
		if Within(dir, file) && !(Within(dir, t.Source) && Within(t.Source, file)) {
			return dir
		}
	}
	return ""
}

// Within says whether a path is a directory's, or that of something in it.
func Within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// CheckPaths says when make can't work where the tree is. The top Makefile refuses such a
// source, but only after the compiler has seemed to be of no use; its rules take a colon in a
// build directory for their own.
func (t *Tree) CheckPaths() error {
	switch {
	case len(strings.FieldsFunc(t.Source, func(r rune) bool { return r == ':' || unicode.IsSpace(r) })) > 1:
		return &pathError{"source tree", t.Source, "a blank or a colon"}
	case strings.Contains(t.BuildDir, ":"):
		return &pathError{"build directory", t.BuildDir, "a colon"}
	}
	return nil
}

type pathError struct{ what, path, has string }

func (e *pathError) Error() string {
	return fmt.Sprintf("make can't build with %s in the path of the %s: %s", e.has, e.what, e.path)
}

func (e *pathError) Hint() string { return "give it another name; a link isn't enough" }

// checkClean is make's own check, in its Makefile's target outputmakefile; there
// it comes after seconds, and deep in the output.
func (t *Tree) checkClean() error {
	if t.InTree() {
		return nil
	}
	for _, name := range []string{".config", "include/config", "arch/" + t.SrcArch() + "/include/generated"} {
		if _, err := os.Stat(filepath.Join(t.Source, name)); err == nil {
			return &dirtySourceError{source: t.Source, found: name}
		}
	}
	return nil
}

type dirtySourceError struct{ source, found string }

func (e *dirtySourceError) Error() string {
	return fmt.Sprintf("%s was built in place (it has %s), and can't be built with O= before it is cleaned", e.source, e.found)
}

func (e *dirtySourceError) Hint() string {
	return fmt.Sprintf("save its .config if you need it, then run: make -C %s mrproper", e.source)
}

// sourceMarks are what makes a directory a kernel tree.
var sourceMarks = []string{"Kbuild", "Kconfig", "Makefile", "scripts/kconfig", "init/main.c"}

// Files whose owners count, beside that of the directory. They are those that make
// reads first, and those that a directory needs to be taken for what it is.
var (
	sourceFiles = append([]string{"scripts", "init", "arch"}, sourceMarks...)
	buildFiles  = []string{"source", "Makefile", ".config", "include", "include/config", "include/config/auto.conf"}
)

func isSource(dir string) bool {
	for _, name := range sourceMarks {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

func isBuild(dir string) bool {
	return isSource(filepath.Join(dir, "source"))
}

// Trust says whose trees and build directories are used.
func (t *Tree) Trust() *trust.Policy { return &t.options.Trust }

// InTree says whether the source is the build directory.
func (t *Tree) InTree() bool { return t.Source == t.BuildDir }

// ConfigPath is the .config that the build uses.
func (t *Tree) ConfigPath() string { return filepath.Join(t.BuildDir, ".config") }

// StatePath is the path of a file in the state directory, which may not exist.
func (t *Tree) StatePath(name string) string { return filepath.Join(t.BuildDir, StateName, name) }

// StateName is the name of the state directory in the build directory.
const StateName = ".run-kernel"

// StateDir returns the directory for what run-kernel keeps of this build, and
// makes it, or makes sure that it is the user's alone. With names, it is a
// directory in it.
func (t *Tree) StateDir(names ...string) (string, error) {
	dir := t.StatePath("")
	if err := private.MkdirAll(&t.options.Trust, t.BuildDir, StateName); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	// The kernel's .gitignore has it by its leading dot, a build directory inside
	// of another project has not.
	ignore := filepath.Join(dir, ".gitignore")
	if _, err := os.Lstat(ignore); errors.Is(err, os.ErrNotExist) {
		if err := private.WriteFile(ignore, []byte("*\n")); err != nil {
			return "", fmt.Errorf("state directory: %w", err)
		}
	}
	if len(names) == 0 {
		return dir, nil
	}
	names = append([]string{StateName}, names...)
	if err := private.MkdirAll(&t.options.Trust, t.BuildDir, names...); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return filepath.Join(append([]string{t.BuildDir}, names...)...), nil
}

// Arch is the architecture as make's ARCH has it.
func (t *Tree) Arch() string {
	if t.options.Arch != "" {
		return t.options.Arch
	}
	return arch.Host().Kernel
}

// SrcArch is the architecture's directory below arch/.
func (t *Tree) SrcArch() string { return arch.OfKernel(t.Arch()).Kernel }

// Version is the version that the Makefile declares, such as 6.1.176.
func (t *Tree) Version() (string, error) {
	f, err := os.Open(filepath.Join(t.Source, "Makefile"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	parts := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan() && len(parts) < 4; {
		name, value, ok := strings.Cut(s.Text(), "=")
		switch name = strings.TrimSpace(name); {
		case !ok:
		case name == "VERSION", name == "PATCHLEVEL", name == "SUBLEVEL", name == "EXTRAVERSION":
			parts[name] = strings.TrimSpace(value)
		}
	}
	if parts["VERSION"] == "" || parts["PATCHLEVEL"] == "" {
		return "", fmt.Errorf("%s declares no version", f.Name())
	}
	v := parts["VERSION"] + "." + parts["PATCHLEVEL"]
	if parts["SUBLEVEL"] != "" {
		v += "." + parts["SUBLEVEL"]
	}
	return v + parts["EXTRAVERSION"], nil
}
