// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/prepare"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
	"github.com/metaspace/run-kernel/kbuild/graph"
)

// A builder makes the builds of the loop: short ones where that is known to be right, and
// full ones.
type builder struct {
	kernel *prepare.Kernel
	events event.Sink
	off    bool // all builds are full

	mu      sync.Mutex
	graph   *graph.Graph   // nil: not read yet
	sources sourceSet      // those of the tree that were there; nil: not listed yet
	links   []link         // by which files of the tree have other names
	pending changes        // since the last build that succeeded began
	sound   bool           // nothing but pending has changed since a full make that succeeded
	making  bool           // a short build runs: the graph doesn't have what it reads
	missed  bool           // a short build was wrong: there is no other one
	broken  []graph.Target // what short builds began to make that failed since
	last    lastShort
	began   time.Time       // when make was started last; zero: it wasn't
	told    map[string]bool // reasons for full makes

	rewritten []string // targets that changed since objects was called
}

func newBuilder(s *Session) *builder {
	return &builder{kernel: s.Kernel, events: s.Events, off: !s.Config.Build.Fast || s.Config.Build.Host != "", told: map[string]bool{}}
}

// walks begins the reason for a full make.
const walks = "make walks the whole tree: "

// A sourceSet has files by a hash of their paths, of which there are 60,000 in a tree.
type sourceSet map[uint64]struct{}

var sourceSeed = maphash.MakeSeed()

func (s sourceSet) add(file string) { s[maphash.String(sourceSeed, file)] = struct{}{} }

func (s sourceSet) has(file string) bool {
	_, ok := s[maphash.String(sourceSeed, file)]
	return ok
}

// A link is a symbolic link in the tree that leads to a file or directory.
type link struct{ name, to string }

// linkAt returns the link at a path, if there is one that leads somewhere.
func linkAt(path string) []link {
	if _, err := os.Readlink(path); err != nil {
		return nil
	}
	to, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	return []link{{path, to}}
}

// otherNames are those names of files, by links in the tree, by which the last build has read
// them. Of these, a save tells nothing.
func (b *builder) otherNames(files ...string) []string {
	var names []string
	for _, l := range b.links {
		for _, f := range files {
			rest, ok := strings.CutPrefix(f, l.to)
			if ok && (rest == "" || rest[0] == '/') && b.graph.Knows(l.name+rest) {
				names = append(names, l.name+rest)
			}
		}
	}
	return names
}

// changes are what was saved.
type changes struct {
	files    []string
	unknown  bool // and it isn't known what else
	external bool // there were changes of modules outside of the tree
}

func (c *changes) add(files ...string) {
	for _, f := range files {
		if !slices.Contains(c.files, f) {
			c.files = append(c.files, f)
		}
	}
}

// lastShort is the last short build that succeeded.
type lastShort struct {
	unproved bool
	began    time.Time
	changed  []string
	objects  []graph.Target
}

// saved tells of files that changed.
func (b *builder) saved(files []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending.add(files...)
	b.pending.external = b.pending.external || slices.ContainsFunc(files, func(file string) bool { return b.kernel.Tree.ExternalOf(file) != "" })
}

// lost tells that any file may have changed.
func (b *builder) lost() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending.unknown = true
}

// graphFile is where the graph is kept.
const graphFile = "graph"

// read brings the graph up to date, and returns the names of the targets that changed.
func (b *builder) read() ([]string, error) {
	tree := b.kernel.Tree
	if b.graph == nil {
		b.graph = graph.Load(tree.StatePath(graphFile), tree.BuildDir)
	}
	names, err := b.graph.Update()
	if err == nil {
		b.rewritten = append(b.rewritten, names...)
		// Without it, the next session reads all again.
		_ = b.graph.Save(tree.StatePath(graphFile))
	}
	return names, err
}

// build makes a build, after o.
func (b *builder) build(ctx context.Context, o kbuild.BuildOptions) (*kbuild.Result, error) {
	now, plan, unchanged := b.begin(&o)
	if unchanged {
		return &kbuild.Result{Image: o.Image}, nil
	}
	if plan != nil {
		r, err := b.short(ctx, plan, o, now)
		if !errors.As(err, new(*kbuild.UncertainError)) {
			return r, err
		}
		b.events.Emit(event.Notice{Text: walks + err.Error()})
	}
	return b.full(ctx, o, now)
}

// begin takes what has changed for the build that begins, and says how a short build is
// made of it; nil: it takes a full one. unchanged says that the kernel is as it was: the
// modules outside of the tree are built in any case.
func (b *builder) begin(o *kbuild.BuildOptions) (now changes, plan *kbuild.Short, unchanged bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now = b.pending
	b.pending = changes{}
	now.files = slices.DeleteFunc(now.files, func(file string) bool { return b.kernel.Tree.ExternalOf(file) != "" })
	if b.sound && !now.unknown && len(now.files) == 0 && now.external && len(b.broken) == 0 {
		return now, nil, true
	}
	o.Changed = now.files
	b.last.unproved = false
	if b.off {
		return now, nil, false
	}
	b.tellSize(now.files)
	plan, err := b.plan(*o, now)
	var u *kbuild.UncertainError
	if errors.As(err, &u) && !b.told[u.Reason] {
		b.told[u.Reason] = true
		b.events.Emit(event.Notice{Text: walks + u.Reason})
	}
	return now, plan, false
}

