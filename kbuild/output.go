// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
)

// maxLine is how much of a line is looked at.
const maxLine = 16 << 10

// progressInterval is the least time between two events of progress.
const progressInterval = 100 * time.Millisecond

// output reads what make and its children write.
type output struct {
	tree     *Tree
	events   event.Sink
	found    *findings
	log      *bufio.Writer
	began    time.Time
	host     *host        // where make runs; nil: here
	external string       // directory of the modules that are built; empty: the kernel is
	total    atomic.Int64 // objects that there will be; 0: it isn't known

	done     int
	steps    []string
	started  map[string]time.Time // when make began to compile an object
	linking  time.Time            // when make began with what it does after the last object; zero: it hasn't
	reported time.Time
	here     int               // objects that a compile farm should have compiled, and didn't
	pending  *event.Diagnostic // its detail may still grow
	expanded bool              // the pending one was moved to where its macro is used
	inlined  bool              // the pending one was moved to where its function is inlined
	tail     []string
	context  []string // "In file included from", "In function": before a diagnostic
}

func (p *output) read(r io.Reader) {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		// A linker's line may have megabytes. The log has it all.
		line, err := br.ReadString('\n')
		if p.host != nil {
			line = p.host.here(line)
		}
		if line != "" {
			// A full disk shows at Flush, and at make, which is what counts.
			_, _ = p.log.WriteString(line)
			p.line(strings.TrimRight(line[:min(len(line), maxLine)], "\r\n"))
		}
		if err != nil {
			p.flush()
			return
		}
	}
}

func (p *output) line(line string) {
	p.tail = append(p.tail, line)
	if len(p.tail) > 25 {
		p.tail = append(p.tail[:0], p.tail[len(p.tail)-25:]...)
	}
	if step, object := quiet(line); step != "" {
		p.flush()
		p.context = nil
		p.steps = append(p.steps, step)
		now := time.Now()
		switch {
		case links.MatchString(step) || bootImage.MatchString(step):
			if p.linking.IsZero() {
				p.linking = now
			}
		case object:
			p.linking = time.Time{}
		}
		if object {
			p.done++
			if p.started == nil {
				p.started = make(map[string]time.Time)
			}
			p.started[step[strings.LastIndexByte(step, ' ')+1:]] = now
		}
		if now.Sub(p.reported) >= progressInterval {
			p.reported = now
			elapsed, total := now.Sub(p.began), int(p.total.Load())
			p.events.Emit(event.BuildProgress{Done: p.done, Total: total, Elapsed: elapsed, Left: left(p.done, total, elapsed), Current: step})
		}
		return
	}
	if notDistributed.MatchString(line) {
		p.here++
		return
	}
	if d, ok := parseDiagnostic(line); ok {
		if d.Severity == event.Note && p.pending != nil {
			if isExpansion(d) && !p.inlined {
				p.expand(d)
			}
			p.pending.Detail = append(append(p.pending.Detail, p.context...), line)
			p.context = nil
			return
		}
		p.flush()
		d.File = p.relative(d.File)
		d.Detail = p.context
		p.context = nil
		p.pending, p.expanded, p.inlined = &d, false, false
		p.inline()
		return
	}
	switch {
	case isContext(line):
		// Of the next diagnostic, which may be a note on the pending one.
		p.context = append(p.context, line)
	case p.pending != nil && len(p.context) == 0 && isDetail(line):
		if p.pending.File == "" {
			if file, line, column, ok := parsePlace(line); ok {
				p.pending.File, p.pending.Line, p.pending.Column = p.relative(file), line, column
			}
		}
		p.pending.Detail = append(p.pending.Detail, line)
	default:
		p.flush()
		p.context = nil
	}
}

// left is how long a build will take from now on, if it goes on at the pace of its first
// objects. Those of the first seconds say nothing of the rest: they belong to the programs
// that build the kernel.
func left(done, total int, elapsed time.Duration) time.Duration {
	if done*20 < total || done >= total || elapsed < 5*time.Second {
		return 0
	}
	return time.Duration(float64(elapsed) / float64(done) * float64(total-done))
}

