// SPDX-License-Identifier: GPL-3.0-only

package watch

// A State is what the loop knows. Its zero value is the loop before its start.
type State struct {
	Build    Build
	Again    bool // build once more when the present one has ended
	Guest    Guest
	Fresh    bool   // an image was linked that no guest has booted
	Image    string // the last that was built
	Exec     bool   // run a command in each new guest
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
		New   bool // the image was linked, not up to date
		OK    bool
	}
	// Booted ends the start of a guest.
	Booted struct{ OK bool }
	// GuestGone says that the guest ended, asked for or not.
	GuestGone struct{}
	// QuitAsked ends the loop.
	QuitAsked struct{}
)

func (Started) input()      {}
func (FilesChanged) input() {}
func (Built) input()        {}
func (Booted) input()       {}
func (GuestGone) input()    {}
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
// there.
func Step(s State, in Input) (State, []Effect) {
	switch in := in.(type) {
	case Started, FilesChanged:
		if s.Quitting {
			return s, nil
		}
		return s.change()
	case Built:
		s.Build = NoBuild
		if in.OK {
			s.Image = in.Image
			s.Fresh = s.Fresh || in.New
		}
		switch {
		case s.Quitting:
			return s.quit()
		case s.Again:
			// Whatever it brought, it isn't what is on the disk now.
			s.Again = false
			s.Build = Building
			return s, []Effect{StartBuild}
		case !in.OK:
			return s, []Effect{Announce}
		}
		return s.boot()
	case Booted:
		switch {
		case s.Guest == Replacing && in.OK:
			// It came up just before it was to be stopped.
			return s, []Effect{StopGuest}
		case s.Guest == Replacing:
			return s.gone()
		case !in.OK:
			s.Guest = NoGuest
			return s, s.idle(Announce)
		}
		s.Guest = Running
		if s.Exec {
			return s, []Effect{StartExec}
		}
		return s, s.idle(Announce)
	case GuestGone:
		return s.gone()
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
		if s.Build == NoBuild && s.Guest == NoGuest {
			effects = append(effects, Exit)
		}
		return s, effects
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
	case s.Build != NoBuild:
		// The image is being replaced; the end of the build comes back here.
		return s, nil
	case s.Guest == NoGuest:
		s.Guest, s.Fresh = Booting, false
		return s, []Effect{StartGuest}
	case s.Fresh && (s.Guest == Running || s.Guest == Booting):
		s.Guest = Replacing
		return s, []Effect{StopGuest}
	case s.Guest == Running:
		return s, []Effect{Announce}
	}
	return s, nil
}

// gone is the end of a guest.
func (s State) gone() (State, []Effect) {
	replacing := s.Guest == Replacing
	s.Guest = NoGuest
	switch {
	case s.Quitting:
		return s.quit()
	case replacing:
		return s.boot()
	}
	// No reboot: a kernel that dies would do so again. The next change boots.
	return s, s.idle(Announce)
}

func (s State) quit() (State, []Effect) {
	if s.Build == NoBuild && s.Guest == NoGuest {
		return s, []Effect{Exit}
	}
	return s, nil
}

// idle returns the effects only when nothing is under way.
func (s State) idle(effects ...Effect) []Effect {
	if s.Build != NoBuild || s.Guest == Booting {
		return nil
	}
	return effects
}