// short makes a short build. The error is a *kbuild.UncertainError where it takes a full
// one after all.
func (b *builder) short(ctx context.Context, plan *kbuild.Short, o kbuild.BuildOptions, now changes) (*kbuild.Result, error) {
	b.mu.Lock()
	b.making = true
	b.mu.Unlock()
	began := b.started()
	r, err := b.kernel.Tree.Short(ctx, plan, o)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.making = false
	switch {
	case err == nil:
		b.broken = nil
		b.last = lastShort{unproved: true, began: began, changed: now.files, objects: plan.Objects}
		b.sound = b.learn(r) == nil
	case !errors.As(err, new(*kbuild.UncertainError)):
		b.broken = plan.Objects
		b.undo(now)
	}
	return r, err
}

// full makes a full build.
func (b *builder) full(ctx context.Context, o kbuild.BuildOptions, now changes) (*kbuild.Result, error) {
	b.repair(now)
	b.started()
	r, err := b.kernel.Tree.Build(ctx, o)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.undo(now)
		return nil, err
	}
	b.broken = nil
	if !b.off {
		for _, f := range now.files {
			if b.sources != nil {
				b.sources.add(f)
			}
			b.links = append(b.links, linkAt(f)...)
		}
		b.sound = b.learn(r) == nil
	}
	return r, nil
}

// repair makes the build directory fit for a full build, after which nothing else is known
// until that has succeeded.
func (b *builder) repair(now changes) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sound = false
	if !b.off {
		if _, err := b.read(); err == nil {
			if err := b.kernel.Tree.Repair(b.graph); err != nil {
				b.events.Emit(event.Warning{Text: err.Error()})
			}
		}
	}
	if err := b.outdate(now); err != nil {
		b.events.Emit(event.Warning{Text: err.Error()})
	}
}

// started notes that make is started now.
func (b *builder) started() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.began = time.Now()
	return b.began
}

// outdate has make compile what the last one compiled while its source was saved. That make
// was stopped for it, but not before the save had settled, and an object may have been
// written in between: it is newer than its source, and has what was there before. So it is
// when another file with its own, older time takes the place of the source.
func (b *builder) outdate(now changes) error {
	files := now.files
	switch {
	case b.began.IsZero(), b.kernel.Config.Build.Host != "": // which has its own way
		return nil
	case now.unknown:
		files = nil
	case len(kbuild.Saved(b.began, files)) == 0 && !kbuild.Replaced(files):
		return nil
	}
	if _, err := b.read(); err != nil {
		return err
	}
	if files != nil {
		files = slices.Concat(files, b.otherNames(files...))
	}
	return b.kernel.Tree.Outdate(b.graph, b.began, files)
}

// undo takes changes for pending again.
func (b *builder) undo(c changes) {
	files := b.pending.files
	b.pending.files = c.files
	b.pending.add(files...)
	b.pending.unknown = b.pending.unknown || c.unknown
}

// learn reads what a build wrote.
func (b *builder) learn(r *kbuild.Result) error {
	_, err := b.read()
	if err == nil {
		b.graph.Measured(r.Took)
	}
	return err
}

// plan says how a short build is made; an error, why there is none.
func (b *builder) plan(o kbuild.BuildOptions, now changes) (*kbuild.Short, error) {
	switch {
	case b.missed, !b.sound, now.unknown, len(now.files) == 0:
		return nil, errors.New("not all is known")
	case len(b.broken) == 0:
		// Otherwise, what the graph knows is still needed, and some of it has gone.
		if names, err := b.read(); err != nil {
			return nil, err
		} else if len(names) > 0 {
			return nil, fmt.Errorf("another make was here: %s changed", names[0])
		}
	}
	for _, f := range now.files {
		if !b.isKnown(f) {
			return nil, fmt.Errorf("%s is new", f)
		}
	}
	if names := b.otherNames(now.files...); len(names) > 0 {
		return nil, &kbuild.UncertainError{Reason: b.kernel.Tree.Rel(names[0]) + " is another name of a saved file"}
	}
	return b.kernel.Tree.PlanShort(b.graph, o, now.files, b.broken)
}

// isKnown says whether a source file was there before.
func (b *builder) isKnown(file string) bool { return b.sources.has(file) || b.graph.Knows(file) }

// unread says whether no object of the build reads a source file.
func (b *builder) unread(file string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.off || !b.sound || b.making || len(b.broken) > 0 || !b.isKnown(file) || len(b.otherNames(file)) > 0 {
		return false
	}
	return b.kernel.Tree.Unread(b.graph, file)
}

