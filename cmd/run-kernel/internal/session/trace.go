// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/boot/report/decode"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/lines"
	"github.com/metaspace/run-kernel/internal/event"
)

// shortly is how long the end of a command in the loop waits for the traces of its
// reports. Without debug information they may come much later.
const shortly = time.Second

// traces name the reports of a guest to file and line. That takes a moment, and longer
// where objects must be compiled for it, so it happens beside all else.
type traces struct {
	session *Session
	decoder *lines.Decoder // nil: nothing is known of the kernel
	before  time.Time      // a source file that is younger was edited in this turn
	ctx     context.Context
	cancel  context.CancelFunc

	mu     sync.Mutex
	queue  []report.Report
	seen   map[string]bool          // titles
	named  map[string]report.Report // by title
	idle   chan struct{}            // closed while nothing is under way
	told   bool                     // that the kernel is another one
	closed bool
}

// linked remembers when the present build was linked: what is edited later is edited in
// the turn that begins.
func (s *Session) linked() {
	var before time.Time
	if st, err := os.Stat(filepath.Join(s.Kernel.Tree.BuildDir, "vmlinux")); err == nil {
		before = st.ModTime()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// newTraces are those of a guest that boots an image.
func (s *Session) newTraces(image string) *traces {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &traces{
		session: s, decoder: s.newDecoder(image), before: s.before,
		seen: make(map[string]bool), named: make(map[string]report.Report), idle: make(chan struct{}),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	close(t.idle)
	return t
}

// newDecoder returns the decoder for an image: the build's for one of the tree, or else
// that of the image itself where it is a vmlinux. What was linked for a boot stays open,
// so that a later build doesn't matter.
func (s *Session) newDecoder(image string) *lines.Decoder {
	var decoder *lines.Decoder
	var err error
	switch {
	case s.Kernel != nil && within(s.Kernel.Tree.BuildDir, image):
		decoder, err = lines.Open(s.Kernel.Tree)
	default:
		decoder, err = lines.OpenVmlinux(image)
	}
	if err != nil {
		return nil // reports stay as they were printed
	}
	return decoder
}

// within says whether a file is in a directory.
func within(dir, path string) bool {
	if physical, err := filepath.EvalSymlinks(path); err == nil {
		path = physical
	}
	return strings.HasPrefix(path, dir+"/")
}

// replace says that the guest gets modules of the present build.
func (t *traces) replace(modules []string) {
	if t.decoder != nil {
		t.decoder.Replace(modules)
	}
}

// take takes a report that has been told.
func (t *traces) take(r report.Report, up bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.decoder == nil || t.closed || t.seen[r.Title] || !t.wanted(&r, up) {
		return
	}
	t.seen[r.Title] = true
	r.Stacks = slices.Clone(r.Stacks) // others have the report as well
	if len(t.queue) == 0 && isClosed(t.idle) {
		t.idle = make(chan struct{})
		go t.work()
	}
	t.queue = append(t.queue, r)
}

// wanted says whether a report is worth the time: what ends a boot, or may fail a command.
// What a boot complains of each time isn't compiled for.
func (t *traces) wanted(r *report.Report, up bool) bool {
	v := t.session.verdict
	ends := r.Panicked || r.Class <= report.StackOverflow || r.Class == report.Hang
	if v.allows(r) && !r.Panicked {
		return false
	}
	return ends || slices.Contains(v.fail, r.Class.String()) && (up || t.decoder.Cheap())
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// work names what is in the queue.
func (t *traces) work() {
	for {
		t.mu.Lock()
		if len(t.queue) == 0 {
			close(t.idle)
			t.mu.Unlock()
			return
		}
		r := t.queue[0]
		t.queue = t.queue[1:]
		t.mu.Unlock()
		t.name(r)
	}
}

// name decodes a report, and tells of it.
func (t *traces) name(r report.Report) {
	err := t.decoder.Decode(t.ctx, &r)
	if mismatch := new(decode.MismatchError); errors.As(err, &mismatch) {
		t.mismatch(err)
	}
	frames := r.Frames()
	if err != nil || t.ctx.Err() != nil || !slices.ContainsFunc(frames, func(f report.Frame) bool { return f.Line > 0 }) {
		return
	}
	e := event.KernelTrace{Title: r.Title, File: r.File, Line: r.Line, Frames: kernelFrames(frames)}
	around, edited := t.decoder.Source(r.File, r.Line)
	for _, line := range around {
		e.Source = append(e.Source, event.SourceLine(line))
	}
	e.Edited = !t.before.IsZero() && edited.After(t.before)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() == nil { // else nobody waits for it any more
		t.named[r.Title] = r
		t.session.Events.Emit(e)
	}
}

// mismatch tells, once, that the kernel is another one than the tree was built to.
func (t *traces) mismatch(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.told && t.ctx.Err() == nil {
		t.told = true
		t.session.Events.Emit(event.Notice{Text: "the frames have no lines: " + err.Error()})
	}
}

// stop ends what is under way. No event comes after it.
func (t *traces) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel()
}

// wait waits until all reports so far are named, but not longer than ctx.
func (t *traces) wait(ctx context.Context) {
	t.mu.Lock()
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// waitShortly is wait for a moment.
func (t *traces) waitShortly(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, shortly)
	defer cancel()
	t.wait(ctx)
}

// locate gives reports the place of the guilty function, as far as it is known.
func (t *traces) locate(reports []report.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range reports {
		if named, ok := t.named[reports[i].Title]; ok && reports[i].File == "" {
			reports[i].File, reports[i].Line = named.File, named.Line
		}
	}
}

// close takes no more reports, and gives everything back once nothing is under way.
func (t *traces) close() {
	t.mu.Lock()
	closed, idle := t.closed, t.idle
	t.closed = true
	t.mu.Unlock()
	if closed || t.decoder == nil {
		return
	}
	<-idle
	t.decoder.Close()
}

// kernelFrames are frames as events have them, without those that are uncertain.
func kernelFrames(frames []report.Frame) []event.KernelFrame {
	var shown []event.KernelFrame
	for _, f := range frames {
		if !f.Uncertain {
			shown = append(shown, event.KernelFrame{
				Function: f.Function, File: f.File, Line: f.Line, Inlined: f.Inlined, Module: f.Module, Offset: f.Offset, Size: f.Size,
			})
		}
	}
	return shown
}
