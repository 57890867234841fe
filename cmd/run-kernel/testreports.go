// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/ktap"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/internal/ui"
)

// testReports are the files that get the results of tests, beside the terminal.
type testReports struct {
	junit, ktap, json string // paths; empty: none
	github            bool
	began             time.Time
}

// addFlags adds the flags that say where results of tests go.
func (r *testReports) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&r.junit, "junit", "", "write the results of tests to this file as JUnit XML")
	c.Flags().StringVar(&r.ktap, "ktap-out", "", "write the results of tests to this file as KTAP")
	c.Flags().StringVar(&r.json, "json-out", "", "write the results of tests to this file as JSON, one event per line")
	c.Flags().BoolVar(&r.github, "github", false, "print an annotation for GitHub Actions for each test that fails")
}

// wanted says whether there is anything to write.
func (r *testReports) wanted() bool { return r.junit+r.ktap+r.json != "" || r.github }

// begin makes sure that the files can be written, and removes those of a run before: if
// this one fails, nobody must take them for its results.
func (r *testReports) begin(dir string) error {
	r.began = time.Now()
	for _, f := range []struct {
		flag string
		path *string
	}{{"--junit", &r.junit}, {"--ktap-out", &r.ktap}, {"--json-out", &r.json}} {
		if *f.path == "" {
			continue
		}
		if !filepath.IsAbs(*f.path) {
			*f.path = filepath.Join(dir, *f.path)
		}
		if leadsToDescriptor(*f.path) {
			continue
		}
		if real, err := filepath.EvalSymlinks(*f.path); err == nil {
			*f.path = real
		}
		st, err := os.Lstat(*f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if _, err := os.Stat(filepath.Dir(*f.path)); err != nil {
				return fmt.Errorf("%s: %w", f.flag, err)
			}
		case err != nil:
			return fmt.Errorf("%s: %w", f.flag, err)
		case st.IsDir():
			return &usageError{problem: fmt.Sprintf("%s: %s is a directory", f.flag, *f.path)}
		case !st.Mode().IsRegular():
			continue
		default:
			if err := os.Remove(*f.path); err != nil {
				return fmt.Errorf("%s: %w", f.flag, err)
			}
		}
		// Not after the tests have run.
		probe, err := os.CreateTemp(filepath.Dir(*f.path), filepath.Base(*f.path)+".*.tmp")
		if err == nil {
			err = errors.Join(probe.Close(), os.Remove(probe.Name()))
		}
		if err != nil {
			return fmt.Errorf("%s: write in %s: %w", f.flag, filepath.Dir(*f.path), err)
		}
	}
	return nil
}

// write writes the results of what name ran.
func (r *testReports) write(out io.Writer, name string, t *ktap.Test) error {
	for _, f := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{r.junit, func(w io.Writer) error { return t.WriteJUnit(w, name, r.began) }},
		{r.ktap, t.WriteKTAP},
		{r.json, func(w io.Writer) error {
			t.Tell(ui.JSON(w))
			return nil
		}},
	} {
		if f.path == "" {
			continue
		}
		var b bytes.Buffer
		if err := f.write(&b); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
		if err := writeResults(out, f.path, b.Bytes()); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
	}
	if r.github {
		return t.WriteGitHub(out)
	}
	return nil
}

// A commandResults is how the results of a command in the guest are told.
type commandResults struct {
	testReports
	ktap     bool     // it prints them as KTAP
	expected []string // names of tests that must have a result there

	parser *ktap.Parser
}

func (r *commandResults) addFlags(c *cobra.Command) {
	c.Flags().BoolVar(&r.ktap, "ktap", false, "read the command's output as KTAP, the format of test results, and judge by it (-v shows the output too)")
	r.testReports.addFlags(c)
}

// check refuses flags that have no meaning without a command.
func (r *commandResults) check(c *cobra.Command, argv []string) error {
	if len(argv) == 0 && (r.ktap || r.wanted()) {
		return &usageError{problem: "there are no results without a command", hint: c.CommandPath() + " --ktap -- COMMAND"}
	}
	return nil
}

// start has a terminal read the results.
func (r *commandResults) start(t *session.Terminal) {
	if r.ktap {
		r.parser = ktap.NewParser(ktap.Options{Comments: true}.Tell(t.Events))
		t.Results = r.parser
	}
}

