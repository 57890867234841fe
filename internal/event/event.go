// SPDX-License-Identifier: GPL-3.0-only

package event

import (
	"io"
	"time"
)

// An Event is one thing that happened. The set of events is closed: only types
// of this package implement it, so that a renderer can be checked for
// completeness.
type Event interface{ event() }

// A Sink receives events. It may be called from several goroutines at once and
// must not block for longer than a write to a terminal.
type Sink func(Event)

// Emit calls s unless it is nil.
func (s Sink) Emit(e Event) {
	if s != nil {
		s(e)
	}
}

// Writer makes Output of what is written.
func (s Sink) Writer(stderr bool) io.Writer { return output{s, stderr} }

type output struct {
	sink   Sink
	stderr bool
}

func (o output) Write(p []byte) (int, error) {
	o.sink.Emit(Output{Stderr: o.stderr, Data: p})
	return len(p), nil
}

// A Phase is a part of one turn.
type Phase string

// The phases of a turn, in their order.
const (
	PhaseCheck Phase = "check"
	PhaseBuild Phase = "build"
	PhaseBoot  Phase = "boot"
	PhaseRun   Phase = "run"
)

// PhaseStarted says that a turn entered a phase.
type PhaseStarted struct {
	Phase Phase
}

// Notice is something the user should know, but need not act on.
type Notice struct {
	Text string
}

// Warning is something that is probably wrong, with a next step.
type Warning struct {
	Text string
	Hint string // may be empty
}

// ConfigFixed says that .config was changed.
type ConfigFixed struct {
	Path  string
	Edits []ConfigEdit
}

// ConfigEdit is one changed symbol of .config.
type ConfigEdit struct {
	Symbol string // without CONFIG_
	From   string // as in .config: y, m, n, 8, "text"; empty when it was absent
	To     string
	Why    string // the reason for a requirement; empty for what followed from one
}

// BuildStarted says that make runs.
type BuildStarted struct {
	Dir     string   // the build directory
	Command []string // make and its arguments
}

// BuildProgress counts finished objects.
type BuildProgress struct {
	Done    int           // objects built so far
	Total   int           // objects of the last comparable build; 0 when unknown
	Elapsed time.Duration // since make started
	Left    time.Duration // until make ends, as far as can be told; 0 when unknown
	Current string        // the last line of make's quiet output, such as "CC init/main.o"
}

// A Severity of a diagnostic.
type Severity string

// The severities that compilers, linkers and make use.
const (
	Note    Severity = "note"
	Warn    Severity = "warning"
	Error   Severity = "error"
	Unknown Severity = ""
)

// Diagnostic is a message of the compiler, the linker or make.
type Diagnostic struct {
	File     string // relative to the source tree when below it
	Line     int    // 1-based; 0 when unknown
	Column   int    // 1-based; 0 when unknown
	Severity Severity
	Message  string
	Detail   []string // the lines that followed it: source excerpt, notes
}

// BuildFinished ends what BuildStarted began.
type BuildFinished struct {
	External string // the directory of modules outside of the tree that were built; empty: the kernel was
	Elapsed  time.Duration
	Link     time.Duration // the part of Elapsed after the last object was compiled
	Objects  int
	Image    string // the image that would be booted; empty on failure
	NewImage bool   // whether make linked another image than the one before
	// NewModules says whether make linked a module.
	NewModules bool
	Log        string // path of the full log
	Err        error  // nil on success; context.Canceled when a change overtook it
}

// BuildProved ends the full make that confirms a build of a few objects.
type BuildProved struct {
	Elapsed time.Duration
	Missed  []string // what it still had to do; empty: the build was right
}

// UserlandStarted says that nix builds the guest's system.
type UserlandStarted struct {
	Flake   string // as nix names it
	Command []string
}

// UserlandProgress is a line that nix wrote meanwhile.
type UserlandProgress struct {
	Line string
}

// UserlandFinished ends what UserlandStarted began.
type UserlandFinished struct {
	Path    string // of the system in nix's store; empty on failure
	Elapsed time.Duration
	Err     error // nil on success
}

// BootStarted says that a VM is started.
type BootStarted struct {
	Image   string
	Accel   string // kvm or tcg
	Command []string
}

// BootReady says that the guest answers.
type BootReady struct {
	Elapsed time.Duration // since BootStarted
}

// ModulesSwapped says that modules were replaced in the guest that runs, or weren't.
type ModulesSwapped struct {
	Modules []string // that were loaded, in this order, each with its parameters
	Lost    []string // parameters that have their defaults again, as MODULE.PARAMETER
	Idle    []string // modules that the guest hasn't loaded: it finds the new ones
	Refused string   // why the guest isn't as it should be; empty: it is
	Elapsed time.Duration
}

// Console is a line that the guest wrote on its console.
type Console struct {
	Line string // without control characters
}

// GuestCrashed says that the guest's kernel reported a panic or an oops.
type GuestCrashed struct {
	Message string // the headline, such as "Kernel panic - not syncing: …"
}

// KernelReport says that the guest's kernel has reported that something is wrong. Of
// reports with the same title only the first is told.
type KernelReport struct {
	Title    string // such as "WARNING in foo"
	Class    string // as the key verdict.fail has it
	Function string // the guilty one; may be empty
	File     string // in the kernel's source, where the report names it
	Line     int
	Up       bool // the guest's agent had answered
}

// LogNews are lines of the kernel's that no good turn has had.
type LogNews struct {
	Lines []string // at least one
}

