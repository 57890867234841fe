// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kbuild"
)

// What status shows of the loop besides the phases of a turn.
const (
	phaseSwap = "swap"
	phaseWait = "wait" // for a change
)

// A place is where other terminals find a session.
type place interface {
	SetPhase(phase string) // one of event.Phase, or of the above
	SetGuest(g *control.Guest)
	Stopped() bool // whether another terminal has asked for the end
	Close() error
	// lockBuild makes the build directory ours while we build.
	lockBuild() (release func(), err error)
	// offerSSH writes how ssh reaches the guest.
	offerSSH() error
}

// nowhere is the place of a session without a source tree.
type nowhere struct{}

func (nowhere) SetPhase(string)            {}
func (nowhere) SetGuest(*control.Guest)    {}
func (nowhere) Stopped() bool              { return false }
func (nowhere) Close() error               { return nil }
func (nowhere) lockBuild() (func(), error) { return func() {}, nil }
func (nowhere) offerSSH() error            { return nil }

// A buildDir is a build directory that is ours, or, of a VM with a name, will be
// while that builds.
type buildDir struct {
	*control.Server
	tree *kbuild.Tree
	o    Options
	stop func()
}

// occupy takes a tree's build directory, or the name of a VM in it. stop is called
// when another terminal asks for our end.
func occupy(tree *kbuild.Tree, o Options, stop func()) (*buildDir, error) {
	server, err := control.Listen(tree.Trust(), control.Address{Build: tree.BuildDir, Name: o.Name}, o.Command, stop)
	if err != nil {
		return nil, err
	}
	server.SetTree(tree.Source, tree.External)
	return &buildDir{server, tree, o, stop}, nil
}

func (b *buildDir) lockBuild() (release func(), err error) {
	if b.o.Name == "" {
		return func() {}, nil // it has it
	}
	server, err := control.Listen(b.tree.Trust(), control.Address{Build: b.tree.BuildDir}, b.o.Command, b.stop)
	if err != nil {
		return nil, err
	}
	server.SetPhase(string(event.PhaseBuild))
	return func() { _ = server.Close() }, nil
}

func (b *buildDir) offerSSH() error {
	_, err := WriteSSHConfig(b.tree, b.o.Name, b.o.Config.Run.Hostname)
	return err
}
