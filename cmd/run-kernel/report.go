// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/boot/report/decode"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/lines"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/ui"
)

func (a *app) reportCommand() *cobra.Command {
	var vmlinux string
	c := &cobra.Command{
		Use:   "report [flags] [FILE...]",
		Short: "find what a kernel reported in a log, such as panics and warnings",
		Long: `Report reads logs of Linux kernels and prints what the kernel reported in them: panics,
oopses, warnings, reports of the sanitizers and of lockdep, stalls and leaks. Each report
has a title that is the same for every occurrence, a class and a call trace.

A log may come from a serial console, dmesg, the journal or a test machine. Without FILE,
or if FILE is -, report reads standard input and prints each report when it is complete.
With -v, it also prints the lines of each report.

In a kernel source tree, or with -O, report names each frame of a call trace to file and
line, with inlined functions, if the log is of the kernel that was built there. A kernel
without debug information is named as well: the few objects of the frames are compiled
once more with it, in a temporary directory. With --vmlinux, the frames are those of that
file and of the modules in its directory. Elsewhere, report needs no source tree.

With --json it prints one object per line and report. The fields are log, title, class,
function, file, line, headline, first_line, last_line, offset, end, panicked, mangled,
frames and stacks. The field frames is the call trace, innermost first: objects with the
fields function, file, line (0 if unknown), inlined, offset, size, module and uncertain.
The field stacks has all call traces: objects with the fields name and frames.

The exit status is 0 if there is no report, 1 if there is at least one, and 125 if a log
can't be read.`,
		Example: `  run-kernel report console.log
  run-kernel report --json console.log
  run-kernel report --vmlinux ~/old/vmlinux console.log
  run-kernel report -v -                     # what another program writes`,
		Annotations: map[string]string{helpFlags: "json verbose output config-file"},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				if isatty.IsTerminal(a.env.Stdin.Fd()) {
					return &usageError{problem: "report needs a log", hint: "run-kernel report FILE, or - for what you type"}
				}
				args = []string{"-"}
			}
			decoder, err := a.decoder(c, vmlinux)
			if err != nil {
				return err
			}
			if decoder != nil {
				defer decoder.Close()
			}
			w := reportWriter{ctx: c.Context(), out: a.out, json: a.json, verbose: a.verbose, decoder: decoder, warn: a.warn}
			for _, name := range args {
				if err := a.readLog(name, &w); err != nil {
					return err
				}
			}
			if w.found {
				return statusError(statusUnmet)
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	c.Flags().StringVar(&vmlinux, "vmlinux", "", "name the lines of the frames by this vmlinux, instead of the tree's")
	return c
}

// decoder returns what names the lines of frames: the vmlinux with that path, or else that
// of the tree that we are in; nil if there is none.
func (a *app) decoder(c *cobra.Command, vmlinux string) (*lines.Decoder, error) {
	if vmlinux != "" {
		if !filepath.IsAbs(vmlinux) {
			vmlinux = filepath.Join(a.env.Dir, vmlinux)
		}
		decoder, err := lines.OpenVmlinux(vmlinux)
		if err != nil {
			return nil, fmt.Errorf("open vmlinux: %w", err)
		}
		return decoder, nil
	}
	if err := a.loadConfig(c); err != nil {
		a.warn("the frames have no lines: "+err.Error(), "")
		return nil, nil
	}
	asked := c.Flags().Changed("output")
	if _, err := a.treeIn(""); err != nil && !asked {
		return nil, nil
	}
	tree, err := a.existingTree()
	if err != nil {
		return nil, err
	}
	decoder, err := lines.Open(tree)
	if errors.Is(err, os.ErrNotExist) && !asked {
		return nil, nil // nothing was built here
	}
	if err != nil {
		return nil, fmt.Errorf("open vmlinux: %w", err)
	}
	return decoder, nil
}

// warn writes a warning to standard error, also with --json.
func (a *app) warn(text, hint string) {
	ui.NewText(ui.Options{Out: a.out, Err: a.env.Stderr}).Event(event.Warning{Text: text, Hint: hint})
}

// readLog writes the reports of a log.
func (a *app) readLog(name string, w *reportWriter) error {
	var r io.Reader = a.env.Stdin
	if w.log = name; name == "-" {
		w.log = "standard input"
	} else {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(a.env.Dir, path)
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		defer f.Close()
		r = f
	}
	p := report.NewParser(w.write)
	ended, stop := until(w.ctx, r)
	defer stop()
	in := bufio.NewReader(ended)
	head, _ := in.Peek(maxMagic) // what is wrong is told below
	if e := newEncoded(name, head); e != nil {
		return e
	}
	_, err := io.Copy(writerOnly{p, w}, in)
	_ = p.Close() // never fails
	switch {
	case w.err != nil:
		return w.err
	case w.ctx.Err() != nil:
		return context.Cause(w.ctx)
	case err != nil:
		return fmt.Errorf("read the log %s: %w", w.log, err)
	}
	return nil
}

// encodings are forms of a text in which no line of it is found: how they begin, and the
// command that makes the text of them.
var encodings = []struct{ magic, name, command string }{
	{"\x1f\x8b", "gzip", "gzip -dc"},
	{"\xfd7zXZ\x00", "xz", "xz -dc"},
	{"\x28\xb5\x2f\xfd", "zstd", "zstd -dc"},
	{"\x04\x22\x4d\x18", "lz4", "lz4 -dc"},
	{"BZh", "bzip2", "bzip2 -dc"},
	{"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"},
	{"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"},
}

// maxMagic is the length of the longest of their beginnings.
const maxMagic = 6

// newEncoded returns an error for a log that begins like one of the encodings: it would
// have no report, and a success would be wrong.
func newEncoded(name string, head []byte) error {
	for _, e := range encodings {
		if !bytes.HasPrefix(head, []byte(e.magic)) {
			continue
		}
		what, file := name, " "+qemu.Quote([]string{name})
		if name == "-" {
			what, file = "standard input", ""
		}
		return &advisedError{fmt.Errorf("read the log %s: it is not text, but %s", what, e.name), e.command + file + " | run-kernel report"}
	}
	return nil
}

// until reads r until ctx or stop ends that: who writes to a pipe may take as long as it
// likes, and no read of it can be taken back.
func until(ctx context.Context, r io.Reader) (in io.Reader, stop func()) {
	in, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, r)
		_ = w.CloseWithError(err)
	}()
	end := context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
	return in, func() {
		end()
		_ = w.Close()
	}
}