// tellSize says how much a header rebuilds.
func (b *builder) tellSize(files []string) {
	if b.graph == nil || !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, ".h") }) {
		return
	}
	list := b.graph.Rebuilt(files...)
	if len(list) < 2 {
		return
	}
	text := b.kernel.Tree.Rel(files[0])
	if n := len(files) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	text = fmt.Sprintf("%s: rebuilds %d objects", text, len(list))
	if d := b.graph.Estimate(list) / time.Duration(b.kernel.Tree.Jobs()); d > 0 {
		text += ", which takes about " + round(d)
	}
	b.events.Emit(event.Notice{Text: text})
}

// round is a duration for people.
func round(d time.Duration) string {
	switch {
	case d < time.Second:
		return "a second"
	case d < 100*time.Second:
		return fmt.Sprintf("%d s", (d+time.Second/2)/time.Second)
	}
	return fmt.Sprintf("%d min", (d+time.Minute/2)/time.Minute)
}

// list notes which source files there are, so that a new one is known as such, and which
// links.
func (b *builder) list(ctx context.Context) {
	sources := sourceSet{}
	var links []link
	root := b.kernel.Tree.Source
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return nil // what can't be read isn't known
		case e.IsDir() && (e.Name() == ".git" || path == filepath.Join(root, "Documentation")):
			return fs.SkipDir
		}
		if e.Type()&fs.ModeSymlink != 0 {
			links = append(links, linkAt(path)...)
		}
		switch filepath.Ext(path) {
		case ".c", ".h", ".S":
			sources.add(path)
		}
		return nil
	})
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sources, b.links = sources, links
}

// unproved says whether the last build was a short one that nothing has confirmed.
func (b *builder) unproved() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last.unproved
}

// prove runs the full make that the last short build stood for.
func (b *builder) prove(ctx context.Context, o kbuild.BuildOptions) (*kbuild.Result, error) {
	tree := b.kernel.Tree
	o.Events = func(e event.Event) {
		if d, ok := e.(event.Diagnostic); ok {
			b.events.Emit(d)
		}
	}
	b.started()
	steps, r, err := tree.Prove(ctx, o)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		// What it was about to do is half done.
		b.sound = b.sound && len(steps) == 0
		return nil, context.Cause(ctx)
	case err != nil:
		b.sound = false
		b.missed = b.missed || !b.later(steps, err)
		return nil, err
	case len(steps) == 0:
		b.events.Emit(event.BuildProved{Elapsed: r.Elapsed})
		return r, nil
	case b.later(steps, nil):
		// It has built what was saved after the short build. The next build is about to
		// begin, and finds the image new.
		b.sound = b.learn(r) == nil
		r.NewImage, r.NewModules = false, false
		return r, nil
	}
	b.events.Emit(event.BuildProved{Elapsed: r.Elapsed, Missed: steps})
	b.missed = true
	version, _ := tree.Version()
	m := kbuild.Missed{Time: time.Now(), Kernel: version, Steps: steps}
	for _, f := range b.last.changed {
		m.Changed = append(m.Changed, tree.Rel(f))
	}
	for _, t := range b.last.objects {
		m.Compiled = append(m.Compiled, t.Name)
	}
	w := event.Warning{Text: "the short build missed something, and make has now done it: " + strings.Join(steps[:min(3, len(steps))], ", ")}
	path, err := tree.SaveMissed(m)
	if err != nil {
		path = err.Error()
	}
	w.Hint = "please report it, with " + path + "; until the loop is started again, make walks the whole tree each time"
	b.events.Emit(w)
	return r, nil
}

// later says whether what make compiled reads a file that was saved after the last short
// build had begun. Where make failed, the files that the errors of err name count as well.
// A file that is gone was there when the short build began. One that make wrote was not
// saved, unless it is that with the name of the release, which changes with a commit.
func (b *builder) later(steps []string, err error) bool {
	tree := b.kernel.Tree
	var files []string
	made := map[string]bool{}
	for _, step := range steps {
		fields := strings.Fields(step)
		files = append(files, b.graph.Reads(fields[len(fields)-1])...)
		for _, name := range fields[1:] {
			made[filepath.Join(tree.BuildDir, name)] = filepath.Base(name) != "utsrelease.h"
		}
	}
	var failed *kbuild.BuildError
	if errors.As(err, &failed) {
		for _, d := range failed.Diagnostics {
			if d.Line > 0 && !filepath.IsAbs(d.File) {
				files = append(files, filepath.Join(tree.Source, d.File))
			}
		}
	}
	return slices.ContainsFunc(files, func(file string) bool {
		if made[file] {
			return false
		}
		st, err := os.Stat(file)
		return errors.Is(err, fs.ErrNotExist) || err == nil && st.ModTime().After(b.last.began)
	})
}
