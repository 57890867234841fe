// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bytes"
	"context"
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/metaspace/run-kernel/internal/elffile"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/proc"
)

// A Function is one of the build, as its symbols tell it.
type Function struct {
	Name   string
	Size   uint64 // in bytes, without padding; 0 for a label in assembly
	Module string // as the running kernel names it; empty for vmlinux
	Source string // name of the source file without directories; empty when unknown
}

// Recompile compiles the objects of functions once more, with debug information, by their
// saved commands into the directory dir, where each has a name of its own. It returns the
// path of the new object for each function, in their order; empty for one whose object
// isn't known for certain, is younger than built, has a source that is younger than it,
// or didn't compile until the end of ctx. The build directory stays as it is.
//
// It compiles as many at once as there are processors, those of the first functions first.
func (t *Tree) Recompile(ctx context.Context, dir string, built time.Time, functions []Function) []string {
	made := make(map[string]func() string) // by object
	wanted := make([]func() string, len(functions))
	var compiles errgroup.Group
	compiles.SetLimit(runtime.NumCPU())
	for i, object := range t.objectsOf(functions) {
		if object == "" {
			continue
		}
		if made[object] == nil {
			out := filepath.Join(dir, strconv.Itoa(len(made))+".o")
			made[object] = sync.OnceValue(func() string {
				if !t.recompile(ctx, object, out, built) {
					return ""
				}
				return out
			})
			compile := made[object]
			compiles.Go(func() error {
				compile()
				return nil
			})
		}
		wanted[i] = made[object]
	}
	_ = compiles.Wait() // a compile that fails leaves its path empty
	paths := make([]string, len(functions))
	for i, path := range wanted {
		if path != nil {
			paths[i] = path()
		}
	}
	return paths
}

// objectsOf returns the object of each function, relative to the build directory.
func (t *Tree) objectsOf(functions []Function) []string {
	objects := make([]string, len(functions))
	byModule := make(map[string][]int)
	for i, f := range functions {
		byModule[f.Module] = append(byModule[f.Module], i)
	}
	for module, list := range byModule {
		var among []string
		if module == "" {
			among = t.kernelObjects()
		} else {
			among = t.moduleObjects(module)
		}
		wanted := make([]Function, len(list))
		for i, n := range list {
			wanted[i] = functions[n]
		}
		for i, object := range t.whoHas(among, wanted) {
			objects[list[i]] = object
		}
	}
	return objects
}

// kernelObjects are the objects that vmlinux was linked from. Since Linux 6.1 one archive
// has them; before, one in each directory.
func (t *Tree) kernelObjects() []string {
	if list, err := archived(filepath.Join(t.BuildDir, "vmlinux.a")); err == nil {
		lib, _ := filepath.Glob(filepath.Join(t.BuildDir, "lib/lib.a"))
		libs, _ := filepath.Glob(filepath.Join(t.BuildDir, "arch/*/lib/lib.a"))
		return t.archives(list, append(lib, libs...))
	}
	var list, more []string
	_ = filepath.WalkDir(t.BuildDir, func(path string, e fs.DirEntry, err error) error {
		switch name := filepath.Base(path); {
		case err != nil:
		case e.IsDir() && (name == "tools" || name == "scripts" || name == StateName || name == ".git"):
			return filepath.SkipDir
		case name == "built-in.a", name == "lib.a":
			more = append(more, path)
		}
		return nil
	})
	return t.archives(list, more)
}

// archives adds the members of archives to a list, each once.
func (t *Tree) archives(list, archives []string) []string {
	known := make(map[string]bool)
	var all []string
	add := func(base string, members []string) {
		for _, member := range members {
			path := filepath.Join(base, member)
			if filepath.Ext(path) == ".o" && !known[path] {
				known[path] = true
				all = append(all, path)
			}
		}
	}
	add("", list)
	for _, archive := range archives {
		members, err := archived(archive)
		if err != nil {
			continue
		}
		rel, err := filepath.Rel(t.BuildDir, filepath.Dir(archive))
		if err != nil {
			continue
		}
		add(rel, members)
	}
	return all
}

// archived lists the members of a thin archive, relative to its directory, with or
// without a symbol table.
func archived(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseThin(data, path, true)
}

// moduleObjects are the objects of a module.
func (t *Tree) moduleObjects(name string) []string {
	file := t.ModuleFiles()[name].Path
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(strings.TrimSuffix(file, ".ko") + ".mod")
	if err != nil {
		return nil
	}
	var list []string
	for _, object := range strings.Fields(string(data)) {
		if strings.HasSuffix(object, ".o") {
			list = append(list, object)
		}
	}
	return list
}

