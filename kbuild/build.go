// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/proc"
)

// maxLine is how much of a line is looked at.
const maxLine = 16 << 10

// progressInterval is the least time between two events of progress.
const progressInterval = 100 * time.Millisecond

// BuildOptions say what make shall make.
type BuildOptions struct {
	Image   string   // path of the image that is wanted
	Target  string   // its make target
	Modules bool     // whether there are modules to be made as well
	Args    []string // more targets and variables for make
	Changed []string // source files that have just been saved: their errors are shown before make gets there
	Events  event.Sink
}

// goals are the targets, and what else o wants of make.
func (o *BuildOptions) goals() []string {
	args := []string{o.Target}
	if o.Modules {
		args = append(args, "modules")
	}
	return append(args, o.Args...)
}

// A Result is what a successful build made.
type Result struct {
	Image    string
	NewImage bool // whether make linked the image or a module, or all was up to date
	Objects  int
	Elapsed  time.Duration
	Log      string // path of make's whole output
}

// A BuildError says that make failed.
type BuildError struct {
	Err         error
	Log         string
	Diagnostics []event.Diagnostic // the errors among them
	Tail        []string           // make's last lines, when it gave no diagnostics
	hint        string
}

func (e *BuildError) Error() string {
	text := fmt.Sprintf("make failed: %v", e.Err)
	if len(e.Diagnostics) == 0 && len(e.Tail) > 0 {
		text += ":\n\t" + strings.Join(e.Tail, "\n\t")
	}
	return text
}

func (e *BuildError) Unwrap() error { return e.Err }

// Hint names the package of a missing tool, or else the log.
func (e *BuildError) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	return "all that make said is in " + e.Log
}

// A noImageError says that make was content without the image.
type noImageError struct{ target, image, log string }

func (e *noImageError) Error() string {
	return fmt.Sprintf("build: make %s succeeded, but there is no %s", e.target, e.image)
}

func (e *noImageError) Hint() string { return "what make did is in " + e.log }

// Build runs make. When ctx ends first, make and all that it started is
// stopped, and the error is the cause of ctx. The error of a make that failed
// is a *BuildError.
func (t *Tree) Build(ctx context.Context, o BuildOptions) (*Result, error) {
	cmd, err := t.command(o.goals()...)
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	state, err := t.StateDir()
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	log, err := os.Create(filepath.Join(state, "build.log"))
	if err != nil {
		return nil, fmt.Errorf("build: log: %w", err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w

	before := identify(o.Image)
	var modules string
	if o.Modules {
		modules = fingerprint(t.modules())
	}
	began := time.Now()
	counts := t.newCounts(state, o.Target)
	found := &findings{events: o.Events}
	p := &output{tree: t, events: o.Events, found: found, log: bufio.NewWriter(log), began: began, total: counts.expected()}
	o.Events.Emit(event.BuildStarted{Dir: t.BuildDir, Command: cmd.Args})
	// A make that is stopped has last words of its own, which are no news.
	defer context.AfterFunc(ctx, found.close)()
	var running sync.WaitGroup
	running.Go(func() { p.read(r) })
	early, stop := context.WithCancel(ctx)
	running.Go(func() { t.preview(early, o.Changed, found) })
	err = proc.Run(ctx, cmd, grace)
	stop()
	_ = w.Close()
	running.Wait()
	logErr := p.log.Flush()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // a make that fails at that moment is no failure
	}

	result := &Result{Image: o.Image, Objects: p.done, Elapsed: time.Since(began), Log: log.Name()}
	finished := event.BuildFinished{Elapsed: result.Elapsed, Objects: p.done, Log: log.Name()}
	switch exit := (*exec.ExitError)(nil); {
	case errors.As(err, &exit):
		e := &BuildError{Err: err, Log: log.Name(), Diagnostics: found.errors, hint: toolHint(p.tail)}
		if len(found.errors) == 0 {
			e.Tail = p.tail
		}
		for i := 0; e.hint == "" && i < len(found.errors); i++ {
			e.hint = toolHint([]string{found.errors[i].Message})
		}
		if e.hint == "" && errors.Is(logErr, syscall.ENOSPC) {
			e.hint = fullHint
		}
		err = e
	case err != nil:
	case logErr != nil:
		err = fmt.Errorf("build: log: %w", logErr)
	default:
		after := identify(o.Image)
		if after == (identity{}) {
			err = &noImageError{o.Target, o.Image, log.Name()}
			break
		}
		result.NewImage = after != before || o.Modules && fingerprint(t.modules()) != modules
		finished.Image, finished.NewImage = o.Image, result.NewImage
		// Only a hint for the next progress bar.
		_ = counts.save(p.done)
	}
	finished.Err = err
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Canceled) {
		// The cause may be any error; who sees the event asks for this one.
		finished.Err = fmt.Errorf("%w: %w", context.Canceled, err)
	}
	o.Events.Emit(finished)
	if err != nil {
		return nil, err
	}
	return result, nil
}

// output reads what make and its children write.
type output struct {
	tree   *Tree
	events event.Sink
	found  *findings
	log    *bufio.Writer
	began  time.Time
	total  int

	done     int
	reported time.Time
	pending  *event.Diagnostic // its detail may still grow
	tail     []string
	context  []string // "In file included from", "In function": before a diagnostic
}

func (p *output) read(r io.Reader) {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		// A linker's line may have megabytes. The log has it all.
		line, err := br.ReadString('\n')
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
		if object {
			p.done++
		}
		if now := time.Now(); now.Sub(p.reported) >= progressInterval {
			p.reported = now
			p.events.Emit(event.BuildProgress{Done: p.done, Total: p.total, Elapsed: now.Sub(p.began), Current: step})
		}
		return
	}
	if d, ok := parseDiagnostic(line); ok {
		if d.Severity == event.Note && p.pending != nil {
			p.pending.Detail = append(append(p.pending.Detail, p.context...), line)
			p.context = nil
			return
		}
		p.flush()
		d.File = p.tree.relative(d.File)
		d.Detail = p.context
		p.context = nil
		p.pending = &d
		return
	}
	switch {
	case isContext(line):
		// Of the next diagnostic, which may be a note on the pending one.
		p.context = append(p.context, line)
	case p.pending != nil && len(p.context) == 0 && isDetail(line):
		if p.pending.File == "" {
			if file, line, column, ok := parsePlace(line); ok {
				p.pending.File, p.pending.Line, p.pending.Column = p.tree.relative(file), line, column
			}
		}
		p.pending.Detail = append(p.pending.Detail, line)
	default:
		p.flush()
		p.context = nil
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

// counts remembers how many objects a build of everything had. Other builds
// have few, and nobody knows how many: make finds out while it builds.
type counts struct {
	path    string
	scratch bool // nothing was built before
}

func (t *Tree) newCounts(state, target string) counts {
	// Each kernel has this object, and a build that failed left it, too. That there
	// is no image says less.
	_, err := os.Stat(filepath.Join(t.BuildDir, "init/main.o"))
	return counts{path: filepath.Join(state, "objects."+target), scratch: errors.Is(err, os.ErrNotExist)}
}

// expected is the number for a build from scratch; 0 when it isn't known.
func (c counts) expected() int {
	if !c.scratch {
		return 0
	}
	data, err := os.ReadFile(c.path)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return max(0, n)
}

func (c counts) save(objects int) error {
	if !c.scratch || objects == 0 {
		return nil
	}
	return os.WriteFile(c.path, []byte(strconv.Itoa(objects)+"\n"), 0o644)
}