// A writerOnly passes on what is read, until the reports can't be written any more.
type writerOnly struct {
	parser *report.Parser
	to     *reportWriter
}

var errUnwritten = errors.New("the reports can't be written")

func (w writerOnly) Write(data []byte) (int, error) {
	n, _ := w.parser.Write(data) // never fails
	if w.to.err != nil {
		return 0, errUnwritten
	}
	return n, nil
}

// A reportWriter prints reports.
type reportWriter struct {
	ctx           context.Context
	out           io.Writer
	json, verbose bool
	decoder       *lines.Decoder // may be nil
	warn          func(text, hint string)
	warned        bool // that the kernel is another one
	named         bool // the present report is of the decoder's kernel
	log           string
	found         bool
	err           error
}

type jsonReport struct {
	Log       string       `json:"log"`
	Title     string       `json:"title"`
	Class     report.Class `json:"class"`
	Function  string       `json:"function"`
	File      string       `json:"file"`
	Line      int          `json:"line"`
	Headline  string       `json:"headline"`
	FirstLine int64        `json:"first_line"`
	LastLine  int64        `json:"last_line"`
	Offset    int64        `json:"offset"`
	End       int64        `json:"end"`
	Panicked  bool         `json:"panicked"`
	Mangled   bool         `json:"mangled"`
	Frames    []jsonFrame  `json:"frames"`
	Stacks    []jsonStack  `json:"stacks"`
	Text      string       `json:"text,omitempty"` // with --verbose
}

type jsonStack struct {
	Name   string      `json:"name"`
	Frames []jsonFrame `json:"frames"`
}

type jsonFrame struct {
	Function  string `json:"function"`
	File      string `json:"file"`
	Line      int    `json:"line"`
	Inlined   bool   `json:"inlined"`
	Offset    uint64 `json:"offset"`
	Size      uint64 `json:"size"`
	Module    string `json:"module"`
	Uncertain bool   `json:"uncertain"`
}

