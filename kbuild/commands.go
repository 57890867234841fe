// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/kbuild/graph"
)

// CommandsName is the name of the compilation database in the build directory.
const CommandsName = "compile_commands.json"

// Commands keeps compile_commands.json in the build directory up to date: the compilation
// database from which clangd and other tools know how each file is compiled. It holds what
// scripts/clang-tools/gen_compile_commands.py of Linux 6.12 writes, when that looks at the
// whole build directory; but without the names of ccache and the like.
//
// See https://clang.llvm.org/docs/JSONCompilationDatabase.html.
type Commands struct {
	tree *Tree
	sums map[string]uint64 // of the entries by the object; nil: nothing was written yet
}

// Commands returns what keeps the tree's compile_commands.json.
func (t *Tree) Commands() *Commands { return &Commands{tree: t} }

// A compileCommand is an entry of the database, with its fields in the order of the script.
type compileCommand struct {
	Command   string `json:"command"`
	Directory string `json:"directory"`
	File      string `json:"file"`

	object string
}

// Update writes the database of the objects, unless that is what it has already. changed
// are the names of the targets that were made, or are gone, since the last call; the first
// call looks at all of them. A database that is no regular file is left alone.
func (c *Commands) Update(objects []graph.Target, changed []string) error {
	path := filepath.Join(c.tree.BuildDir, CommandsName)
	st, err := os.Lstat(path)
	switch {
	case err == nil && !st.Mode().IsRegular():
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err == nil && c.sums != nil {
		var again []graph.Target
		gone := false
		for _, name := range changed {
			i, ok := slices.BinarySearchFunc(objects, name, func(o graph.Target, name string) int { return strings.Compare(o.Name, name) })
			if ok {
				again = append(again, objects[i])
			} else if _, had := c.sums[name]; had {
				gone = true
			}
		}
		if !gone {
			list, err := c.read(again)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(list, func(e compileCommand) bool { return c.sums[e.object] != e.sum() }) {
				return nil
			}
		}
	}
	list, err := c.read(objects)
	if err != nil {
		return err
	}
	sums := make(map[string]uint64, len(list))
	for _, e := range list {
		sums[e.object] = e.sum()
	}
	if st == nil && len(list) == 0 {
		return nil
	}
	state, err := c.tree.StateDir()
	if err != nil {
		return err
	}
	if _, err := atomicfile.Refresh(path, encodeCommands(list), 0o644, state); err != nil {
		return err
	}
	c.sums = sums
	return nil
}

var commandSeed = maphash.MakeSeed()

func (e *compileCommand) sum() uint64 {
	return maphash.String(commandSeed, e.Command+"\x00"+e.File)
}

// read returns the entries of objects, in the order in which they are written: by file. A
// tool that wants one command of a file takes the first. So the object that the kernel
// usually has of a file comes before others, such as the one for kexec's purgatory.
func (c *Commands) read(objects []graph.Target) ([]compileCommand, error) {
	list := make([]compileCommand, len(objects))
	var g errgroup.Group
	parts := max(2, runtime.GOMAXPROCS(0))
	for part := range parts {
		g.Go(func() error {
			r := commandReader{dir: c.tree.BuildDir, dirs: map[string]string{}}
			for i := part; i < len(objects); i += parts {
				e, err := r.read(objects[i].Name)
				if err != nil {
					return err
				}
				list[i] = e
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w", CommandsName, err)
	}
	list = slices.DeleteFunc(list, func(e compileCommand) bool { return e.Command == "" })
	slices.SortFunc(list, func(a, b compileCommand) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(c.distance(a), c.distance(b)), cmp.Compare(a.object, b.object))
	})
	return list, nil
}

// distance is 0 for the object that has the name of its source, 1 for others.
func (c *Commands) distance(e compileCommand) int {
	stem := strings.TrimSuffix(e.object, ".o")
	if rel := c.tree.Rel(e.File); rel == stem+".c" || rel == stem+".S" {
		return 0
	}
	return 1
}

// A commandReader reads the commands of .cmd files.
type commandReader struct {
	dir  string
	buf  bufio.Reader
	dirs map[string]string // directories of sources without symbolic links
}

// read returns the entry of an object; the zero one if it wasn't compiled from C or
// assembler, or its source is gone.
func (r *commandReader) read(object string) (compileCommand, error) {
	f, err := os.Open(filepath.Join(r.dir, cmdFile(object)))
	if errors.Is(err, os.ErrNotExist) {
		return compileCommand{}, nil // make removed it meanwhile
	}
	if err != nil {
		return compileCommand{}, err
	}
	defer f.Close()
	r.buf.Reset(f)
	line, err := r.buf.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return compileCommand{}, err
	}
	command, source := compiles(line)
	if command == "" {
		return compileCommand{}, nil
	}
	file, ok := r.resolve(source)
	if !ok {
		return compileCommand{}, nil
	}
	return compileCommand{Command: command, Directory: r.dir, File: file, object: object}, nil
}

// resolve returns the absolute path, without symbolic links, of a source as a command has
// it.
func (r *commandReader) resolve(source string) (path string, ok bool) {
	if !filepath.IsAbs(source) {
		source = r.dir + "/" + source
	}
	dir, base := filepath.Split(source)
	real, known := r.dirs[dir]
	if !known {
		real, _ = filepath.EvalSymlinks(dir)
		r.dirs[dir] = real
	}
	if real == "" {
		return "", false
	}
	path = filepath.Join(real, base)
	st, err := os.Lstat(path)
	if err == nil && st.Mode()&os.ModeSymlink != 0 {
		path, err = filepath.EvalSymlinks(path)
	}
	return path, err == nil
}

// asMade undoes what make needs to read a command.
var asMade = strings.NewReplacer("$$", "$", `\#`, "#", "$(pound)", "#")

// compiles returns the compiler's command and the source, from the first line of an
// object's .cmd file. What follows the compiler's command is left out, such as objtool's.
func compiles(line string) (command, source string) {
	name, rest, ok := strings.Cut(strings.TrimRight(line, "\n"), " := ")
	name = strings.TrimPrefix(name, "saved") // since Linux 6.3
	if !ok || !strings.HasPrefix(name, "cmd_") || !strings.HasSuffix(name, ".o") {
		return "", ""
	}
	// As the script does: up to the last source that ends a command.
	for end := len(rest); end >= 0; end = strings.LastIndexByte(rest[:end], ';') {
		words := strings.TrimRight(rest[:end], " ")
		i := strings.LastIndexByte(words, ' ')
		if source := words[i+1:]; i >= 0 && (strings.HasSuffix(source, ".c") || strings.HasSuffix(source, ".S")) {
			return unwrap(asMade.Replace(words)), source
		}
	}
	return "", ""
}

// unwrap takes ccache and the like off a command: clangd takes the first word for the
// compiler, unless it knows better.
func unwrap(command string) string {
	wrap, _ := proc.SplitCompiler(command)
	for _, word := range wrap {
		command = strings.TrimLeft(strings.TrimPrefix(command, word), " ")
	}
	return command
}

// encodeCommands writes entries as the script does.
func encodeCommands(list []compileCommand) []byte {
	if len(list) == 0 {
		return []byte("[]\n") // not null
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	// Strings alone can't fail.
	_ = encoder.Encode(list)
	return b.Bytes()
}
