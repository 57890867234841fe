// SPDX-License-Identifier: GPL-3.0-only

package watch

// A State is what the loop knows. Its zero value is the loop before its start.
type State struct {
	Build    Build
	Again    bool // build once more when the present one has ended
	Failed   bool // the last build did: what it left isn't fit to boot
	Guest    Guest
	Fresh    bool   // an image was linked that no guest has booted
	Image    string // the last that was built
	Exec     bool   // run a command in each new guest
	Blind    bool   // changes aren't seen any more
	Quitting bool
}

// Build is what make does.
type Build int

// The states of a build.
const (
	NoBuild Build = iota
	Building
	Cancelling // of no use any more, but not ended yet
)

// Guest is what the VM does.
type Guest int

// The states of a guest.
const (
	NoGuest Guest = iota
	Booting
	Running
	Replacing // on its way out, for the next one
)

// An Input is what happens to the loop.
type Input interface{ input() }

type (
	// Started is the first input.
	Started struct{}
	// FilesChanged says that a settled set of changes matters.
	FilesChanged struct{}
	// Built ends a build.
	Built struct {
		Image string
		New   bool // no guest has booted the image
		OK    bool
	}
	// Booted ends the start of a guest.
	Booted struct{ OK bool }
	// GuestGone says that the guest ended, asked for or not.
	GuestGone struct{}
	// Executed says that the command in the guest has ended, and the guest goes
	// on.
	Executed struct{}
	// WatchLost says that no change will be seen any more.
	WatchLost struct{}
	// QuitAsked ends the loop.
	QuitAsked struct{}
)

func (Started) input()      {}
func (FilesChanged) input() {}
func (Built) input()        {}
func (Booted) input()       {}
func (GuestGone) input()    {}
func (Executed) input()     {}
func (WatchLost) input()    {}
func (QuitAsked) input()    {}

// An Effect is what the loop shall do.
type Effect int

// The effects.
const (
	StartBuild  Effect = iota
	CancelBuild        // Built follows
	StartGuest         // boots State.Image; Booted follows
	StopGuest          // GuestGone follows, or Booted when it was booting
	StartExec          // runs the command in the guest
	Announce           // says what is waited for
	Exit
)

// Step is the loop's rule: what to do on an input, and the state after it.
//
// There is at most one build and one guest. The guest outlives failed builds,
// and builds that link nothing new. It is replaced only when the next image is
// there. One that ended by itself comes back with the next build that succeeds,
// whether that linked anything or not: who saves a file wants to see it run.
func Step(s State, in Input) (State, []Effect) {
	switch in := in.(type) {
	case Started, FilesChanged:
		if s.Quitting {
			return s, nil
		}
		return s.change()
	case Built:
		s.Build, s.Failed = NoBuild, !in.OK
		if in.OK {
			s.Image = in.Image
			s.Fresh = s.Fresh || in.New
		}
		switch {
		case s.Quitting:
			return s, s.rest()
		case s.Again:
			// Whatever it brought, it isn't what is on the disk now.
			s.Again = false
			s.Build = Building
			return s, []Effect{StartBuild}
		}
		return s.boot()
	case Booted:
		switch {
		case s.Guest == Replacing && in.OK:
			// It came up just before it was to be stopped.
			return s, []Effect{StopGuest}
		case !in.OK:
			return s.gone()
		}
		s.Guest = Running
		if s.Exec {
			return s, []Effect{StartExec}
		}
		return s, s.rest()
	case GuestGone:
		return s.gone()
	case Executed:
		return s, s.rest()
	case WatchLost:
		s.Blind = true
		return s, s.rest()
	case QuitAsked:
		if s.Quitting {
			return s, nil
		}
		s.Quitting, s.Again = true, false
		var effects []Effect
		if s.Build == Building {
			s.Build = Cancelling
			effects = append(effects, CancelBuild)
		}
		if s.Guest == Booting || s.Guest == Running {
			s.Guest = Replacing
			effects = append(effects, StopGuest)
		}
		return s, append(effects, s.rest()...)
	}
	return s, nil
}

func (s State) change() (State, []Effect) {
	switch s.Build {
	case NoBuild:
		s.Build = Building
		return s, []Effect{StartBuild}
	case Building:
		s.Build, s.Again = Cancelling, true
		return s, []Effect{CancelBuild}
	}
	s.Again = true
	return s, nil
}

// boot starts a guest on the image, once there is none, if there is need.
func (s State) boot() (State, []Effect) {
	switch {
	case s.Build != NoBuild, s.Failed:
		// The image is being replaced, or may be half of one. A build that
		// succeeds comes back here.
	case s.Guest == NoGuest:
		s.Guest, s.Fresh = Booting, false
		return s, []Effect{StartGuest}
	case s.Fresh && s.Guest != Replacing:
		s.Guest = Replacing
		return s, []Effect{StopGuest}
	}
	return s, s.rest()
}

// gone is the end of a guest, or of its boot.
func (s State) gone() (State, []Effect) {
	replacing := s.Guest == Replacing
	s.Guest = NoGuest
	if replacing && !s.Quitting {
		return s.boot()
	}
	// No reboot: a kernel that dies would do so again.
	return s, s.rest()
}

// rest returns what there is to do when nothing is under way: what is under
// way ends in an input that comes back here.
func (s State) rest() []Effect {
	switch {
	case s.Build != NoBuild || s.Guest == Booting || s.Guest == Replacing:
		return nil
	case !s.Quitting && !s.Blind:
		return []Effect{Announce}
	case s.Guest == NoGuest:
		return []Effect{Exit} // nothing can happen any more
	}
	return nil
}
