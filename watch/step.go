// SPDX-License-Identifier: GPL-3.0-only

package watch

// A State is what the loop knows. Its zero value is the loop before its start.
type State struct {
	Build    Build
	Again    bool // build once more when the present one has ended
	Failed   bool // the last build did: what it left isn't fit to boot
	Guest    Guest
	Fresh    bool   // an image was linked that no guest has booted
	Stale    bool   // modules were linked that the guest doesn't have
	Image    string // the last that was built
	Exec     bool   // run a command in each new guest
	Swap     bool   // replace modules in the guest that runs
	Executes bool   // the command runs
	Unrun    bool   // what only the command reads has changed since it began
	Paused   bool   // changes wait
	Missed   bool   // changes came while it was paused
	Blind    bool   // changes aren't seen any more
	Quitting bool
}

// Build is what make does.
type Build int

// The states of a build.
const (
	NoBuild Build = iota
	Building
	Proving    // the build has ended, and the full make that confirms it runs
	Cancelling // of no use any more, but not ended yet
)

// Guest is what the VM does.
type Guest int

// The states of a guest.
const (
	NoGuest Guest = iota
	Booting
	Running
	Swapping  // its modules are being replaced
	Replacing // on its way out, for the next one
)

// An Input is what happens to the loop.
type Input interface{ input() }

type (
	// Started is the first input.
	Started struct{}
	// FilesChanged says that a settled set of changes matters.
	FilesChanged struct{}
	// CommandChanged says that what only the command reads has changed.
	CommandChanged struct{}
	// Built ends a build.
	Built struct {
		Image   string
		New     bool // no guest has booted the image
		Modules bool // the guest has older modules than there are
		OK      bool
		Proof   bool // a full make is to confirm it
	}
	// Proved ends the full make that confirms a build. Of one that was cancelled, nothing
	// counts.
	Proved struct {
		Image string
		New   bool // it linked: the build was wrong
		OK    bool
	}
	// Booted ends the start of a guest.
	Booted struct{ OK bool }
	// Swapped ends the replacement of modules. Where it failed, the guest isn't as it
	// should be.
	Swapped struct{ OK bool }
	// GuestGone says that the guest ended, asked for or not.
	GuestGone struct{}
	// Executed says that the command in the guest has ended, and the guest goes
	// on.
	Executed struct{}
	// BuildAsked, BootAsked, RunAsked and PauseAsked are what the user asks for: build although
	// nothing has changed; boot again what is built; run the command again; let changes
	// wait, and no longer.
	BuildAsked struct{}
	BootAsked  struct{}
	RunAsked   struct{}
	PauseAsked struct{}
	// WatchLost says that no change will be seen any more.
	WatchLost struct{}
	// QuitAsked ends the loop.
	QuitAsked struct{}
)

func (Started) input()        {}
func (FilesChanged) input()   {}
func (CommandChanged) input() {}
func (Built) input()          {}
func (Proved) input()         {}
func (Booted) input()         {}
func (Swapped) input()        {}
func (GuestGone) input()      {}
func (Executed) input()       {}
func (BuildAsked) input()     {}
func (BootAsked) input()      {}
func (RunAsked) input()       {}
func (PauseAsked) input()     {}
func (WatchLost) input()      {}
func (QuitAsked) input()      {}

// An Effect is something that the loop does next.
type Effect int

// The effects.
const (
	StartBuild  Effect = iota
	CancelBuild        // Built follows, or Proved
	StartProof         // Proved follows
	StartGuest         // boots State.Image; Booted follows
	StopGuest          // GuestGone follows, or Booted when it was booting
	StartSwap          // ends the command, and replaces modules in the guest; Swapped follows, or GuestGone
	StartExec          // runs the command in the guest, and ends it where it runs
	Announce           // says what is waited for
	Exit
)