func (w *reportWriter) write(r *report.Report) {
	w.found = true
	if w.err != nil {
		return
	}
	w.decode(r)
	if w.json {
		w.err = json.NewEncoder(w.out).Encode(w.jsonReport(r))
		return
	}
	_, w.err = io.WriteString(w.out, w.plain(r))
}

// decode names the frames of a report. What stands in the way is told once.
func (w *reportWriter) decode(r *report.Report) {
	if w.decoder == nil {
		return
	}
	err := w.decoder.Decode(w.ctx, r)
	if w.named = err == nil; w.named || w.warned {
		return
	}
	w.warned = true
	var mismatch *decode.MismatchError
	hint := ""
	if errors.As(err, &mismatch) {
		hint = mismatch.Hint()
	}
	w.warn("the frames have no lines: "+err.Error(), hint)
}

func (w *reportWriter) jsonReport(r *report.Report) jsonReport {
	stacks := make([]jsonStack, 0, len(r.Stacks))
	for _, s := range r.Stacks {
		stacks = append(stacks, jsonStack{s.Name, jsonFrames(s.Frames)})
	}
	j := jsonReport{
		Log: w.log, Title: r.Title, Class: r.Class, Function: r.Function, File: r.File, Line: r.Line, Headline: r.Headline,
		FirstLine: r.FirstLine, LastLine: r.LastLine, Offset: r.Offset, End: r.End, Panicked: r.Panicked, Mangled: r.Mangled,
		Frames: jsonFrames(r.Frames()), Stacks: stacks,
	}
	if w.verbose {
		j.Text = r.Text
	}
	return j
}

func jsonFrames(frames []report.Frame) []jsonFrame {
	list := make([]jsonFrame, 0, len(frames))
	for _, f := range frames {
		list = append(list, jsonFrame{f.Function, f.File, f.Line, f.Inlined, f.Offset, f.Size, f.Module, f.Uncertain})
	}
	return list
}

// plain is a report for people: where it is and its title, as compilers print
// diagnostics, and the call trace.
func (w *reportWriter) plain(r *report.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: %s\n", w.log, r.FirstLine, printable(r.Title))
	about := []string{"class " + r.Class.String(), fmt.Sprintf("lines %d to %d", r.FirstLine, r.LastLine)}
	if r.Panicked {
		about = append(about, "the kernel panicked")
	}
	if r.Mangled {
		about = append(about, "parts are missing or mixed with others")
	}
	fmt.Fprintf(&b, "    %s\n", strings.Join(about, ", "))
	for _, f := range r.Frames() {
		if !f.Uncertain {
			fmt.Fprintf(&b, "    %s\n", printable(frameText(f)))
		}
	}
	w.source(&b, r)
	if w.verbose {
		for line := range strings.Lines(r.Text) {
			fmt.Fprintf(&b, "  | %s\n", printable(strings.TrimRight(line, "\n")))
		}
	}
	return b.String()
}

// source writes the line at fault with its neighbours.
func (w *reportWriter) source(b *strings.Builder, r *report.Report) {
	if !w.named {
		return
	}
	around, _ := w.decoder.Source(r.File, r.Line)
	if len(around) == 0 {
		return
	}
	fmt.Fprintf(b, "  %s:%d\n", printable(r.File), r.Line)
	digits := len(fmt.Sprint(around[len(around)-1].Number))
	for _, line := range around {
		mark := " "
		if line.Number == r.Line {
			mark = ">"
		}
		text := fmt.Sprintf("  %s %*d | %s", mark, digits, line.Number, printable(line.Text))
		fmt.Fprintln(b, strings.TrimRight(text, " \t"))
	}
}

func frameText(f report.Frame) string {
	text := f.Function
	if f.Size > 0 {
		text += fmt.Sprintf("+%#x/%#x", f.Offset, f.Size)
	}
	if f.Module != "" {
		text += " [" + f.Module + "]"
	}
	if f.File != "" {
		text += fmt.Sprintf(" %s:%d", f.File, f.Line)
	}
	if f.Inlined {
		text += " (inlined)"
	}
	return text
}

// printable replaces what would steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
