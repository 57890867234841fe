// SPDX-License-Identifier: GPL-3.0-only

package lines

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/boot/report/decode"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/kbuild"
)

const (
	// compileTime is how long the objects of one report may take to be compiled once more,
	// and compileTotal those of all. What isn't ready by then stays as it is.
	compileTime  = 30 * time.Second
	compileTotal = 2 * time.Minute
	// maxFunctions is for how many functions of one report objects are compiled.
	maxFunctions = 64
)

// A Decoder decodes reports of one build. It holds vmlinux, so that a build that replaces
// it in the meantime doesn't matter. It is safe for concurrent use.
type Decoder struct {
	tree   *kbuild.Tree // nil: only a vmlinux is known
	opened time.Time    // what is younger is of a later build, but for replaced
	built  time.Time    // when vmlinux was linked

	mu       sync.Mutex
	build    decode.Build
	files    []*decode.File // to be closed
	compiled map[decode.Function]*decode.File
	spent    time.Duration // with compiling

	replacing sync.Mutex // guards the two below
	replaced  map[string]time.Time
	changed   []string // of replaced: since the last Decode
}

// Open returns the decoder for what a tree was built to last. The error is one of
// fs.ErrNotExist where there is no vmlinux.
func Open(tree *kbuild.Tree) (*Decoder, error) {
	d, err := OpenVmlinux(filepath.Join(tree.BuildDir, "vmlinux"))
	if err != nil {
		return nil, err
	}
	d.tree = tree
	d.build.Source, d.build.Compile = tree.Source, d.compile
	return d, nil
}

// OpenVmlinux returns the decoder for a vmlinux. Modules are looked for in its directory.
func OpenVmlinux(path string) (*Decoder, error) {
	vmlinux, err := decode.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	if err != nil {
		_ = vmlinux.Close()
		return nil, err
	}
	d := &Decoder{opened: time.Now(), built: st.ModTime(), files: []*decode.File{vmlinux}, compiled: make(map[decode.Function]*decode.File)}
	d.build.Vmlinux, d.build.Module = vmlinux, d.module
	return d, nil
}

// Close gives everything back. Decode may not be called then.
func (d *Decoder) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files {
		_ = f.Close()
	}
	d.files = nil
}

// Cheap says whether frames are decoded without compiling anything.
func (d *Decoder) Cheap() bool { return d.build.Vmlinux.HasLines() }

// Decode gives a report's frames their files and lines. The error is a
// *decode.MismatchError if the report is of another build; then nothing is decoded.
func (d *Decoder) Decode(ctx context.Context, r *report.Report) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget()
	return d.build.Decode(ctx, r)
}

// Replace says that the kernel gets modules from a later build, which is as it is now.
func (d *Decoder) Replace(modules []string) {
	d.replacing.Lock()
	defer d.replacing.Unlock()
	if d.replaced == nil {
		d.replaced = make(map[string]time.Time)
	}
	for _, module := range modules {
		d.replaced[module] = time.Now()
	}
	d.changed = append(d.changed, modules...)
}

// forget drops what is known of modules that have been replaced.
func (d *Decoder) forget() {
	d.replacing.Lock()
	defer d.replacing.Unlock()
	for _, module := range d.changed {
		d.build.Forget(module)
		maps.DeleteFunc(d.compiled, func(f decode.Function, _ *decode.File) bool { return f.Module == module })
	}
	d.changed = nil
}

// asOf is the time after which what is younger isn't what the kernel has of a module; of
// the kernel itself without a name.
func (d *Decoder) asOf(module string) time.Time {
	d.replacing.Lock()
	defer d.replacing.Unlock()
	if t, ok := d.replaced[module]; ok {
		return t
	}
	return d.opened
}

// module opens the file of a module.
func (d *Decoder) module(name string) *decode.File {
	var path string
	if d.tree != nil {
		path = d.tree.ModuleFiles()[name].Path
	} else {
		path = findModule(filepath.Dir(d.build.Vmlinux.Path()), name)
	}
	if st, err := os.Stat(path); err != nil || st.ModTime().After(d.asOf(name)) {
		return nil
	}
	f, err := decode.Open(path)
	if err != nil {
		return nil
	}
	d.files = append(d.files, f)
	return f
}

// findModule looks for a module below a directory, as scripts/decode_stacktrace.sh does.
func findModule(dir, name string) string {
	var found string
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // the others may have it
		}
		base, isModule := strings.CutSuffix(filepath.Base(path), ".ko")
		if isModule && !e.IsDir() && strings.ReplaceAll(base, "-", "_") == name {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// compile returns the objects of functions, compiled once more.
func (d *Decoder) compile(ctx context.Context, functions []decode.Function) []*decode.File {
	asOf := make(map[time.Time][]kbuild.Function)
	n := 0
	for _, f := range functions {
		if _, known := d.compiled[f]; !known && n < maxFunctions {
			at := d.asOf(f.Module)
			asOf[at] = append(asOf[at], kbuild.Function(f))
			n++
		}
	}
	if left := min(compileTime, compileTotal-d.spent); n > 0 && left > 0 {
		limited, cancel := context.WithTimeout(ctx, left)
		defer cancel()
		began := time.Now()
		for at, missing := range asOf {
			d.recompile(limited, at, missing)
		}
		d.spent += time.Since(began)
	}
	objects := make([]*decode.File, len(functions))
	for i, f := range functions {
		objects[i] = d.compiled[f]
	}
	return objects
}

func (d *Decoder) recompile(ctx context.Context, asOf time.Time, functions []kbuild.Function) {
	// A compile takes seconds, and run-kernel can be killed meanwhile.
	dir, remove, err := private.TempDir("run-kernel-lines-")
	if err != nil {
		return
	}
	// What is mapped stays.
	defer remove()
	opened := make(map[string]*decode.File)
	for i, path := range d.tree.Recompile(ctx, dir, asOf, functions) {
		if path == "" {
			if ctx.Err() == nil {
				d.compiled[decode.Function(functions[i])] = nil
			}
			continue
		}
		if opened[path] == nil {
			f, err := decode.Open(path)
			if err != nil {
				continue
			}
			d.files = append(d.files, f)
			opened[path] = f
		}
		d.compiled[decode.Function(functions[i])] = opened[path]
	}
}
