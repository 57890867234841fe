// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/ktap"
	"github.com/metaspace/run-kernel/internal/event"
)

// KUnit is one turn in which the kernel runs its own tests while it boots.
type KUnit struct {
	NoBuild bool          // boot what is there
	Glob    string        // which tests; empty: all
	Timeout time.Duration // of the boot with the tests; 0: no limit
}

// kunitArgs are for the kernel's command line. kunit.enable is there since 6.0; before,
// and without a default of n, tests always run.
func kunitArgs(glob string) []string {
	args := []string{"kunit.enable=1"}
	if strings.ContainsFunc(glob, unicode.IsSpace) {
		// It is one argument, and matches nothing: see next_arg in lib/cmdline.c.
		glob = `"` + glob + `"`
	}
	if glob != "" {
		args = append(args, "kunit.filter_glob="+glob)
	}
	return args
}

// KUnit makes such a turn, and returns the results of the tests, also with an error of
// the boot: a test may crash the guest.
func (s *Session) KUnit(ctx context.Context, o KUnit) (*ktap.Test, error) {
	if !o.NoBuild {
		if err := s.CheckHost(ctx); err != nil {
			return nil, err
		}
	}
	image, err := s.image(ctx, o.NoBuild)
	if err != nil {
		return nil, err
	}
	options, err := s.source.BootOptions(ctx, image, s.Dir)
	if err != nil {
		return nil, err
	}
	s.enter(event.PhaseBoot)
	if o.Timeout > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, o.Timeout, &boot.TimeoutError{Command: true, Silent: o.Timeout})
		defer cancel()
		ctx = limited
	}
	results := newKUnitResults(s.Events, o.Glob, &options)
	g, err := s.boot(ctx, options)
	if err == nil {
		g.Stop() // then all of its console has been read
	}
	t := results.end()
	if s.place.Stopped() {
		return t, ErrStopped
	}
	s.showTail(err)
	failGuest(t, err)
	s.Events.Emit(t.Summary(t.Elapsed))
	return t, err
}

// failGuest has results fail where all tests that ran have passed, and the guest hasn't: who
// reads them sees nothing else of the turn.
func failGuest(t *ktap.Test, err error) {
	var death *boot.DeathError
	switch {
	case t.Status == ktap.NoKTAP: // which fails by itself
	case errors.As(err, &death) && death.Host:
	case errors.As(err, new(*boot.CrashError)), errors.As(err, new(*boot.TimeoutError)), death != nil:
		t.Fail("(the guest)", []string{err.Error()})
	}
}

// kunitResults read the results of tests on a guest's console.
type kunitResults struct {
	events  event.Sink
	parser  *ktap.Parser
	console io.ReadCloser
	read    chan struct{} // closed when all of the console is read
}

// newKUnitResults has a guest that is booted with these options run tests.
func newKUnitResults(events event.Sink, glob string, o *boot.Options) *kunitResults {
	r := &kunitResults{events: events}
	o.KernelArgs = slices.Concat(kunitArgs(glob), o.KernelArgs)
	o.Limit = 0 // a boot with tests may take long, and isn't silent
	o.Started = r.started
	return r
}

// started reads the console of a guest. A boot that failed may be tried once more.
func (r *kunitResults) started(vm *boot.VM) {
	r.end()
	r.parser, r.console, r.read = ktap.NewParser(ktap.Options{}.Tell(r.events)), vm.Serial(), make(chan struct{})
	go func() {
		defer close(r.read)
		_, _ = io.Copy(r.parser, r.console) // it ends when we close it
	}()
}

// end returns the results that have been read. The tests run before the guest's init, which
// brings up the agent: once that answers, and once the guest has ended, all are printed.
func (r *kunitResults) end() *ktap.Test {
	if r.console == nil {
		return ktap.NewParser(ktap.Options{}).Close()
	}
	_ = r.console.Close() // what has come is still read
	<-r.read
	return r.parser.Close()
}

// A comparison remembers which tests failed in the turn before.
type comparison struct {
	known   bool
	failing []string
}

// compare sums up results, and what has changed since the turn before.
func (c *comparison) compare(t *ktap.Test) event.TestsFinished {
	e := t.Summary(t.Elapsed)
	if t.Status == ktap.NoKTAP || t.Status == ktap.NoTests {
		return e // this turn says nothing about any test
	}
	failing, before := t.Failing(), c.failing
	if t.Counts.Crashed > 0 {
		// Of those that never came nobody knows whether they would pass now.
		came := map[string]bool{}
		t.Walk(func(path []string, _ *ktap.Test) { came[strings.Join(path, ".")] = true })
		before = slices.DeleteFunc(slices.Clone(before), func(name string) bool { return !came[name] })
	}
	if c.known {
		e.Compared = true
		e.Began = without(failing, c.failing)
		e.Ceased = without(before, failing)
	}
	c.known, c.failing = true, slices.Concat(failing, without(c.failing, slices.Concat(before, failing)))
	return e
}

// without returns what of a list isn't in another.
func without(list, other []string) []string {
	in := make(map[string]bool, len(other))
	for _, name := range other {
		in[name] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return in[name] })
}
