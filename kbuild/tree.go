// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Options say where the tree is and how it is built. Empty fields are make's
// defaults.
type Options struct {
	Dir          string // a folder of the tree, or of a build directory
	Output       string // O=, relative to Dir
	Arch         string // ARCH=
	CrossCompile string // CROSS_COMPILE=
	LLVM         string // LLVM=
	CC           string // CC=
	Jobs         int    // -j; 0: one for each processor
}

// A Tree is a kernel source and the directory it is built in.
type Tree struct {
	Source   string // absolute, without links
	BuildDir string // the same as Source for an in-tree build

	options Options
}

// A NotTreeError says that a folder belongs to no kernel tree.
type NotTreeError struct{ Dir string }

func (e *NotTreeError) Error() string {
	return fmt.Sprintf("%s is not in a Linux kernel tree", e.Dir)
}

// Hint says where to go.
func (e *NotTreeError) Hint() string {
	return "change to the top of a kernel source (the folder with Kbuild, Kconfig, Makefile, init and scripts), or to its build directory"
}

// Find looks for the tree from o.Dir upwards. In a build directory made with
// O=, it is the source that the directory was made from. It makes the build
// directory where there is none yet, as make does.
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
	// A link into the tree has other parents than the folder that it names.
	if physical, err := filepath.EvalSymlinks(dir); err == nil && physical != dir {
		dirs = append(dirs, physical)
	}
	for _, start := range dirs {
		for d := start; ; d = filepath.Dir(d) {
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
	return nil, &NotTreeError{dir}
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

// checkArch looks for the architecture's folder.
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
	return t, nil
}

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

func isSource(dir string) bool {
	for _, name := range []string{"Kbuild", "Kconfig", "Makefile", "scripts/kconfig", "init/main.c"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

func isBuild(dir string) bool {
	return isSource(filepath.Join(dir, "source"))
}

// InTree says whether the source is the build directory.
func (t *Tree) InTree() bool { return t.Source == t.BuildDir }

// ConfigPath is the .config that the build uses.
func (t *Tree) ConfigPath() string { return filepath.Join(t.BuildDir, ".config") }

// StatePath is the path of a file in the state directory, which may not exist.
func (t *Tree) StatePath(name string) string { return filepath.Join(t.BuildDir, ".run-kernel", name) }

// StateDir returns the directory for what run-kernel keeps of this build, and
// makes it.
func (t *Tree) StateDir() (string, error) {
	dir := t.StatePath("")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	// The kernel's .gitignore has it by its leading dot, a build directory inside
	// of another project has not.
	ignore := filepath.Join(dir, ".gitignore")
	if _, err := os.Stat(ignore); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(ignore, []byte("*\n"), 0o644); err != nil {
			return "", fmt.Errorf("state directory: %w", err)
		}
	}
	return dir, nil
}

// Arch is the architecture as make's ARCH has it.
func (t *Tree) Arch() string {
	if t.options.Arch != "" {
		return t.options.Arch
	}
	switch runtime.GOARCH {
	case "amd64":
		return "x86"
	case "riscv64":
		return "riscv"
	case "ppc64", "ppc64le":
		return "powerpc"
	case "s390x":
		return "s390"
	}
	return runtime.GOARCH
}

// SrcArch is the architecture's folder below arch/.
func (t *Tree) SrcArch() string { return SrcArch(t.Arch()) }

// SrcArch is the folder below arch/ for make's ARCH.
func SrcArch(arch string) string {
	switch arch {
	case "x86_64", "i386":
		return "x86"
	case "sparc32", "sparc64":
		return "sparc"
	case "parisc64":
		return "parisc"
	default:
		return arch
	}
}

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
