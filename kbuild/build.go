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
	"time"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
)

// progressInterval is the least time between two events of progress.
const progressInterval = 100 * time.Millisecond

// BuildOptions say what make shall make.
type BuildOptions struct {
	Image  string   // path of the image that is wanted
	Target string   // its make target
	Args   []string // more targets and variables for make
	Events event.Sink
}

// A Result is what a successful build made.
type Result struct {
	Image    string
	NewImage bool // whether make linked the image, or it was up to date
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

// Build runs make. When ctx ends first, make and all that it started is
// stopped, and the error is the cause of ctx. The error of a make that failed
// is a *BuildError.
func (t *Tree) Build(ctx context.Context, o BuildOptions) (*Result, error) {
	cmd, err := t.command(append([]string{o.Target}, o.Args...)...)
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
	began := time.Now()
	counts := newCounts(state, o.Target)
	p := &output{tree: t, events: o.Events, log: bufio.NewWriter(log), began: began, total: counts.expected(before)}
	o.Events.Emit(event.BuildStarted{Dir: t.BuildDir, Command: cmd.Args})
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(r)
	}()
	err = proc.Run(ctx, cmd, grace)
	_ = w.Close()
	<-read
	logErr := p.log.Flush()

	result := &Result{Image: o.Image, Objects: p.done, Elapsed: time.Since(began), Log: log.Name()}
	finished := event.BuildFinished{Elapsed: result.Elapsed, Objects: p.done, Log: log.Name()}
	switch exit := (*exec.ExitError)(nil); {
	case errors.As(err, &exit):
		e := &BuildError{Err: err, Log: log.Name(), Diagnostics: p.errors, Tail: p.tail, hint: toolHint(p.tail)}
		if len(p.errors) == 0 {
			e.Tail = p.tail
		}
		err = e
	case err != nil:
	case logErr != nil:
		err = fmt.Errorf("build: log: %w", logErr)
	default:
		after := identify(o.Image)
		if after == (identity{}) {
			err = fmt.Errorf("build: make %s succeeded, but there is no %s", o.Target, o.Image)
			break
		}
		result.NewImage = after != before
		finished.Image, finished.NewImage = o.Image, result.NewImage
		// Only a hint for the next progress bar.
		_ = counts.save(before, p.done)
	}
	finished.Err = err
	if ctx.Err() != nil {
		finished.Err = context.Canceled
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
	log    *bufio.Writer
	began  time.Time
	total  int

	done     int
	reported time.Time
	pending  *event.Diagnostic // its detail may still grow
	seen     map[string]bool
	errors   []event.Diagnostic
	tail     []string
	context  []string // "In file included from", "In function": before a diagnostic
}

func (p *output) read(r io.Reader) {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		// No limit on a line: a linker's may be megabytes.
		line, err := br.ReadString('\n')
		if line != "" {
			// A full disk shows at Flush, and at make, which is what counts.
			_, _ = p.log.WriteString(line)
			p.line(strings.TrimRight(line, "\r\n"))
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
			p.pending.Detail = append(p.pending.Detail, line)
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
		p.flush()
		p.context = append(p.context, line)
	case p.pending != nil && isDetail(line):
		p.pending.Detail = append(p.pending.Detail, line)
	default:
		p.flush()
	}
}

// flush reports the diagnostic whose lines have ended. A header's is reported
// once, not for each file that includes it.
func (p *output) flush() {
	d := p.pending
	p.pending = nil
	if d == nil {
		return
	}
	key := fmt.Sprintf("%s:%d:%d:%s", d.File, d.Line, d.Column, d.Message)
	if p.seen[key] {
		return
	}
	if p.seen == nil {
		p.seen = make(map[string]bool)
	}
	p.seen[key] = true
	if d.Severity == event.Error {
		p.errors = append(p.errors, *d)
	}
	p.events.Emit(*d)
}

// quiet recognises a line of make's short output, such as "  CC      init/main.o",
// and says whether it stands for an object.
func quiet(line string) (step string, object bool) {
	if !strings.HasPrefix(line, "  ") || len(line) < 10 || line[2] == ' ' {
		return "", false
	}
	fields := strings.Fields(line)
	if len(fields) < 2 || strings.ToUpper(fields[0]) != fields[0] {
		return "", false
	}
	// A caret line of a diagnostic has no name in capitals.
	if c := fields[0][0]; c < 'A' || c > 'Z' {
		return "", false
	}
	switch fields[0] {
	case "CC", "AS", "RUSTC", "HOSTCC", "HOSTCXX":
		object = true
	}
	return strings.Join(fields, " "), object
}

// relative makes a path of make's output relative to the source where it is
// below it. make -C and O= name the same file in several ways.
func (t *Tree) relative(path string) string {
	abs := path
	if !filepath.IsAbs(abs) {
		// Compilers run in the build directory.
		abs = filepath.Join(t.BuildDir, path)
		if _, err := os.Stat(abs); err != nil {
			abs = filepath.Join(t.Source, path)
		}
	}
	if rel, err := filepath.Rel(t.Source, filepath.Clean(abs)); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}

// counts remembers how many objects a build of everything had.
type counts struct{ path string }

func newCounts(state, target string) counts {
	return counts{filepath.Join(state, "objects."+target)}
}

// expected is the number for a build from scratch; 0 when it isn't known or
// when there is an image already, since then few objects are rebuilt.
func (c counts) expected(image identity) int {
	if image != (identity{}) {
		return 0
	}
	data, err := os.ReadFile(c.path)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return n
}

func (c counts) save(image identity, objects int) error {
	if image != (identity{}) || objects == 0 {
		return nil
	}
	return os.WriteFile(c.path, []byte(strconv.Itoa(objects)+"\n"), 0o644)
}
