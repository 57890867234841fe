// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/trust"
)

// Global requests.
const (
	statusRequest = "status@run-kernel" // answered with a Status as JSON
	stopRequest   = "stop@run-kernel"   // ends the process that owns the VM; answered with an Outcome
	dumpRequest   = "dump@run-kernel"   // writes the guest's memory to the client's file: dumpPayload; answered with a refusal, or nothing
)

// Types of channels, beside those that the guest's agent knows.
const (
	serialChannel   = "serial@run-kernel"
	debuggerChannel = "debugger@run-kernel"
)

// They change in tests only.
var (
	answerTime   = 10 * time.Second // how long an owner may take to answer
	powerOffTime = time.Minute      // how long a guest may take to power itself off
	silenceTime  = 8 * time.Second  // how long it may write nothing meanwhile
	tellTime     = time.Second      // how long callers may take to read how their commands ended
)

// An Outcome is what became of the guest when its owner was stopped.
type Outcome string

// The outcomes.
const (
	NoGuest    Outcome = "no guest"    // there was none
	PoweredOff Outcome = "powered off" // it did so itself
	Ended      Outcome = "ended"       // it didn't in time, and was ended
)

// Status is what an owner says of itself.
type Status struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`        // watch, boot …
	Build   string    `json:"build"`          // the build directory
	Source  string    `json:"source"`         // the source tree
	Name    string    `json:"name,omitempty"` // of the VM
	Started time.Time `json:"started"`
	// External are directories of modules outside of the tree, as in M=.
	External []string `json:"external,omitempty"`
	Phase    string   `json:"phase"`           // check, build, boot, swap, run, wait
	Guest    bool     `json:"guest"`           // whether a guest answers
	Image    string   `json:"image,omitempty"` // of that guest
	// Silent is for how many seconds the guest, which answered once, owes an answer; 0: it
	// answers.
	Silent float64 `json:"silent,omitempty"`
}

// A BusyError says that another run-kernel has an address.
type BusyError struct {
	Address Address
	Status  Status // the zero one when it doesn't answer
}

func (e *BusyError) Error() string {
	switch {
	case e.Address.Name != "" && e.Status.PID == 0:
		return fmt.Sprintf("another run-kernel has a VM %q of this build directory", e.Address.Name)
	case e.Address.Name != "":
		return fmt.Sprintf("another run-kernel (process %d) has a VM %q of %s", e.Status.PID, e.Address.Name, e.Status.Build)
	case e.Status.PID == 0:
		return "another run-kernel works in this build directory"
	}
	return fmt.Sprintf("another run-kernel (%s, process %d) works in %s", e.Status.Command, e.Status.PID, e.Status.Build)
}

// Hint names what can be done beside it.
func (e *BusyError) Hint() string {
	if strings.HasPrefix(e.Status.Command, "kconfig") || e.Status.Command == "build" {
		return "wait until it has ended, or end it with `run-kernel stop`; or use another build directory with -O"
	}
	if e.Address.Name != "" {
		return "`run-kernel stop --name " + e.Address.Name + "` ends it; or use another name"
	}
	return "`run-kernel exec -- CMD` runs a command in its guest, `run-kernel stop` ends it; " +
		"`run-kernel boot --no-build --name NAME` boots another VM beside it; or use another build directory with -O"
}

// ErrNone says that nobody owns a VM of the build directory.
var ErrNone = errors.New("no run-kernel runs for this tree")

// ErrNoGuest says that an owner has no guest to act on.
var ErrNoGuest = errors.New("no guest runs at the moment")

// An otherUserError says that who has the build directory is another user.
type otherUserError struct {
	build string
	uid   int
}

func (e *otherUserError) Error() string {
	return fmt.Sprintf("the run-kernel for %s is that of %s", e.build, trust.UserName(e.uid))
}

// Hint is how it is reached.
func (e *otherUserError) Hint() string {
	if os.Geteuid() == 0 {
		return fmt.Sprintf("as that user: setpriv --reuid %d --init-groups run-kernel …", e.uid)
	}
	return "only that user reaches it; for a guest of your own, use another build directory: -O DIR"
}

// An elsewhereError says that the owner's socket can't be seen from here.
type elsewhereError struct{ build string }

func (e *elsewhereError) Error() string {
	return fmt.Sprintf("the run-kernel for %s runs in another container, or on another machine", e.build)
}

// Hint is where it is reached.
func (e *elsewhereError) Hint() string { return "act on it where it was started" }

// A silentError says that an owner doesn't answer.
type silentError struct {
	pid   int // 0 when it is in a namespace that we don't see
	limit time.Duration
}

func (e *silentError) Error() string {
	if e.pid == 0 {
		return fmt.Sprintf("control: no answer within %s", e.limit)
	}
	return fmt.Sprintf("control: no answer within %s from process %d, which is a run-kernel", e.limit, e.pid)
}

// Hint is for the usual reason.
func (e *silentError) Hint() string {
	if e.pid == 0 {
		return ""
	}
	return fmt.Sprintf("if it is stopped, `kill -CONT %d` lets it go on", e.pid)
}

func (e *silentError) Unwrap() error { return os.ErrDeadlineExceeded }

// dumpPayload is what dumpRequest asks for. The file comes with the connection.
type dumpPayload struct {
	Virtual bool `json:"virtual"`
}
