// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/control"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/session"
)

const nameFlag = "name"

// addNameFlag lets a command act on one of several VMs.
func (a *app) addNameFlag(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&a.name, nameFlag, "", "the guest with this name, if several run")
	_ = c.RegisterFlagCompletionFunc(nameFlag, a.completeGuests)
	return c
}

// checkName looks at the flag, where the command has it.
func (a *app) checkName(c *cobra.Command) error {
	f := c.Flags().Lookup(nameFlag)
	if a.named = f != nil && f.Changed; !a.named || a.name == "" {
		return nil
	}
	if err := control.CheckName(a.name); err != nil {
		return &usageError{problem: "--name: " + err.Error(), hint: "as in run-kernel boot --no-build --name second"}
	}
	return nil
}

// address is that of the VM to act on.
func (a *app) address() (control.Address, error) {
	tree, err := a.existingTree()
	if err != nil {
		return control.Address{}, err
	}
	address, err := a.addressIn(tree.BuildDir)
	if none := (*noneError)(nil); !errors.As(err, &none) || a.config.Build.Output != "" {
		return address, err
	}
	// Who builds elsewhere need not say so again.
	elsewhere := a.ofSource(tree.Source)
	if len(elsewhere) > 1 {
		elsewhere = slices.DeleteFunc(elsewhere, func(s control.Status) bool { return s.Image == "" })
	}
	switch len(elsewhere) {
	case 0:
		return address, err
	case 1:
		return control.Address{Build: elsewhere[0].Build, Name: elsewhere[0].Name}, nil
	}
	return control.Address{}, &elsewhereError{tree.Source, elsewhere}
}

// ofSource returns the sessions on a source tree, in whichever build directory, with
// the name that was asked for.
func (a *app) ofSource(source string) []control.Status {
	all, err := control.All() // it says more, if it can be had
	if err == nil {
		all = append(all, apart(source, all)...)
	}
	return slices.DeleteFunc(all, func(s control.Status) bool {
		return s.Source != source || a.named && s.Name != a.name
	})
}

// apart returns the sessions in the build directories of a source tree that aren't among
// the known ones: their sockets are elsewhere, since not every terminal of a user has the
// same $XDG_RUNTIME_DIR, or any.
func apart(source string, known []control.Status) []control.Status {
	var found []control.Status
	for _, build := range session.Builds(source) {
		list, _ := control.List(build) // of what can't be had, -O says why
		for _, address := range list {
			if slices.ContainsFunc(known, func(s control.Status) bool { return s.Build == address.Build && s.Name == address.Name }) {
				continue
			}
			if s, err := statusOf(address); err == nil {
				found = append(found, s)
			}
		}
	}
	return found
}

// An elsewhereError says that several sessions work on a source tree.
type elsewhereError struct {
	source   string
	statuses []control.Status
}

func (e *elsewhereError) Error() string {
	return fmt.Sprintf("%d run-kernels work on %s, in other build directories", len(e.statuses), e.source)
}

// Hint lists them.
func (e *elsewhereError) Hint() string {
	var flags []string
	for _, s := range e.statuses {
		text := "-O " + s.Build
		if s.Name != "" {
			text += " --name " + s.Name
		}
		flags = append(flags, text)
	}
	return "say which: " + strings.Join(flags, ", ") + "; run-kernel status --all says what each does"
}

// addressIn is that of the VM to act on in a build directory: the one that was
// named, or the only one.
func (a *app) addressIn(build string) (control.Address, error) {
	list, err := control.List(build)
	switch {
	case a.named && a.config.Build.Output == "" && err == nil && !slices.Contains(list, control.Address{Build: build, Name: a.name}):
		return control.Address{Build: build, Name: a.name}, &noneError{build, a.name, list}
	case a.named:
		return control.Address{Build: build, Name: a.name}, nil
	case err != nil:
		return control.Address{}, err
	case len(list) == 0:
		return control.Address{}, &noneError{build: build}
	case len(list) == 1:
		return list[0], nil
	}
	// One of them may be a build.
	guests := slices.DeleteFunc(slices.Clone(list), func(address control.Address) bool {
		s, err := statusOf(address)
		return err != nil || s.Image == ""
	})
	if len(guests) == 1 {
		return guests[0], nil
	}
	return control.Address{}, &severalError{list}
}

// dial connects to the run-kernel whose VM we act on.
func (a *app) dial() (*control.Client, error) {
	address, err := a.address()
	if err != nil {
		return nil, err
	}
	client, err := control.Dial(address)
	if errors.Is(err, control.ErrNone) {
		return nil, a.none(address)
	}
	return client, err
}

// none is the error for an address that nobody has.
func (a *app) none(address control.Address) error {
	others, _ := control.List(address.Build) // it says more, if it can be had
	return &noneError{address.Build, address.Name, others}
}

// statusOf asks the run-kernel at an address what it does.
func statusOf(address control.Address) (control.Status, error) {
	client, err := control.Dial(address)
	if err != nil {
		return control.Status{}, err
	}
	defer client.Close()
	return client.Status()
}

// ownerStatus is statusOf for a user who wants to act on it.
func (a *app) ownerStatus(address control.Address) (control.Status, error) {
	s, err := statusOf(address)
	if errors.Is(err, control.ErrNone) {
		return s, a.none(address)
	}
	return s, err
}

// A noneError says that there is nothing to act on.
type noneError struct {
	build, name string
	others      []control.Address // that there are
}

func (e *noneError) Error() string {
	if e.name != "" {
		return fmt.Sprintf("no VM %q runs in %s", e.name, e.build)
	}
	return "no run-kernel works in " + e.build
}

// Hint says how one is started, or found.
func (e *noneError) Hint() string {
	switch {
	case len(e.others) > 0:
		return "these do: " + nameFlags(e.others)
	case e.name != "":
		return "start it: run-kernel boot --no-build --name " + e.name
	}
	return "start one: run-kernel watch, or run-kernel boot; with another build directory, say so here as well: -O DIR"
}

// A severalError says that it isn't clear what to act on.
type severalError struct{ addresses []control.Address }

func (e *severalError) Error() string {
	return fmt.Sprintf("%d run-kernels work in %s", len(e.addresses), e.addresses[0].Build)
}

// Hint lists them.
func (e *severalError) Hint() string {
	return "say which: " + nameFlags(e.addresses) + "; run-kernel status says what each does"
}

// nameFlags lists the flags by which VMs are named.
func nameFlags(addresses []control.Address) string {
	var flags []string
	for _, address := range addresses {
		if address.Name == "" {
			flags = append(flags, "--name= (the one without a name)")
		} else {
			flags = append(flags, "--name "+address.Name)
		}
	}
	return strings.Join(flags, ", ")
}
