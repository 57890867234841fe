// SPDX-License-Identifier: GPL-3.0-only

package decode

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/internal/pattern"
)

// A Build is the kernel that has made a report.
type Build struct {
	Vmlinux *File
	// Source is the source tree. The files of frames are relative to it. Empty: it is
	// where vmlinux says that init/main.c was.
	Source string
	// Module returns the file of a module, by the name that frames have. It may return
	// nil, and be nil. The files stay open until Close.
	Module func(name string) *File
	// Compile returns, for functions of files without debug information, the objects
	// with debug information that have the same code; nil for a function without. It
	// may be nil.
	Compile func(ctx context.Context, functions []Function) []*File

	source  string // with Source, or what stands for it
	modules map[string]*File
}

// A Function is one of vmlinux or of a module.
type Function struct {
	Name   string
	Size   uint64 // of its code, without padding; 0 for a label in assembly
	Module string // as frames have it; empty for vmlinux
	Source string // name of the source file without directories, where the symbols tell it
}

// A MismatchError says that a report is of another build.
type MismatchError struct {
	Path   string // of vmlinux
	Report string // what the report says of its kernel
	Build  string // what vmlinux says
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s isn't the kernel of this report: it is %s, the report is of %s", e.Path, e.Build, e.Report)
}

// Hint is a next step.
func (e *MismatchError) Hint() string {
	return "--vmlinux PATH names the vmlinux of the build that made the report"
}

// identityLine is the line of dump_stack_print_info in lib/dump_stack.c that names the
// kernel: its release, the first word of its version, and, with
// CONFIG_STACKTRACE_BUILD_ID, its build id.
var identityLine = pattern.New(`(?m)^CPU: [0-9]+ (?:UID: [0-9]+ )?PID: [0-9]+ Comm: .*? (?:Not tainted|Tainted: [][A-Z=, ]+?) +([0-9]+\.[0-9]+\S*) (#\S+)(?: ([0-9a-f]{40})\b)?`)

// Check says whether a report is of this build: a *MismatchError if it isn't. A report
// that doesn't tell passes; functions of another size then aren't decoded.
func (b *Build) Check(r *report.Report) error {
	own := b.Vmlinux.Banner()
	e := &MismatchError{Path: b.Vmlinux.Path()}
	m := identityLine.FindStringSubmatch(r.Text)
	if m != nil && m[3] != "" {
		if id := b.Vmlinux.BuildID(); id != "" && id != m[3] {
			e.Report, e.Build = "build id "+m[3], "build id "+id
			return e
		}
	}
	switch {
	case own == "":
	case r.Banner != "":
		if r.Banner != own {
			e.Report, e.Build = kernelOf(r.Banner), kernelOf(own)
			return e
		}
	case m != nil:
		release, version := cutBanner(own)
		number, _, _ := strings.Cut(version, " ")
		if m[1] != release || m[2] != number {
			e.Report, e.Build = m[1]+" "+m[2], release+" "+number
			return e
		}
	}
	return nil
}

// cutBanner returns the release and the version in a banner: "6.1.0", "#3 SMP Mon …".
func cutBanner(banner string) (release, version string) {
	release, rest, _ := strings.Cut(strings.TrimPrefix(banner, "Linux version "), " ")
	if i := strings.LastIndex(rest, ") #"); i >= 0 {
		version = rest[i+2:]
	}
	return release, version
}

func kernelOf(banner string) string {
	release, version := cutBanner(banner)
	return strings.TrimSpace(release + " " + version)
}

// Decode gives the frames of a report their files and lines, with a frame for each
// function that was inlined, and the report its place where the headline has none. What
// can't be told stays as it is. The error is a *MismatchError if the report is of another
// build; then nothing is decoded.
func (b *Build) Decode(ctx context.Context, r *report.Report) error {
	if err := b.Check(r); err != nil {
		return err
	}
	places := make(map[frameKey][]Place)
	var missing []frameKey
	for _, s := range r.Stacks {
		for i, f := range s.Frames {
			key := keyOf(f)
			if _, known := places[key]; known || !unnamed(r, s.Frames, i) {
				continue
			}
			file := b.file(f.Module, f.BuildID)
			if file == nil {
				continue
			}
			if !file.HasLines() {
				places[key] = nil
				missing = append(missing, key)
				continue
			}
			found, err := file.Decode(f.Function, f.Offset, f.Size)
			if err != nil {
				return err
			}
			places[key] = found
		}
	}
	if len(missing) > 0 && b.Compile != nil {
		b.compiled(ctx, missing, places)
	}
	for i := range r.Stacks {
		r.Stacks[i].Frames = b.expand(r, r.Stacks[i].Frames, places)
	}
	r.Locate()
	return nil
}

