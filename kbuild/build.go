// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
)

// BuildOptions say what make builds.
type BuildOptions struct {
	Image   string   // path of the image that is wanted
	Target  string   // its make target
	Modules bool     // build modules, too
	GDB     bool     // make gdb's scripts, too: CONFIG_GDB_SCRIPTS
	Args    []string // more targets and variables for make
	Changed []string // source files that have just been saved: their errors are shown before make gets there
	Log     string   // name of the log in the state directory; empty: build.log
	Idle    bool     // leave the processors and disks to all others
	Events  event.Sink

	commands    []string // that check what changed, where the .cmd files have gone
	onlyModules bool     // the image isn't built
	external    string   // directory of modules that are built, and nothing else
}

// goals are the targets, and what else o wants of make.
func (o *BuildOptions) goals() []string {
	if o.external != "" {
		return []string{"M=" + o.external, "modules"}
	}
	if o.onlyModules {
		return append([]string{"modules"}, o.Args...)
	}
	args := []string{o.Target}
	if o.Modules {
		args = append(args, "modules")
	}
	if o.GDB {
		// make has it as a part of "all" only.
		args = append(args, "scripts_gdb")
	}
	return append(args, o.Args...)
}

// A Result is what a successful build made.
type Result struct {
	Image    string
	NewImage bool // whether make linked the image, or it was up to date
	// NewModules says whether make linked a module.
	NewModules bool
	Objects    int
	Elapsed    time.Duration
	Link       time.Duration // the part of Elapsed after the last object was compiled
	Log        string        // path of make's whole output
	// Took is how long each object took that was compiled, as far as it could be measured.
	Took  map[string]time.Duration
	Steps []string // what make said that it did, such as "CC init/main.o"
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
	r, err := t.build(ctx, o)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// BuildExternal builds the modules outside of the tree, against what Build has built last.
func (t *Tree) BuildExternal(ctx context.Context, o BuildOptions) (*Result, error) {
	sum := &Result{Image: o.Image}
	o.Modules, o.Log = true, "external.log"
	for _, dir := range t.External {
		o.external = dir
		r, err := t.build(ctx, o)
		if err != nil {
			return nil, err
		}
		sum.NewModules = sum.NewModules || r.NewModules
		sum.Objects += r.Objects
		sum.Elapsed += r.Elapsed
	}
	return sum, nil
}

// build is Build; it returns what was done by a make that failed, too, if it ran.
func (t *Tree) build(ctx context.Context, o BuildOptions) (*Result, error) {
	m, err := t.maker(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	state, err := t.StateDir()
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	log, err := private.CreateLog(filepath.Join(state, cmp.Or(o.Log, "build.log")))
	if err != nil {
		return nil, fmt.Errorf("build: log: %w", err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	defer r.Close()
	m.cmd.Stdout, m.cmd.Stderr = w, w

	before := identify(o.Image)
	var modules string
	if o.Modules {
		modules = fingerprint(t.modules())
	}
	began := time.Now()
	counts := t.newCounts(state, o.Target)
	if m.host != nil {
		counts.scratch = m.host.isNew // the objects are there
	}
	found := &findings{events: o.Events}
	p := &output{tree: t, events: o.Events, found: found, log: bufio.NewWriter(log), began: began, host: m.host, external: o.external}
	o.Events.Emit(event.BuildStarted{Dir: t.BuildDir, Command: m.shown})
	// A make that is stopped has last words of its own, which are no news.
	defer context.AfterFunc(ctx, found.close)()
	var running sync.WaitGroup
	running.Go(func() { p.total.Store(int64(counts.expected())) })
	running.Go(func() { p.read(r) })
	commands := o.commands
	if commands == nil && m.host == nil { // what was built here last, if anything, is another kernel
		commands = t.checkCommands(o.Changed)
	}
	early, stop := context.WithCancel(ctx)
	running.Go(func() { t.preview(early, commands, found) })
	err = m.run(ctx, o.Idle)
	stop()
	_ = w.Close()
	running.Wait()
	if m.host != nil {
		err = m.host.finish(ctx, err, o, p.tail)
	}
	logErr := p.log.Flush()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // a make that fails at that moment is no failure
	}

	if p.here > 0 && ctx.Err() == nil {
		o.Events.Emit(event.Notice{Text: fmt.Sprintf("distcc's hosts don't answer: %d of %d objects were compiled here; `run-kernel doctor --cc ...` asks each host", p.here, p.done)})
	}
	result := &Result{Image: o.Image, Objects: p.done, Elapsed: time.Since(began), Log: log.Name(), Steps: p.steps}
	if !p.linking.IsZero() {
		result.Link = time.Since(p.linking)
	}
	finished := event.BuildFinished{External: o.external, Elapsed: result.Elapsed, Link: result.Link, Objects: p.done, Log: log.Name()}
	switch exit := (*exec.ExitError)(nil); {
	case errors.As(err, &exit):
		err = p.failure(err, log.Name(), logErr)
	case err != nil:
	case logErr != nil:
		err = fmt.Errorf("build: log: %w", logErr)
	default:
		after := identify(o.Image)
		if after == (identity{}) {
			err = &noImageError{o.Target, o.Image, log.Name()}
			break
		}
		result.NewImage = after != before
		result.NewModules = o.Modules && fingerprint(t.modules()) != modules
		finished.Image, finished.NewImage, finished.NewModules = o.Image, result.NewImage, result.NewModules
		result.Took = t.took(p.started)
		// Only a hint for the next progress bar.
		_ = counts.save(p.done)
	}
	finished.Err = err
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Canceled) {
		// The cause may be any error; who sees the event asks for this one.
		finished.Err = fmt.Errorf("%w: %w", context.Canceled, err)
	}
	o.Events.Emit(finished)
	return result, err
}

// failure is the error of a make that ended with err. logErr is what kept its log from
// being written.
func (p *output) failure(err error, log string, logErr error) *BuildError {
	e := &BuildError{Err: err, Log: log, Diagnostics: p.found.errors, hint: toolHint(p.tail)}
	if len(e.Diagnostics) == 0 {
		e.Tail = p.tail
	}
	for i := 0; e.hint == "" && i < len(e.Diagnostics); i++ {
		e.hint = toolHint([]string{e.Diagnostics[i].Message})
	}
	switch {
	case e.hint == fullHint && p.host != nil:
		e.hint = hostFullHint
	case e.hint == "" && errors.Is(logErr, syscall.ENOSPC):
		e.hint = fullHint
	case e.hint == "" && slices.ContainsFunc(e.Diagnostics, func(d event.Diagnostic) bool { return machineOption.MatchString(d.Message) }):
		e.hint = p.tree.options.crossHint()
	}
	return e
}

// machineOption is in what gcc says of an option that another machine's has.
var machineOption = pattern.New(`['‘]-m`)

// crossHint tells of the compiler that a build for another architecture lacks; empty: it has
// one, or needs none.
func (o *Options) crossHint() string {
	if o.Arch == "" || o.Compiler() != "gcc" || o.Host != "" || arch.OfKernel(o.Arch).Kernel == arch.Host().Kernel {
		return ""
	}
	return "gcc is this machine's, and may not compile for " + o.Arch + ": --cross-compile names another, and --llvm 1 does without; `run-kernel doctor`, with the same arguments, looks for them"
}

// A maker is how make is run, here or on a build host.
type maker struct {
	cmd   *exec.Cmd
	shown []string // the command, for people
	host  *host    // nil: here
}

func (t *Tree) maker(ctx context.Context, o BuildOptions) (*maker, error) {
	if t.options.Host != "" {
		return t.makeAway(ctx, o)
	}
	cmd, err := t.command(o.goals()...)
	if err != nil {
		return nil, err
	}
	return &maker{cmd: cmd, shown: cmd.Args}, nil
}

func (m *maker) run(ctx context.Context, idle bool) error {
	if m.host != nil {
		return m.host.run(ctx, m.cmd)
	}
	if idle {
		return proc.RunIdle(ctx, m.cmd, grace)
	}
	return proc.Run(ctx, m.cmd, grace)
}

// took measures how long objects took to compile, of which it is known when make began
// with them: the last file written is the .cmd file.
func (t *Tree) took(started map[string]time.Time) map[string]time.Duration {
	took := make(map[string]time.Duration, len(started))
	for object, began := range started {
		st, err := os.Stat(filepath.Join(t.BuildDir, cmdFile(object)))
		if err != nil {
			continue
		}
		if d := st.ModTime().Sub(began); d > 0 {
			took[object] = d
		}
	}
	return took
}

// cmdFile is where the build keeps the command of a target, and what it read.
func cmdFile(target string) string {
	dir, base := filepath.Split(target)
	return dir + "." + base + ".cmd"
}
