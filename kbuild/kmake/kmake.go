// SPDX-License-Identifier: GPL-3.0-only

package kmake

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// A Count is what a build compiles.
type Count struct {
	Objects int // of vmlinux and of modules
	Modules int
	Boot    int // objects of what makes a boot image of vmlinux, on x86
}

// Objects counts what a build of a source tree compiles. arch is the architecture's
// directory below arch/, and option returns the value of an option, without CONFIG_, as
// .config has it: y, m, a number or a text without quotes; empty: it isn't set.
//
// The error says that the tree's files aren't as they should be.
func Objects(source, arch string, option func(string) string) (Count, error) {
	w := newWalk(source, arch, option)
	if err := w.all(); err != nil {
		return Count{}, err
	}
	return Count{Objects: len(w.objects), Modules: len(w.modules), Boot: w.boot()}, nil
}

// A walk goes through the directories.
type walk struct {
	source, arch string
	option       func(string) string
	objects      map[string]bool // by their paths
	modules      map[string]bool
	dirs         map[string]bool // that were read
}

func newWalk(source, arch string, option func(string) string) *walk {
	return &walk{source: source, arch: arch, option: option, objects: map[string]bool{}, modules: map[string]bool{}, dirs: map[string]bool{}}
}

// all goes through all directories of the build.
func (w *walk) all() error {
	if _, err := os.Stat(filepath.Join(w.source, "Kbuild")); err != nil {
		return err
	}
	// Until Linux 6.0, the top Makefile names the directories. These are those of all
	// kernels, which Kbuild files have had ever since.
	for _, dir := range []string{
		"", "init", "usr", "arch/" + w.arch, "kernel", "certs", "mm", "fs", "ipc", "security", "crypto", "lib", "drivers", "sound", "virt",
	} {
		w.dir(dir)
	}
	for dir, option := range map[string]string{"block": "BLOCK", "io_uring": "IO_URING", "net": "NET", "samples": "SAMPLES"} {
		if w.option(option) != "" {
			w.dir(dir)
		}
	}
	f := w.newFile("arch/" + w.arch)
	if err := f.read(filepath.Join(w.source, "arch", w.arch, "Makefile")); err != nil {
		return err
	}
	for _, name := range []string{"core-y", "drivers-y", "libs-y"} {
		for _, dir := range f.words(name) {
			if strings.HasSuffix(dir, "/") {
				w.dir(path.Clean(dir))
			}
		}
	}
	for _, object := range f.words("head-y") {
		w.objects[object] = true
	}
	return nil
}

// boot counts the objects of what makes a boot image of vmlinux.
func (w *walk) boot() int {
	n := 0
	for dir, list := range map[string]string{"boot": "setup-y", "boot/compressed": "vmlinux-objs-y"} {
		f := w.newFile(path.Join("arch", w.arch, dir))
		if f.read(filepath.Join(w.source, f.dir, "Makefile")) != nil {
			continue
		}
		for _, word := range f.words(list) {
			if strings.HasSuffix(word, ".o") {
				n++
			}
		}
	}
	return n
}

// dir reads the Kbuild file of a directory, and those of the directories that it names.
func (w *walk) dir(dir string) {
	if w.dirs[dir] {
		return
	}
	w.dirs[dir] = true
	f := w.newFile(dir)
	for _, name := range []string{"Kbuild", "Makefile"} {
		if dir == "" && name == "Makefile" {
			return // it isn't one of these
		}
		// What can't be read names nothing.
		if err := f.read(filepath.Join(w.source, dir, name)); !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	modules := w.option("MODULES") != ""
	for _, list := range []string{"obj-y", "lib-y", "extra-y", "always-y", "obj-m", "lib-m", "subdir-y", "subdir-m"} {
		if strings.HasSuffix(list, "-m") && !modules {
			continue
		}
		for _, word := range f.words(list) {
			switch {
			case strings.HasPrefix(list, "subdir-"), strings.HasSuffix(word, "/"):
				if !filepath.IsAbs(word) {
					w.dir(path.Join(dir, word))
				}
			case strings.HasSuffix(word, ".o"):
				w.object(f, word, list == "obj-m")
			}
		}
	}
}

// object counts an object, or those that it is linked from.
func (w *walk) object(f *file, word string, module bool) {
	stem := strings.TrimSuffix(word, ".o")
	if module {
		w.modules[path.Join(f.dir, word)] = true
	}
	parts := slices.Concat(f.words(stem+"-objs"), f.words(stem+"-y"))
	if module {
		parts = append(parts, f.words(stem+"-m")...)
	}
	count := 0
	for _, part := range parts {
		if strings.HasSuffix(part, ".o") {
			w.objects[path.Join(f.dir, part)] = true
			count++
		}
	}
	if count == 0 {
		w.objects[path.Join(f.dir, word)] = true
	}
}

// A file is a Kbuild file with those that it includes.
type file struct {
	*walk
	dir   string
	vars  map[string]variable
	depth int // of includes and expansions
}

// A variable is one of make's.
type variable struct {
	text string
	lazy bool // expanded where it is used
}

func (w *walk) newFile(dir string) *file {
	f := &file{walk: w, dir: dir, vars: map[string]variable{}}
	bits := "32"
	if w.option("64BIT") != "" {
		bits = "64"
	}
	for name, text := range map[string]string{
		"srctree": w.source, "src": dir, "obj": dir, "SRCARCH": w.arch, "ARCH": w.arch, "BITS": bits, "objtree": ".",
	} {
		f.vars[name] = variable{text: text}
	}
	return f
}

// words are those of a variable.
func (f *file) words(name string) []string { return strings.Fields(f.value(name)) }

// maxDepth is how deep includes and expansions go. A variable may name itself.
const maxDepth = 20

func (f *file) value(name string) string {
	if option, ok := strings.CutPrefix(name, "CONFIG_"); ok {
		return f.option(option)
	}
	v := f.vars[name]
	if v.lazy {
		return f.expand(v.text)
	}
	return v.text
}

var (
	assignment = pattern.New(`^(?:(?:export|override|private) +)*([^\s:=#?+]+(?:\([^)]*\)[^\s:=#?+]*)*)\s*(\+=|::?=|\?=|=)\s*(.*)$`)
	conditions = pattern.New(`^(else\s+)?(ifeq|ifneq|ifdef|ifndef)\b\s*(.*)$`)
)

// A branch is a conditional that isn't closed.
type branch struct {
	taken  bool // one of its parts was
	active bool // the present one is, and what is around it
	around bool
}

// read reads a file.
func (f *file) read(name string) error {
	if f.depth >= maxDepth {
		return nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	f.depth++
	defer func() { f.depth-- }()
	var open []branch
	active := func() bool { return len(open) == 0 || open[len(open)-1].active }
	defining := false
	for line := range strings.Lines(strings.ReplaceAll(string(data), "\\\n", " ")) {
		recipe := strings.HasPrefix(line, "\t")
		line = strings.TrimSpace(uncomment(line))
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "endef":
			defining = false
		case defining:
		case word == "define":
			defining = true
		case conditions.MatchString(line):
			m := conditions.FindStringSubmatch(line)
			holds := f.holds(m[2], m[3])
			if m[1] == "" {
				open = append(open, branch{taken: holds, active: holds && active(), around: active()})
			} else if n := len(open); n > 0 {
				b := &open[n-1]
				b.active, b.taken = holds && !b.taken && b.around, b.taken || holds
			}
		case word == "else":
			if n := len(open); n > 0 {
				b := &open[n-1]
				b.active, b.taken = !b.taken && b.around, true
			}
		case word == "endif":
			open = open[:max(0, len(open)-1)]
		case !active(), recipe && !assignment.MatchString(line):
		case word == "include", word == "-include":
			for _, path := range strings.Fields(f.expand(rest)) {
				if !filepath.IsAbs(path) {
					path = filepath.Join(f.source, path)
				}
				_ = f.read(path) // what is made first isn't there
			}
		default:
			if m := assignment.FindStringSubmatch(line); m != nil {
				f.assign(f.expand(m[1]), m[2], m[3])
			}
		}
	}
	return nil
}

// uncomment is a line without its comment.
func uncomment(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] != '\\') {
			return line[:i]
		}
	}
	return line
}

