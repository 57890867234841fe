// SPDX-License-Identifier: GPL-3.0-only

package report

// A Report is what the kernel printed about one thing that is wrong.
type Report struct {
	// Title names the report in the style of kernel fuzzers, without what differs
	// between two occurrences: "KASAN: slab-use-after-free Read in foo". Where the
	// guilty function isn't known it is "… in corrupted".
	Title string
	Class Class
	// Function is the guilty function: the first one in the stack that doesn't
	// belong to the machinery which found the problem. It may be empty, and is a guess
	// where the title has "corrupted".
	Function string
	// File and Line are the place in the source that the headline names, as WARNING, BUG
	// and UBSAN do. Line is 0 without any.
	File string
	Line int
	// Banner is the line "Linux version …" with which this kernel began its log; empty
	// where the log lacks it.
	Banner string
	// Headline is the message that began the report, without prefix.
	Headline string
	// Mangled says that the report lacks what its title should tell: another
	// processor's lines in it, lines lost, or cut.
	Mangled bool
	// Panicked says that the kernel stopped because of it.
	Panicked bool
	// FirstLine and LastLine are the report's extent, counted from 1. Lines of
	// others may stand between.
	FirstLine, LastLine int64
	// Offset and End are the same in bytes: of the first line's first byte, and
	// behind the last line's end.
	Offset, End int64
	// Stacks are the call traces in the order in which they were printed.
	Stacks []Stack
	// Text has the report's lines without their prefixes, at most 64 KiB of them.
	Text string

	at, main int // indexes of the stacks that Frames joins; -1 without any
}

// A Stack is a call trace.
type Stack struct {
	Name   string // the line before it: "Call Trace:", "Freed by task 12:"
	Frames []Frame
}

// A Frame is one line of a call trace.
type Frame struct {
	Function string // as it was printed: "foo.isra.0"
	Offset   uint64 // of the address in the function, in bytes
	Size     uint64 // of the function, in bytes; 0 when it wasn't printed
	Module   string // empty for the kernel proper
	BuildID  string // of the module, where the report names it (CONFIG_STACKTRACE_BUILD_ID)
	// Uncertain says that the kernel found the address on the stack and marked it
	// with "?": it may be left over from an earlier call.
	Uncertain bool
	File      string // source file, where the report names it
	Line      int    // in File; 0 when unknown
	Inlined   bool   // into the next frame
	Register  bool   // from the instruction pointer, as in "RIP: 0010:foo+0x1/0x2"
}

// Frames returns the frames that led to the report, innermost first: where the
// processor was, as far as that is told, and the call trace.
func (r *Report) Frames() []Frame {
	var frames []Frame
	if r.at >= 0 && r.at != r.main {
		frames = append(frames, r.Stacks[r.at].Frames...)
	}
	if r.main < 0 {
		return frames
	}
	trace := r.Stacks[r.main].Frames
	outer := 0 // the first that wasn't inlined
	for outer < len(trace) && trace[outer].Inlined {
		outer++
	}
	if n := len(frames); n > 0 && outer < len(trace) && frames[n-1].Function == trace[outer].Function && frames[n-1].Offset == trace[outer].Offset {
		trace = trace[outer+1:] // arm64 has it in both
	}
	return append(frames, trace...)
}

// Locate takes File and Line from the guilty function's frame, once the frames have
// theirs, for a report whose headline names no place. Where that frame is at the call of
// a function of the same file that the compiler inlined, it is the line in this one. An
// inlined function of a header is rather a helper that anybody calls.
func (r *Report) Locate() {
	if r.File != "" || r.Function == "" {
		return
	}
	frames := r.Frames()
	for i, f := range frames {
		if f.Line == 0 || baseName(f.Function) != r.Function {
			continue
		}
		at := f
		for i--; i >= 0 && frames[i].Inlined; i-- {
			if frames[i].File == f.File {
				at = frames[i]
			}
		}
		r.File, r.Line = at.File, at.Line
		return
	}
}
