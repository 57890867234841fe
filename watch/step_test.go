// SPDX-License-Identifier: GPL-3.0-only

package watch

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// then is one input and the effects that it must have, in this order.
type then struct {
	in   Input
	want []Effect
}

func on(in Input, want ...Effect) then { return then{in, want} }

const vmlinux = "vmlinux"

var (
	start     = Started{}
	change    = FilesChanged{}
	linked    = Built{Image: vmlinux, New: true, OK: true}
	upToDate  = Built{Image: vmlinux, OK: true}
	failed    = Built{}
	short     = Built{Image: vmlinux, New: true, OK: true, Proof: true}
	modules   = Built{Image: vmlinux, Modules: true, OK: true}
	shortMod  = Built{Image: vmlinux, Modules: true, OK: true, Proof: true}
	swapped   = Swapped{OK: true}
	unswapped = Swapped{}
	shortNone = Built{Image: vmlinux, OK: true, Proof: true}
	proved    = Proved{Image: vmlinux, OK: true}
	missed    = Proved{Image: vmlinux, New: true, OK: true}
	unproved  = Proved{}
	up        = Booted{OK: true}
	notUp     = Booted{}
	gone      = GuestGone{}
	executed  = Executed{}
	watchLost = WatchLost{}
	quit      = QuitAsked{}

	// Where most rows begin.
	idle    = State{Guest: Running, Image: vmlinux}
	noGuest = State{Image: vmlinux}
	booting = State{Guest: Booting, Image: vmlinux}
)