// Step is the loop's rule: what to do on an input, and the state after it.
//
// There is at most one build and one guest. The guest outlives failed builds,
// and builds that link nothing new. It is replaced only when the next image is
// there. One that ended by itself comes back with the next build that succeeds,
// whether that linked anything or not: who saves a file wants to see it run.
//
// Modules that were built without a new image are replaced in the guest that runs. Then
// the command runs again, as in a new guest. Where a module can't be replaced, a new guest
// is booted.
//
// A proof is no build to wait for: its image is booted meanwhile, and the next change
// cancels it.
func Step(s State, in Input) (State, []Effect) {
	switch in := in.(type) {
	case Started, BuildAsked:
		if s.Quitting {
			return s, nil
		}
		return s.rebuild()
	case FilesChanged:
		return s.changed()
	case CommandChanged:
		s.Unrun = s.Exec
		return s.rerun()
	case PauseAsked:
		return s.pause()
	case BootAsked:
		return s.again()
	case RunAsked:
		return s.run()
	case Built:
		return s.built(in)
	case Proved:
		return s.proved(in)
	case Booted:
		return s.booted(in)
	case Swapped:
		return s.swapped(in)
	case GuestGone:
		return s.gone()
	case Executed:
		s.Executes = false
		return s, s.rest()
	case WatchLost:
		s.Blind = true
		return s, s.rest()
	case QuitAsked:
		return s.quit()
	}
	return s, nil
}

// changed is a change of source files.
func (s State) changed() (State, []Effect) {
	switch {
	case s.Quitting:
		return s, nil
	case s.Paused:
		s.Missed = true
		return s, s.rest()
	}
	return s.rebuild()
}

// pause lets changes wait, or no longer.
func (s State) pause() (State, []Effect) {
	s.Paused = !s.Paused
	if !s.Paused && s.Missed && !s.Quitting {
		s.Missed = false
		return s.rebuild()
	}
	if s.Unrun {
		return s.rerun()
	}
	if s.Executes {
		return s, nil // the command's end is followed by the state
	}
	return s, s.rest()
}

// run runs the command again, as the user asked.
func (s State) run() (State, []Effect) {
	switch {
	case s.Executes:
		return s, nil
	case s.Guest != Running || !s.Exec || s.Quitting:
		return s, s.rest()
	}
	s.Unrun, s.Executes = false, true
	return s, []Effect{StartExec}
}

// built is the end of a build.
func (s State) built(in Built) (State, []Effect) {
	s.Build, s.Failed = NoBuild, !in.OK
	if in.OK {
		s.Image = in.Image
		s.Fresh = s.Fresh || in.New
		s.Stale = in.Modules
	}
	switch {
	case s.Quitting:
		return s, s.rest()
	case s.Again:
		// Whatever it brought, it isn't what is on the disk now.
		s.Again = false
		return s.rebuild()
	}
	if in.OK && in.Proof {
		// The guest first: it is what is waited for.
		s, effects := s.boot()
		s.Build = Proving
		return s, append(effects, StartProof)
	}
	return s.boot()
}

// proved is the end of the full make that confirms a build.
func (s State) proved(in Proved) (State, []Effect) {
	cancelled := s.Build == Cancelling
	s.Build = NoBuild
	switch {
	case cancelled:
	case in.OK:
		s.Image = in.Image
		s.Fresh = s.Fresh || in.New
	default:
		s.Failed = true
	}
	switch {
	case s.Quitting:
		return s, s.rest()
	case s.Again:
		s.Again = false
		return s.rebuild()
	case in.OK && !in.New:
		// Nothing that wasn't told.
		if s.Blind {
			return s, s.rest()
		}
		return s, nil
	}
	return s.boot()
}

// booted is the end of the start of a guest.
func (s State) booted(in Booted) (State, []Effect) {
	switch {
	case s.Guest == Replacing && in.OK:
		// It came up just before it was to be stopped.
		return s, []Effect{StopGuest}
	case !in.OK:
		return s.gone()
	}
	return s.ready()
}

// swapped is the end of the replacement of modules.
func (s State) swapped(in Swapped) (State, []Effect) {
	if s.Guest != Swapping {
		return s, nil // its end follows
	}
	if !in.OK {
		s.Guest, s.Fresh = Running, true
		return s.boot()
	}
	return s.ready()
}