// expand puts the pending diagnostic where its macro is used. gcc names where the macro
// is defined, which is a header that nobody has edited, and then each use, the
// outermost last.
func (p *output) expand(use event.Diagnostic) {
	d := p.pending
	if !p.expanded {
		d.Detail = append(d.Detail, fmt.Sprintf("%s:%d:%d: note: in the definition of a macro", d.File, d.Line, d.Column))
		p.expanded = true
	}
	d.File, d.Line, d.Column = p.relative(use.File), use.Line, use.Column
}

// inline puts the pending diagnostic where its function is inlined, if that is a header's and
// gcc says so before it: the outermost place comes last. The place in the header, such as
// include/linux/fortify-string.h, is the same for all mistakes.
func (p *output) inline() {
	d := p.pending
	if filepath.Ext(d.File) != ".h" {
		return
	}
	for _, line := range d.Detail {
		if m := inlinedFrom.FindStringSubmatch(line); m != nil {
			if !p.inlined {
				d.Detail = append(d.Detail, fmt.Sprintf("%s:%d:%d: note: in the function that is inlined", d.File, d.Line, d.Column))
				p.inlined = true
			}
			d.File, d.Line, d.Column = p.relative(m[1]), number(m[2]), number(m[3])
		}
	}
}

// flush reports the diagnostic whose lines have ended.
func (p *output) flush() {
	if p.pending != nil {
		p.found.add(*p.pending)
		p.pending = nil
	}
}

// findings are the diagnostics of a build. A header's is reported once, not for
// each file that includes it.
type findings struct {
	events event.Sink

	mu     sync.Mutex
	closed bool
	seen   map[string]bool
	errors []event.Diagnostic
}

// close makes f ignore all that is found from now on.
func (f *findings) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

func (f *findings) add(d event.Diagnostic) {
	key := fmt.Sprintf("%s:%d:%d:%s", d.File, d.Line, d.Column, d.Message)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.seen[key] {
		return
	}
	if f.seen == nil {
		f.seen = make(map[string]bool)
	}
	f.seen[key] = true
	if d.Severity == event.Error {
		f.errors = append(f.errors, d)
	}
	f.events.Emit(d)
}

// quietLine is a line as scripts/Kbuild.include makes it: a name in capitals,
// padded to seven, such as "  CC [M]  fs/fuse/inode.o" or "  RUSTC L rust/core.o".
var quietLine = pattern.New(`^  ([A-Z][A-Z0-9_]*)(?: \[[A-Z]+\]| [A-Z])? +[^\s|(=].*$`)

// bootImage are the steps that make a boot image of vmlinux.
var bootImage = pattern.New(`^[A-Z]\S* (\./)?arch/\w+/boot/`)

// quiet recognises a line of make's short output, such as "  CC      init/main.o",
// and says whether it stands for an object.
func quiet(line string) (step string, object bool) {
	m := quietLine.FindStringSubmatch(line)
	if m == nil {
		return "", false
	}
	switch m[1] {
	case "CC", "AS", "RUSTC", "HOSTCC", "HOSTCXX", "HOSTRUSTC":
		object = true
	}
	return strings.Join(strings.Fields(line), " "), object
}

// relative is the tree's, for modules outside of it too: since Linux 6.13, their compilers run
// in their directory.
func (p *output) relative(path string) string {
	if file := filepath.Join(p.external, path); p.external != "" && path != "" && !filepath.IsAbs(path) && exists(file) {
		path = file
	}
	return p.tree.relative(path)
}

// relative makes a path of make's output relative to the source where it is
// below it. make -C and O= name the same file in several ways.
func (t *Tree) relative(path string) string {
	if path == "" {
		return ""
	}
	abs := path
	if !filepath.IsAbs(abs) {
		// Compilers run in the build directory.
		abs = filepath.Join(t.BuildDir, path)
		if _, err := os.Stat(abs); err != nil {
			abs = filepath.Join(t.Source, path)
		}
	}
	if rel, err := filepath.Rel(t.Source, filepath.Clean(abs)); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return rel
	}
	return path
}
