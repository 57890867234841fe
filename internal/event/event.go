// SPDX-License-Identifier: GPL-3.0-only

package event

import "time"

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

// A Phase is a part of one pass.
type Phase string

// The phases of a pass, in their order.
const (
	PhaseCheck Phase = "check"
	PhaseBuild Phase = "build"
	PhaseBoot  Phase = "boot"
	PhaseRun   Phase = "run"
)

// PhaseStarted says that a pass entered a phase.
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
	Elapsed  time.Duration
	Objects  int
	Image    string // the image that would be booted; empty on failure
	NewImage bool   // whether make linked another image than the one before
	Log      string // path of the full log
	Err      error  // nil on success; context.Canceled when a change overtook it
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

// Console is a line that the guest wrote on its console.
type Console struct {
	Line string // without control characters
}

// GuestCrashed says that the guest's kernel reported a panic or an oops.
type GuestCrashed struct {
	Message string // the headline, such as "Kernel panic - not syncing: …"
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
	VM bool // whether a guest runs
}

func (PhaseStarted) event()     {}
func (Notice) event()           {}
func (Warning) event()          {}
func (ConfigFixed) event()      {}
func (BuildStarted) event()     {}
func (BuildProgress) event()    {}
func (Diagnostic) event()       {}
func (BuildFinished) event()    {}
func (UserlandStarted) event()  {}
func (UserlandProgress) event() {}
func (UserlandFinished) event() {}
func (BootStarted) event()      {}
func (BootReady) event()        {}
func (Console) event()          {}
func (GuestCrashed) event()     {}
func (VMStopped) event()        {}
func (Output) event()           {}
func (CommandFinished) event()  {}
func (Failed) event()           {}
func (WatchStarted) event()     {}
func (Changed) event()          {}
func (Waiting) event()          {}