// quit ends all that is under way.
func (s State) quit() (State, []Effect) {
	if s.Quitting {
		return s, nil
	}
	s.Quitting, s.Again = true, false
	var effects []Effect
	if s.Build == Building || s.Build == Proving {
		s.Build = Cancelling
		effects = append(effects, CancelBuild)
	}
	if s.Guest == Booting || s.Guest == Running || s.Guest == Swapping {
		s.Guest, s.Executes = Replacing, false
		effects = append(effects, StopGuest)
	}
	return s, append(effects, s.rest()...)
}

// rebuild starts a build, and ends the one that runs, if any, before that.
func (s State) rebuild() (State, []Effect) {
	switch s.Build {
	case NoBuild:
		s.Build = Building
		return s, []Effect{StartBuild}
	case Building, Proving:
		s.Build, s.Again = Cancelling, true
		return s, []Effect{CancelBuild}
	}
	s.Again = true
	return s, nil
}

// boot starts a guest on the image, once there is none, if there is need.
func (s State) boot() (State, []Effect) {
	switch {
	case s.building(), s.Failed:
		// The image is being replaced, or may be half of one. A build that
		// succeeds comes back here.
	case s.Guest == NoGuest:
		s.Guest, s.Fresh, s.Stale = Booting, false, false
		return s, []Effect{StartGuest}
	case s.Guest != Replacing && (s.Fresh || s.Stale && !s.Swap):
		s.Guest, s.Executes = Replacing, false
		return s, []Effect{StopGuest}
	case s.Guest == Running && s.Stale:
		s.Guest, s.Executes, s.Stale = Swapping, false, false
		return s, []Effect{StartSwap}
	}
	return s.rerun()
}

// rerun runs the command again where something has changed that only it reads, and the
// guest is to stay.
func (s State) rerun() (State, []Effect) {
	switch {
	case !s.Unrun, s.Guest != Running, s.building(), s.Failed, s.Paused, s.Quitting:
		return s, s.rest()
	}
	s.Unrun, s.Executes = false, true
	return s, []Effect{StartExec}
}

// ready is a guest that has come up, or has got new modules.
func (s State) ready() (State, []Effect) {
	s.Guest = Running
	if s.Stale && !s.building() && !s.Failed {
		// They were built meanwhile.
		return s.boot()
	}
	s.Unrun = false
	if s.Exec {
		s.Executes = true
		return s, []Effect{StartExec}
	}
	return s, s.rest()
}

// again boots what is built once more.
func (s State) again() (State, []Effect) {
	switch {
	case s.Quitting, s.building(), s.Failed, s.Image == "":
		// Nothing is fit to boot, or a boot comes anyway.
	case s.Guest == NoGuest:
		s.Guest, s.Fresh, s.Stale = Booting, false, false
		return s, []Effect{StartGuest}
	case s.Guest == Running || s.Guest == Swapping:
		s.Guest, s.Executes = Replacing, false
		return s, []Effect{StopGuest}
	}
	return s, s.rest()
}

// gone is the end of a guest, or of its boot.
func (s State) gone() (State, []Effect) {
	replacing := s.Guest == Replacing
	s.Guest, s.Executes = NoGuest, false
	if replacing && !s.Quitting {
		return s.boot()
	}
	// No reboot: a kernel that dies would do so again.
	return s, s.rest()
}

// building says whether make may be at the image.
func (s State) building() bool { return s.Build == Building || s.Build == Cancelling }

// rest returns what there is to do when nothing is under way: what is under
// way ends in an input that comes back here.
func (s State) rest() []Effect {
	switch {
	case s.building() || s.Guest == Booting || s.Guest == Swapping || s.Guest == Replacing:
		return nil
	case !s.Quitting && !s.Blind:
		return []Effect{Announce}
	case s.Guest == NoGuest && s.Build == NoBuild:
		return []Effect{Exit} // nothing can happen any more
	}
	return nil
}