func (f *file) assign(name, how, text string) {
	old, known := f.vars[name]
	switch {
	case how == "+=" && known && old.lazy:
		f.vars[name] = variable{old.text + " " + text, true}
	case how == "+=":
		f.vars[name] = variable{text: strings.TrimSpace(old.text + " " + f.expand(text))}
	case how == "?=" && known:
	case how == "=" || how == "?=":
		f.vars[name] = variable{text, true}
	default:
		f.vars[name] = variable{text: f.expand(text)}
	}
}

// holds says whether a condition does.
func (f *file) holds(kind, text string) bool {
	switch kind {
	case "ifdef":
		return f.value(f.expand(text)) != ""
	case "ifndef":
		return f.value(f.expand(text)) == ""
	}
	var a, b string
	if inner, ok := strings.CutPrefix(text, "("); ok {
		inner = strings.TrimSuffix(strings.TrimSpace(inner), ")")
		args := split(inner)
		if len(args) < 2 {
			return kind == "ifneq"
		}
		a, b = args[0], strings.Join(args[1:], ",")
	} else if words := quoted.FindStringSubmatch(text); words != nil {
		a, b = words[1], words[2]
	}
	return (strings.TrimSpace(f.expand(a)) == strings.TrimSpace(f.expand(b))) == (kind == "ifeq")
}

var quoted = pattern.New(`^["']([^"']*)["']\s+["']([^"']*)["']`)

// split splits a function's arguments at commas that aren't in parentheses.
func split(text string) []string {
	var args []string
	depth, start := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '(', '{':
			depth++
		case ')', '}':
			depth--
		case ',':
			if depth == 0 {
				args = append(args, text[start:i])
				start = i + 1
			}
		}
	}
	return append(args, text[start:])
}

// expand replaces references to variables and functions.
func (f *file) expand(text string) string {
	if !strings.Contains(text, "$") || f.depth >= maxDepth {
		return text
	}
	f.depth++
	defer func() { f.depth-- }()
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		i++
		if text[i] != '(' && text[i] != '{' {
			continue // $@, or $$
		}
		depth, start := 0, i+1
		for ; i < len(text); i++ {
			if text[i] == '(' || text[i] == '{' {
				depth++
			} else if text[i] == ')' || text[i] == '}' {
				if depth--; depth == 0 {
					break
				}
			}
		}
		b.WriteString(f.reference(text[start:min(i, len(text))]))
	}
	return b.String()
}

// reference is what stands for the inside of $(…).
func (f *file) reference(text string) string {
	if name, rest, ok := strings.Cut(text, " "); ok && functions[name] != nil {
		return functions[name](f, split(strings.TrimLeft(rest, " \t")))
	} else if ok {
		return "" // a function that isn't known
	}
	text = f.expand(text)
	if name, change, ok := strings.Cut(text, ":"); ok {
		from, to, _ := strings.Cut(change, "=")
		if !strings.Contains(from, "%") {
			from, to = "%"+from, "%"+to
		}
		return each(f.value(name), func(w string) string { return substitute(from, to, w) })
	}
	return f.value(text)
}