type frameKey struct {
	function, module, buildID string
	offset, size              uint64
}

func keyOf(f report.Frame) frameKey {
	return frameKey{f.Function, f.Module, f.BuildID, f.Offset, f.Size}
}

// file is vmlinux, or a module of this build.
func (b *Build) file(module, buildID string) *File {
	if module == "" {
		return b.Vmlinux
	}
	file, known := b.modules[module]
	if !known && b.Module != nil {
		if file = b.Module(module); b.modules == nil {
			b.modules = make(map[string]*File)
		}
		b.modules[module] = file
	}
	if file == nil {
		return nil
	}
	if id := file.BuildID(); buildID != "" && id != "" && id != buildID {
		return nil
	}
	return file
}

// Forget has Module be asked again for a module, which has been replaced.
func (b *Build) Forget(module string) { delete(b.modules, module) }

// compiled decodes frames by objects that are compiled once more.
func (b *Build) compiled(ctx context.Context, missing []frameKey, places map[frameKey][]Place) {
	var functions []Function
	var keys [][]frameKey // of each function
	for _, key := range missing {
		f, ok := b.file(key.module, key.buildID).function(key.function, key.size)
		if !ok {
			continue
		}
		f.Module = key.module
		if i := slices.Index(functions, f); i >= 0 {
			keys[i] = append(keys[i], key)
		} else {
			functions, keys = append(functions, f), append(keys, []frameKey{key})
		}
	}
	if len(functions) == 0 {
		return
	}
	for i, object := range b.Compile(ctx, functions) {
		if object == nil {
			continue
		}
		for _, key := range keys[i] {
			if found, err := object.decode(key.function, key.offset, key.size, functions[i].Size); err == nil {
				places[key] = found
			}
		}
	}
}

// unnamed says whether a frame doesn't have its lines from the log. The place of the
// headline lacks the inlined functions.
func unnamed(r *report.Report, frames []report.Frame, i int) bool {
	f := frames[i]
	if f.Inlined {
		return false
	}
	return f.File == "" || f.File == r.File && f.Line == r.Line && (i == 0 || !frames[i-1].Inlined)
}

// expand returns frames with the functions that were inlined into them.
func (b *Build) expand(r *report.Report, frames []report.Frame, places map[frameKey][]Place) []report.Frame {
	var expanded []report.Frame
	for i, f := range frames {
		var found []Place
		if unnamed(r, frames, i) {
			found = places[keyOf(f)]
		}
		for _, p := range found[:max(len(found)-1, 0)] {
			expanded = append(expanded, report.Frame{
				Function: p.Function, File: b.relative(p.File), Line: p.Line, Inlined: true, Module: f.Module, Uncertain: f.Uncertain, Register: f.Register,
			})
		}
		if n := len(found); n > 0 {
			f.File, f.Line = b.relative(found[n-1].File), found[n-1].Line
		}
		expanded = append(expanded, f)
	}
	return expanded
}

// relative is a source file as people know it.
func (b *Build) relative(file string) string {
	if b.source == "" {
		if b.source = b.Source; b.source == "" {
			b.source = b.base()
		}
	}
	file = filepath.Clean(file)
	if rest, ok := strings.CutPrefix(file, b.source+"/"); ok {
		return rest
	}
	return file
}

// base is the source tree as vmlinux has it. As for scripts/decode_stacktrace.sh, it is
// above the file of kernel_init.
func (b *Build) base() string {
	addrs, err := b.Vmlinux.Find("kernel_init", 0)
	if err != nil || len(addrs) == 0 {
		return "/"
	}
	places, err := b.Vmlinux.Places(addrs[0])
	if err != nil || len(places) == 0 {
		return "/"
	}
	if base, ok := strings.CutSuffix(filepath.Clean(places[0].File), "/init/main.c"); ok {
		return base
	}
	return "/"
}

// Decode returns where an address in a function comes from, innermost first; nothing
// when that isn't known or isn't certain. The size is that of the function as the kernel
// counts it, or 0.
func (f *File) Decode(function string, offset, size uint64) ([]Place, error) {
	return f.decode(function, offset, size, 0)
}

// decode is Decode for functions with the size code. With 0, size tells all.
func (f *File) decode(function string, offset, size, code uint64) ([]Place, error) {
	if size > 0 && offset > size {
		return nil, nil
	}
	addrs, err := f.find(function, size, code)
	if err != nil {
		return nil, err
	}
	if offset > 0 && offset == size {
		offset-- // the return address of a call that is the last instruction
	}
	var places []Place
	for i, addr := range addrs {
		found, err := f.Places(addr + offset)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			places = found
		} else if !slices.Equal(places, found) {
			return nil, nil
		}
	}
	return places, nil
}