// A noKTAPError says that a command succeeded and didn't print results.
type noKTAPError struct{}

func (noKTAPError) Error() string { return "the command's output has no KTAP, which --ktap expects" }

func (noKTAPError) Hint() string {
	return "KTAP begins with the line \"KTAP version 1\" or \"TAP version 13\""
}

// skipStatus is that of a selftest which could not run: KSFT_SKIP in kselftest.h.
const skipStatus = 4

// finish tells the results of a command, and returns the error that they come to. err is
// how it ended.
func (r *commandResults) finish(a *app, argv []string, err error) error {
	var status statusError
	var report *boot.ReportError
	ended := err == nil || errors.As(err, &status)
	// What isn't the command's fault is nobody's result.
	if !ended && bisectStatus(err) != 1 || !r.ktap && !r.wanted() || r.ktap && r.parser == nil {
		return err
	}
	var t *ktap.Test
	if r.ktap {
		t = r.parser.Close()
	} else {
		single := ktap.Test{Name: strings.Join(argv, " "), Status: ktap.Passed, Elapsed: time.Since(r.began)}
		switch {
		case status != 0:
			single.Status, single.Reason = ktap.Failed, fmt.Sprintf("status %d", int(status))
		case err != nil:
			single.Status, single.Reason = ktap.Failed, err.Error()
		}
		t = ktap.Single(single)
	}
	for _, name := range r.absent(t) {
		t.Fail(name, []string{"it has no result: what runs the tests ended before"})
	}
	result := t.Status
	switch {
	case !r.ktap:
	case !ended:
		name := "(the guest)"
		if errors.As(err, &report) {
			name = "(the kernel)"
		}
		t.Fail(name, []string{err.Error()})
	case status != 0 && (result == ktap.Passed || result == ktap.Skipped && status != skipStatus):
		// Who reads the results sees nothing else of the command.
		t.Fail("(the command)", []string{fmt.Sprintf("it ended with status %d", int(status))})
	}
	if r.ktap {
		a.events.Emit(t.Summary(t.Elapsed))
	}
	if lost := r.write(a.out, "run-kernel", t); lost != nil {
		if ended {
			return lost // a status has no message
		}
		return errors.Join(err, lost)
	}
	switch {
	case !r.ktap || !ended:
		return err
	case result == ktap.NoKTAP, result == ktap.NoTests:
		if err == nil {
			return noKTAPError{}
		}
		return err
	case result == ktap.Skipped && status == skipStatus:
		return nil
	case !result.Good():
		return statusError(statusUnmet)
	}
	return err
}

// absent returns the expected tests that have no result. Where none has one, they may go
// by other names there, or there are no results at all.
func (r *commandResults) absent(t *ktap.Test) []string {
	if len(r.expected) == 0 || t.Counts.Total() >= ktap.MaxTests {
		return nil // tests beyond the limit have no names
	}
	there := make(map[string]bool)
	t.Walk(func(_ []string, test *ktap.Test) { there[test.Name] = true })
	absent := slices.DeleteFunc(slices.Clone(r.expected), func(name string) bool { return there[name] })
	if len(absent) == len(r.expected) {
		return nil
	}
	return absent
}

// leadsToDescriptor says whether a path leads to a descriptor of ours, as /dev/stdout and
// /dev/fd/3 do. What that is open on isn't replaced.
func leadsToDescriptor(path string) bool {
	const maxLinks = 40
	for range maxLinks {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return false
		}
		if strings.HasPrefix(dir, "/proc/") && filepath.Base(dir) == "fd" {
			return true
		}
		to, err := os.Readlink(path)
		if err != nil {
			return false
		}
		if path = to; !filepath.IsAbs(to) {
			path = filepath.Join(dir, to)
		}
	}
	return false
}

// writeResults writes a file as a whole, or to what isn't one, such as /dev/stdout.
func writeResults(out io.Writer, path string, data []byte) error {
	st, err := os.Stat(path)
	if o, ok := out.(*stdout); ok && o != nil && err == nil {
		if f, ok := o.w.(*os.File); ok {
			if own, err := f.Stat(); err == nil && os.SameFile(own, st) {
				_, err := out.Write(data) // where the output before it ended
				return err
			}
		}
	}
	if leadsToDescriptor(path) || err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Close())
	}
	return atomicfile.Write(path, data, 0o644)
}