// whoHas returns, for each function, the only one of the objects that defines it. Where
// several do, that of the function's source counts.
func (t *Tree) whoHas(objects []string, functions []Function) []string {
	var mu sync.Mutex
	all := make([][]string, len(functions))
	var searches errgroup.Group
	searches.SetLimit(2 * runtime.NumCPU())
	for _, object := range objects {
		searches.Go(func() error {
			for _, i := range defines(t.inBuild(object), functions) {
				mu.Lock()
				all[i] = append(all[i], object)
				mu.Unlock()
			}
			return nil
		})
	}
	_ = searches.Wait() // an object that can't be read has nothing
	found := make([]string, len(functions))
	for i, list := range all {
		if len(list) > 1 {
			stem := strings.TrimSuffix(functions[i].Source, filepath.Ext(functions[i].Source))
			list = slices.DeleteFunc(list, func(object string) bool { return strings.TrimSuffix(filepath.Base(object), ".o") != stem })
		}
		if len(list) == 1 {
			found[i] = list[0]
		}
	}
	return found
}

// defines returns the indexes of the functions that an object has.
func defines(path string, functions []Function) []int {
	f, err := elffile.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	table := f.SectionByType(elf.SHT_SYMTAB)
	if table == nil || int(table.Link) >= len(f.Sections) {
		return nil
	}
	names, err := elffile.Data(f.Sections[table.Link])
	if err != nil {
		return nil
	}
	var likely []int
	for i, fn := range functions {
		if bytes.Contains(names, append([]byte(fn.Name), 0)) {
			likely = append(likely, i)
		}
	}
	if len(likely) == 0 {
		return nil
	}
	symbols, err := elffile.Symbols(f)
	if err != nil {
		return nil
	}
	var found []int
	for _, i := range likely {
		for _, s := range symbols {
			if s.Name == functions[i].Name && s.Size == functions[i].Size && int(s.Section) < len(f.Sections) && s.Section != elf.SHN_UNDEF &&
				f.Sections[s.Section].Flags&elf.SHF_EXECINSTR != 0 {
				found = append(found, i)
				break
			}
		}
	}
	return found
}

// What compiles C and assembles: its output and its input.
var recompiled = pattern.New(`^(.*) -c -o (\S+) (\S+\.[cS])\s*$`)

// recompile compiles an object once more, and says whether that went well.
func (t *Tree) recompile(ctx context.Context, object, out string, built time.Time) bool {
	path := t.inBuild(object)
	data, err := os.ReadFile(t.inBuild(cmdFile(object)))
	if err != nil || ctx.Err() != nil {
		return false
	}
	made, err := os.Stat(path)
	if err != nil || made.ModTime().After(built) || t.younger(data, made.ModTime()) {
		return false
	}
	command := savedCompile(data)
	m := recompiled.FindStringSubmatch(command)
	if m == nil {
		return false
	}
	command = listsHeaders.ReplaceAllString(m[1], "") + " -g -c -o " + shellQuote(out) + " " + m[3]
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir, cmd.Env = t.BuildDir, Environ()
	return proc.Run(ctx, cmd, grace) == nil
}

// inBuild is the path of a file that make names, from the build directory.
func (t *Tree) inBuild(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(t.BuildDir, path)
}

// savedCompile is the command of a .cmd file, as make reads it, without what works on the
// object afterwards: objtool and the like.
func savedCompile(data []byte) string {
	first, _, _ := strings.Cut(string(data), "\n")
	saved := savedCommand.FindStringSubmatch(first)
	if saved == nil {
		return ""
	}
	command := strings.NewReplacer("$$", "$", `\#`, "#").Replace(saved[1])
	command, _, _ = strings.Cut(command, " ; ")
	return command
}

// younger says whether one of the files that a .cmd file lists is younger than the object
// made from them, or is missing.
func (t *Tree) younger(data []byte, made time.Time) bool {
	listed := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		source, isSource := strings.CutPrefix(line, "source_")
		switch {
		case isSource:
			_, line, _ = strings.Cut(source, " := ")
		case strings.HasPrefix(line, "deps_"):
			listed = true
			continue
		case listed && strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "    "):
			line = strings.TrimSuffix(strings.TrimSpace(line), " \\")
		default:
			continue
		}
		if st, err := os.Stat(t.inBuild(line)); err != nil || st.ModTime().After(made) {
			return true
		}
	}
	return !listed
}

// shellQuote quotes a word for a shell.
func shellQuote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