func TestStep(t *testing.T) {
	for _, tt := range []struct {
		name  string
		from  State
		steps []then
		to    State
	}{
		{
			name:  "the first start builds, boots and waits",
			steps: []then{on(start, StartBuild), on(linked, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "the first start boots an image that is up to date",
			steps: []then{on(start, StartBuild), on(upToDate, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "the first build fails: nothing to boot",
			steps: []then{on(start, StartBuild), on(failed, Announce)},
			to:    State{Failed: true},
		},
		{
			name:  "a command runs in each new guest, and its end is announced",
			from:  State{Exec: true},
			steps: []then{on(start, StartBuild), on(linked, StartGuest), on(up, StartExec), on(executed, Announce)},
			to:    State{Exec: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "a save builds",
			from:  idle,
			steps: []then{on(change, StartBuild)},
			to:    State{Build: Building, Guest: Running, Image: vmlinux},
		},
		{
			name:  "a save during a build overtakes it",
			from:  idle,
			steps: []then{on(change, StartBuild), on(change, CancelBuild), on(failed, StartBuild)},
			to:    State{Build: Building, Failed: true, Guest: Running, Image: vmlinux},
		},
		{
			name: "several saves while a build is being cancelled start one",
			from: idle,
			steps: []then{
				on(change, StartBuild), on(change, CancelBuild), on(change), on(change), on(failed, StartBuild),
				on(upToDate, Announce),
			},
			to: idle,
		},
		{
			name:  "an overtaken build that finished all the same is not booted yet",
			from:  idle,
			steps: []then{on(change, StartBuild), on(change, CancelBuild), on(linked, StartBuild)},
			to:    State{Build: Building, Guest: Running, Fresh: true, Image: vmlinux},
		},
		{
			name: "… but once its successor is up to date",
			from: idle,
			steps: []then{
				on(change, StartBuild), on(change, CancelBuild), on(linked, StartBuild), on(upToDate, StopGuest),
				on(gone, StartGuest), on(up, Announce),
			},
			to: idle,
		},
		{
			name:  "a failed build leaves the guest alone",
			from:  idle,
			steps: []then{on(change, StartBuild), on(failed, Announce)},
			to:    State{Failed: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "a failed build leaves the boot of a guest alone",
			from:  booting,
			steps: []then{on(change, StartBuild), on(failed), on(up, Announce)},
			to:    State{Failed: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "a build that links nothing doesn't reboot",
			from:  idle,
			steps: []then{on(change, StartBuild), on(upToDate, Announce)},
			to:    idle,
		},
		{
			name:  "a new image replaces the guest, the old one first",
			from:  idle,
			steps: []then{on(change, StartBuild), on(linked, StopGuest), on(gone, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "a new image replaces a guest that boots",
			from:  booting,
			steps: []then{on(change, StartBuild), on(linked, StopGuest), on(notUp, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "a guest that came up just before it was to be stopped is stopped then",
			from:  booting,
			steps: []then{on(change, StartBuild), on(linked, StopGuest), on(up, StopGuest), on(gone, StartGuest)},
			to:    booting,
		},
		{
			name:  "no command runs in a guest on its way out",
			from:  State{Exec: true, Guest: Booting, Build: Building, Image: vmlinux},
			steps: []then{on(linked, StopGuest), on(up, StopGuest), on(gone, StartGuest)},
			to:    State{Exec: true, Guest: Booting, Image: vmlinux},
		},
		{
			name: "a command that is cut short isn't announced",
			from: State{Exec: true, Guest: Running, Image: vmlinux},
			steps: []then{
				on(change, StartBuild), on(linked, StopGuest), on(executed), on(gone, StartGuest), on(up, StartExec),
			},
			to: State{Exec: true, Executes: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "a save while the guest is replaced: the next guest waits for its build",
			from:  idle,
			steps: []then{on(change, StartBuild), on(linked, StopGuest), on(change, StartBuild), on(gone), on(upToDate, StartGuest)},
			to:    booting,
		},
		{
			name: "… and if that fails, there is no guest, whichever ends first",
			from: idle,
			steps: []then{
				on(change, StartBuild), on(linked, StopGuest), on(change, StartBuild), on(gone), on(failed, Announce),
			},
			to: State{Failed: true, Fresh: true, Image: vmlinux},
		},
		{
			name: "… the build",
			from: idle,
			steps: []then{
				on(change, StartBuild), on(linked, StopGuest), on(change, StartBuild), on(failed), on(gone, Announce),
			},
			to: State{Failed: true, Fresh: true, Image: vmlinux},
		},
		{
			name:  "… until one succeeds",
			from:  State{Failed: true, Fresh: true, Image: vmlinux},
			steps: []then{on(change, StartBuild), on(upToDate, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name: "two images while the guest is being stopped: one boot, of the last",
			from: idle,
			steps: []then{
				on(change, StartBuild), on(linked, StopGuest), on(change, StartBuild), on(linked), on(gone, StartGuest),
			},
			to: booting,
		},
		{
			name:  "a guest that ends by itself isn't booted again",
			from:  idle,
			steps: []then{on(gone, Announce)},
			to:    noGuest,
		},
		{
			name:  "… until the next change, also when that links nothing",
			from:  noGuest,
			steps: []then{on(change, StartBuild), on(upToDate, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "… a change before its end counts: its build is still to come",
			from:  idle,
			steps: []then{on(change, StartBuild), on(gone), on(upToDate, StartGuest)},
			to:    booting,
		},
		{
			name:  "… but not a build that fails",
			from:  idle,
			steps: []then{on(change, StartBuild), on(gone), on(failed, Announce)},
			to:    State{Failed: true, Image: vmlinux},
		},
		{
			name:  "a guest that doesn't come up isn't tried again",
			from:  booting,
			steps: []then{on(notUp, Announce)},
			to:    noGuest,
		},
		{
			name:  "… until the next change",
			from:  booting,
			steps: []then{on(change, StartBuild), on(notUp), on(upToDate, StartGuest)},
			to:    booting,
		},
		{
			name:  "quit when idle ends after the guest",
			from:  idle,
			steps: []then{on(quit, StopGuest), on(gone, Exit)},
			to:    State{Quitting: true, Image: vmlinux},
		},
		{
			name:  "quit without a guest ends at once",
			from:  noGuest,
			steps: []then{on(quit, Exit)},
			to:    State{Quitting: true, Image: vmlinux},
		},
		{
			name:  "quit during the first build ends after it",
			steps: []then{on(start, StartBuild), on(quit, CancelBuild), on(failed, Exit)},
			to:    State{Quitting: true, Failed: true},
		},
		{
			name:  "quit during a build ends after it and the guest",
			from:  idle,
			steps: []then{on(change, StartBuild), on(quit, CancelBuild, StopGuest), on(failed), on(gone, Exit)},
			to:    State{Quitting: true, Failed: true, Image: vmlinux},
		},
		{
			name:  "… in whichever order, and a new image is not booted",
			from:  idle,
			steps: []then{on(change, StartBuild), on(quit, CancelBuild, StopGuest), on(gone), on(linked, Exit)},
			to:    State{Quitting: true, Fresh: true, Image: vmlinux},
		},
		{
			name:  "quit while a build is being cancelled doesn't start another",
			from:  idle,
			steps: []then{on(change, StartBuild), on(change, CancelBuild), on(quit, StopGuest), on(failed), on(gone, Exit)},
			to:    State{Quitting: true, Failed: true, Image: vmlinux},
		},
		{
			name:  "quit while the guest boots ends after that",
			from:  booting,
			steps: []then{on(quit, StopGuest), on(notUp, Exit)},
			to:    State{Quitting: true, Image: vmlinux},
		},
		{
			name:  "… also when it comes up",
			from:  booting,
			steps: []then{on(quit, StopGuest), on(up, StopGuest), on(gone, Exit)},
			to:    State{Quitting: true, Image: vmlinux},
		},
		{
			name:  "quit while the guest is replaced doesn't boot the next",
			from:  idle,
			steps: []then{on(change, StartBuild), on(linked, StopGuest), on(quit), on(gone, Exit)},
			to:    State{Quitting: true, Fresh: true, Image: vmlinux},
		},
		{
			name:  "quit twice is quit once",
			from:  idle,
			steps: []then{on(quit, StopGuest), on(quit), on(gone, Exit)},
			to:    State{Quitting: true, Image: vmlinux},
		},
		{
			name:  "a save after quit is nothing",
			from:  idle,
			steps: []then{on(quit, StopGuest), on(change), on(gone, Exit)},
			to:    State{Quitting: true, Image: vmlinux},
		},
		{
			name:  "without its watcher the loop ends with its guest",
			from:  idle,
			steps: []then{on(watchLost), on(gone, Exit)},
			to:    State{Blind: true, Image: vmlinux},
		},
		{
			name:  "… and boots what is being built",
			from:  idle,
			steps: []then{on(change, StartBuild), on(watchLost), on(linked, StopGuest), on(gone, StartGuest), on(up)},
			to:    State{Blind: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "… and ends at once when there is neither",
			from:  noGuest,
			steps: []then{on(watchLost, Exit)},
			to:    State{Blind: true, Image: vmlinux},
		},
		{
			name:  "who asks for a build gets one, and a boot where it links something",
			from:  idle,
			steps: []then{on(BuildAsked{}, StartBuild), on(upToDate, Announce), on(BuildAsked{}, StartBuild), on(linked, StopGuest), on(gone, StartGuest)},
			to:    State{Guest: Booting, Image: vmlinux},
		},
		{
			name:  "who asks for a boot gets the same image again",
			from:  idle,
			steps: []then{on(BootAsked{}, StopGuest), on(gone, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "… also where no guest runs",
			from:  noGuest,
			steps: []then{on(BootAsked{}, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "… but not what a failed build has left",
			from:  State{Failed: true, Image: vmlinux},
			steps: []then{on(BootAsked{}, Announce)},
			to:    State{Failed: true, Image: vmlinux},
		},
		{
			name:  "the command runs again, once at a time",
			from:  State{Exec: true, Guest: Running, Image: vmlinux},
			steps: []then{on(RunAsked{}, StartExec), on(RunAsked{}), on(executed, Announce)},
			to:    State{Exec: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "a changed command runs again, and doesn't wait for its end",
			from:  State{Exec: true, Guest: Running, Image: vmlinux},
			steps: []then{on(CommandChanged{}, StartExec), on(CommandChanged{}, StartExec), on(executed, Announce)},
			to:    State{Exec: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "… after a build that links nothing",
			from:  State{Exec: true, Guest: Running, Image: vmlinux},
			steps: []then{on(change, StartBuild), on(CommandChanged{}), on(upToDate, StartExec), on(executed, Announce)},
			to:    State{Exec: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "… once, in the next guest if there is one",
			from:  State{Exec: true, Guest: Running, Image: vmlinux},
			steps: []then{on(change, StartBuild), on(CommandChanged{}), on(linked, StopGuest), on(gone, StartGuest), on(up, StartExec), on(executed, Announce)},
			to:    State{Exec: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "… after a pause",
			from:  State{Exec: true, Guest: Running, Image: vmlinux},
			steps: []then{on(PauseAsked{}, Announce), on(CommandChanged{}, Announce), on(PauseAsked{}, StartExec)},
			to:    State{Exec: true, Guest: Running, Executes: true, Image: vmlinux},
		},
		{
			name:  "changes wait for the end of a pause",
			from:  idle,
			steps: []then{on(PauseAsked{}, Announce), on(change, Announce), on(change, Announce), on(PauseAsked{}, StartBuild), on(upToDate, Announce)},
			to:    idle,
		},
		{
			name:  "a short build is proved while its image boots",
			from:  idle,
			steps: []then{on(change, StartBuild), on(short, StopGuest, StartProof), on(gone, StartGuest), on(up, Announce), on(proved)},
			to:    idle,
		},
		{
			name:  "a proof that ends before the guest is up tells nothing",
			from:  idle,
			steps: []then{on(change, StartBuild), on(short, StopGuest, StartProof), on(gone, StartGuest), on(proved), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "a short build that links nothing is proved all the same",
			from:  idle,
			steps: []then{on(change, StartBuild), on(shortNone, Announce, StartProof), on(proved)},
			to:    idle,
		},
		{
			name:  "what a short build missed is booted",
			from:  idle,
			steps: []then{on(change, StartBuild), on(short, StopGuest, StartProof), on(gone, StartGuest), on(up, Announce), on(missed, StopGuest), on(gone, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "… in place of a guest that isn't up yet",
			from:  booting,
			steps: []then{on(change, StartBuild), on(short, StopGuest, StartProof), on(missed), on(notUp, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "a save stops the proof, and builds",
			from:  idle,
			steps: []then{on(change, StartBuild), on(short, StopGuest, StartProof), on(change, CancelBuild), on(gone), on(unproved, StartBuild), on(short, StartGuest, StartProof), on(up, Announce), on(proved)},
			to:    idle,
		},
		{
			name:  "who asks for a boot doesn't wait for a proof",
			from:  idle,
			steps: []then{on(change, StartBuild), on(shortNone, Announce, StartProof), on(BootAsked{}, StopGuest), on(gone, StartGuest), on(proved), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "a proof that fails leaves the guest alone",
			from:  idle,
			steps: []then{on(change, StartBuild), on(shortNone, Announce, StartProof), on(unproved, Announce)},
			to:    State{Failed: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "modules are replaced in the guest, and its command runs again",
			from:  State{Exec: true, Swap: true, Guest: Running, Executes: true, Image: vmlinux},
			steps: []then{on(change, StartBuild), on(modules, StartSwap), on(swapped, StartExec), on(executed, Announce)},
			to:    State{Exec: true, Swap: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "modules that can't be replaced take a new guest",
			from:  State{Swap: true, Guest: Running, Image: vmlinux},
			steps: []then{on(change, StartBuild), on(modules, StartSwap), on(unswapped, StopGuest), on(gone, StartGuest), on(up, Announce)},
			to:    State{Swap: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "modules take a new guest where that is asked for",
			from:  idle,
			steps: []then{on(change, StartBuild), on(modules, StopGuest), on(gone, StartGuest), on(up, Announce)},
			to:    idle,
		},
		{
			name:  "a new image is booted, whatever modules it brought",
			from:  State{Swap: true, Guest: Running, Image: vmlinux},
			steps: []then{on(change, StartBuild), on(Built{Image: vmlinux, New: true, Modules: true, OK: true}, StopGuest), on(gone, StartGuest)},
			to:    State{Swap: true, Guest: Booting, Image: vmlinux},
		},
		{
			name:  "modules are replaced once a guest that boots is up",
			from:  State{Swap: true, Guest: Booting, Image: vmlinux},
			steps: []then{on(change, StartBuild), on(modules), on(up, StartSwap), on(swapped, Announce)},
			to:    State{Swap: true, Guest: Running, Image: vmlinux},
		},
		{
			name: "modules that were built during a swap are replaced after it",
			from: State{Exec: true, Swap: true, Guest: Running, Image: vmlinux},
			steps: []then{
				on(change, StartBuild), on(modules, StartSwap), on(change, StartBuild), on(modules), on(swapped, StartSwap), on(swapped, StartExec),
			},
			to: State{Exec: true, Swap: true, Guest: Running, Executes: true, Image: vmlinux},
		},
		{
			name:  "a swap that fails during a build takes a new guest after that",
			from:  State{Swap: true, Guest: Running, Image: vmlinux},
			steps: []then{on(change, StartBuild), on(modules, StartSwap), on(change, StartBuild), on(unswapped), on(upToDate, StopGuest), on(gone, StartGuest)},
			to:    State{Swap: true, Guest: Booting, Image: vmlinux},
		},
		{
			name:  "the proof runs beside a swap",
			from:  State{Swap: true, Guest: Running, Image: vmlinux},
			steps: []then{on(change, StartBuild), on(shortMod, StartSwap, StartProof), on(swapped, Announce), on(proved)},
			to:    State{Swap: true, Guest: Running, Image: vmlinux},
		},
		{
			name:  "the end comes during a swap",
			from:  State{Swap: true, Guest: Swapping, Image: vmlinux},
			steps: []then{on(quit, StopGuest), on(swapped), on(gone, Exit)},
			to:    State{Swap: true, Quitting: true, Image: vmlinux},
		},
		{
			name:  "the end waits for a proof to stop",
			from:  noGuest,
			steps: []then{on(change, StartBuild), on(short, StartGuest, StartProof), on(notUp, Announce), on(quit, CancelBuild), on(unproved, Exit)},
			to:    State{Quitting: true, Image: vmlinux},
		},
		{
			name:  "… and for one to end where changes aren't seen any more",
			from:  noGuest,
			steps: []then{on(change, StartBuild), on(short, StartGuest, StartProof), on(notUp, Announce), on(watchLost), on(proved, Exit)},
			to:    State{Blind: true, Image: vmlinux},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.from
			for i, step := range tt.steps {
				var got []Effect
				s, got = Step(s, step.in)
				if !slices.Equal(got, step.want) {
					t.Fatalf("step %d, %T%+v: effects %v, want %v", i, step.in, step.in, names(got), names(step.want))
				}
			}
			if diff := cmp.Diff(tt.to, s); diff != "" {
				t.Errorf("final state (-want +got):\n%s", diff)
			}
		})
	}
}

// A world is what the effects have brought about: what really runs, whatever
// the state believes.
type world struct {
	state State

	started   bool
	build     bool // runs
	proof     bool // runs
	cancelled bool // the build, or the proof
	boot      bool // a guest is starting
	guest     bool // runs
	stopped   bool // the guest or its start was told to end
	exec      bool // a command runs in the guest
	swap      bool // the guest's modules are being replaced

	fit       bool // the last build succeeded
	unbuilt   bool // a change that no build has started after
	unbooted  bool // the last build linked an image that no guest has booted
	stale     bool // the guest's modules are older than the last build's
	quit      bool
	blind     bool
	paused    bool
	missed    bool // a change came in the pause
	unrun     bool // the command has changed since it began
	exited    bool
	announced bool // by the last input
}

// inputs are those that can happen.
func (w world) inputs() []Input {
	if w.exited {
		return nil
	}
	if !w.started {
		return []Input{start}
	}
	list := []Input{quit, BuildAsked{}, BootAsked{}, RunAsked{}, PauseAsked{}}
	if !w.blind {
		list = append(list, change, CommandChanged{}, watchLost)
	}
	return append(list, w.endings()...)
}

// endings are the inputs by which what is under way ends.
func (w world) endings() []Input {
	var list []Input
	if w.build {
		list = append(list, linked, upToDate, failed, short, shortNone)
		if w.boot || w.guest {
			list = append(list, modules, shortMod)
		}
	}
	if w.proof {
		list = append(list, proved, missed, unproved)
	}
	if w.boot {
		list = append(list, up, notUp)
	}
	switch {
	case w.swap:
		list = append(list, swapped, unswapped, gone)
	case w.exec:
		list = append(list, executed, gone)
	case w.guest:
		list = append(list, gone)
	}
	return list
}

// step returns the world after an input, or what is wrong with it.
func (w world) step(in Input) (world, error) {
	w.announced = false
	switch in := in.(type) {
	case Started:
		w.started, w.unbuilt = true, true
	case BuildAsked:
		w.unbuilt = w.unbuilt || !w.quit
	case FilesChanged:
		if w.paused {
			w.missed = w.missed || !w.quit
		} else {
			w.unbuilt = w.unbuilt || !w.quit
		}
	case CommandChanged:
		w.unrun = w.state.Exec && (w.unrun || !w.quit)
	case PauseAsked:
		w.paused = !w.paused
		if !w.paused && w.missed && !w.quit {
			w.missed, w.unbuilt = false, true
		}
	case Built:
		w.build, w.cancelled = false, false
		w.fit = in.OK
		w.unbooted = in.OK && (w.unbooted || in.New)
		if in.OK {
			w.stale = in.Modules
		}
	case Proved:
		if !w.cancelled {
			w.fit = in.OK
			w.unbooted = in.OK && (w.unbooted || in.New)
		}
		w.proof, w.cancelled = false, false
	case Booted:
		w.boot, w.guest = false, in.OK
		// Which needs to be told again when it comes up.
		w.stopped = false
	case Swapped:
		w.swap = false
		w.unbooted = w.unbooted || !in.OK && !w.stopped && w.fit
	case Executed:
		w.exec = false
	case GuestGone:
		w.guest, w.stopped, w.exec, w.swap = false, false, false, false
	case WatchLost:
		w.blind = true
	case QuitAsked:
		w.quit = true
	}
	before := w
	state, effects := Step(w.state, in)
	w.state = state
	for _, e := range effects {
		switch {
		case e == StartBuild && !w.build && !w.proof && !w.quit:
			w.build, w.unbuilt = true, false
		case e == CancelBuild && (w.build || w.proof) && !w.cancelled:
			w.cancelled = true
		case e == StartProof && !w.build && !w.proof && !w.quit:
			w.proof = true
		case e == StartGuest && !w.boot && !w.guest && !w.build && w.fit && !w.quit:
			w.boot, w.unbooted, w.stale = true, false, false
		case e == StopGuest && (w.boot || w.guest) && !w.stopped:
			w.stopped = true
		case e == StartSwap && w.state.Swap && w.guest && w.stale && !w.swap && !w.stopped && !w.build && w.fit:
			w.swap, w.exec, w.stale = true, false, false
		case e == StartExec && w.state.Exec && w.guest && (!w.exec || w.unrun) && !w.swap && !w.stopped:
			w.exec, w.unrun = true, false
		case e == Announce && !w.busy() && !w.quit && !w.blind:
			w.announced = true
		case e == Exit && !w.build && !w.proof && !w.boot && !w.guest && (w.quit || w.blind):
			w.exited = true
		default:
			return w, fmt.Errorf("effect %v makes no sense in %+v", names([]Effect{e}), before)
		}
	}
	ending := w.quit || w.blind
	switch {
	case w.exited:
	case ending && !w.build && !w.proof && !w.boot && !w.guest:
		return w, fmt.Errorf("nothing can happen, but it hasn't ended")
	case w.quit && ((w.build || w.proof) && !w.cancelled || (w.boot || w.guest) && !w.stopped):
		return w, fmt.Errorf("asked to end, but something goes on")
	case w.unbuilt && !w.quit && !((w.build || w.proof) && w.cancelled):
		return w, fmt.Errorf("a change was lost")
	case w.unbooted && !w.quit && !w.build && !(w.proof && w.cancelled) && !(w.stopped && (w.boot || w.guest)):
		return w, fmt.Errorf("a new image was lost")
	case w.stale && w.guest && w.fit && !w.quit && !w.build && !w.swap && !(w.proof && w.cancelled) && !w.stopped:
		return w, fmt.Errorf("new modules were lost")
	case w.unrun && w.guest && w.fit && !w.quit && !w.paused && !w.busy() && !(w.proof && w.cancelled):
		return w, fmt.Errorf("a change of the command was lost")
	case !w.busy() && !ending && !w.announced && !w.exec && in != proved && !(w.proof && w.cancelled):
		return w, fmt.Errorf("it came to rest without a word")
	}
	return w, nil
}

// busy says whether something other than the guest's own work is under way.
func (w world) busy() bool { return w.build || w.boot || w.swap || w.stopped }

// TestEveryState walks through all that can happen.
func TestEveryState(t *testing.T) {
	for _, keys := range []State{{}, {Exec: true}, {Swap: true}, {Exec: true, Swap: true}} {
		first := world{state: keys}
		path := map[world][]Input{first: nil}
		for todo := []world{first}; len(todo) > 0; todo = todo[1:] {
			w := todo[0]
			for _, in := range w.inputs() {
				next, err := w.step(in)
				way := append(slices.Clip(path[w]), in)
				if err != nil {
					t.Fatalf("%v\nworld: %+v\nafter: %#v", err, next, way)
				}
				if _, ok := path[next]; !ok {
					path[next] = way
					todo = append(todo, next)
				}
			}
		}
		t.Logf("exec %v, swap %v: %d states", keys.Exec, keys.Swap, len(path))
		for w, way := range path {
			if w.quit {
				mustExit(t, w, way, 10)
			}
		}
	}
}

// mustExit checks that what is under way leads to the end, whatever way it
// ends itself.
func mustExit(t *testing.T, w world, way []Input, most int) {
	t.Helper()
	if w.exited {
		return
	}
	endings := w.endings()
	if most == 0 || len(endings) == 0 {
		t.Fatalf("does not end: %+v\nafter: %#v", w, way)
	}
	for _, in := range endings {
		next, err := w.step(in)
		if err != nil {
			t.Fatalf("%v\nafter: %#v", err, append(slices.Clip(way), in))
		}
		mustExit(t, next, append(slices.Clip(way), in), most-1)
	}
}

func names(effects []Effect) []string {
	all := []string{"StartBuild", "CancelBuild", "StartProof", "StartGuest", "StopGuest", "StartSwap", "StartExec", "Announce", "Exit"}
	list := make([]string, len(effects))
	for i, e := range effects {
		list[i] = all[e]
	}
	return list
}