// GuestLooked is what a guest was doing that has been given up.
type GuestLooked struct {
	Processors []CPU
	Tasks      []string // what the kernel said of blocked tasks and held locks
	Log        []string // the last messages in its memory, when none has come to the console
}

// A CPU is what a processor of the guest was doing.
type CPU struct {
	Index  int
	State  string        // kernel, user (it ran a program), idle, halted (for good), off (not started)
	PC     string        // hexadecimal
	Frames []KernelFrame // of the kernel, innermost first; then what looks like its callers
}

// KernelTrace says where in the source a report of the guest's kernel comes from. It
// follows the KernelReport with the same title, once that is known.
type KernelTrace struct {
	Title  string
	Frames []KernelFrame // the call trace, innermost first
	File   string        // of the line at fault, in the guilty function; empty when unknown
	Line   int
	Source []SourceLine // that line, with its neighbours; empty if the file has changed since
	Edited bool         // the file was edited since the build before this one
}

// KernelFrame is a function in a call trace.
type KernelFrame struct {
	Function string
	File     string // relative to the source tree; empty when unknown
	Line     int    // 0 when unknown
	Inlined  bool   // into the next frame
	Module   string // empty for the kernel proper
	Offset   uint64 // of the address in the function, in bytes
	Size     uint64 // of the function, in bytes
}

// SourceLine is a line of a source file.
type SourceLine struct {
	Number int // 1-based
	Text   string
}

// VMStopped says that the VM is gone.
type VMStopped struct {
	Reason string   // may be empty when an error follows that says it
	Tail   []string // last lines of the console, when the end was not asked for
}

// Output is what a command in the guest wrote.
type Output struct {
	Stderr bool
	Data   []byte
}

// CommandFinished gives the result of a command in the guest.
type CommandFinished struct {
	Command string
	Status  int // as the exit status of run-kernel would be
	Elapsed time.Duration
	Report  string // title of the kernel's report that is why it failed; empty without any
}

// TestStarted says that a group of tests begins.
type TestStarted struct {
	Path []string // names of the groups that it is in, and its own
	Plan int      // how many tests it announced; -1: it didn't say
}

// TestFinished gives the result of a test, or of a group of them after theirs.
type TestFinished struct {
	Path      []string // names of the groups that it is in, and its own
	Group     bool
	Status    string // passed, failed, skipped, crashed or no-tests
	Directive string // why it isn't what it would be otherwise: SKIP, TODO, XFAIL, TIMEOUT; may be empty
	Reason    string // in the test's words; may be empty
	Elapsed   time.Duration
	Missing   int      // tests of the group that never came
	Errors    []string // what is wrong with the output of the test
	Log       []string // what it printed
	File      string   // where a check failed, as the test names it; may be empty
	Line      int
}

// TestsFinished sums up the results of all tests.
type TestsFinished struct {
	Status   string // that of a test, or no-ktap
	Passed   int    // test cases, without the groups
	Failed   int
	Crashed  int
	Skipped  int
	Elapsed  time.Duration
	Errors   []string // what is wrong with the output as a whole
	Began    []string // paths, joined by dots, of those that fail now and didn't in the turn before
	Ceased   []string // and of those that failed then and don't now
	Compared bool     // there was a turn before
}

// Failed says why a part failed, where the whole goes on.
type Failed struct {
	Err error
}

// WatchStarted says that the watcher sees every change from here on.
type WatchStarted struct {
	Dirs    int
	Elapsed time.Duration
}

// Changed is a settled set of changed files that matters.
type Changed struct {
	Paths []string // relative to the tree; a few, sorted
	Total int      // how many there were
}

// Waiting says that the loop is idle until the next change.
type Waiting struct {
	VM     bool // whether a guest runs
	Paused bool // changes wait until the user ends the pause
	Broken bool // the last build failed: a guest that runs has an older kernel
}

// TurnFinished sums up a turn of the loop. What didn't take place took no time.
type TurnFinished struct {
	Changed []string      // what began the turn, as in Changed; empty: no change did
	Total   int           // how many files changed
	Check   time.Duration // of .config
	Compile time.Duration // by make, until the last object was compiled
	Link    time.Duration // by make after that
	Nix     time.Duration // the build of the guest's system
	Boot    time.Duration
	Swap    time.Duration // of modules in the guest
	Command time.Duration
	Elapsed time.Duration // of the whole turn
	Objects int           // that were compiled
	// "ok", "up to date", "build failed", "boot failed", "status N" of the command, or
	// "failed": another part, the kernel's own tests, or the guest during the command.
	Result string
}

func (PhaseStarted) event()     {}
func (Notice) event()           {}
func (Warning) event()          {}
func (ConfigFixed) event()      {}
func (BuildStarted) event()     {}
func (BuildProgress) event()    {}
func (Diagnostic) event()       {}
func (BuildFinished) event()    {}
func (BuildProved) event()      {}
func (UserlandStarted) event()  {}
func (UserlandProgress) event() {}
func (UserlandFinished) event() {}
func (BootStarted) event()      {}
func (BootReady) event()        {}
func (ModulesSwapped) event()   {}
func (Console) event()          {}
func (GuestCrashed) event()     {}
func (KernelReport) event()     {}
func (GuestLooked) event()      {}
func (LogNews) event()          {}
func (KernelTrace) event()      {}
func (VMStopped) event()        {}
func (Output) event()           {}
func (CommandFinished) event()  {}
func (TestStarted) event()      {}
func (TestFinished) event()     {}
func (TestsFinished) event()    {}
func (Failed) event()           {}
func (WatchStarted) event()     {}
func (Changed) event()          {}
func (TurnFinished) event()     {}
func (Waiting) event()          {}
