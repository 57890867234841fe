// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kconfig"
)

// flakeName is the group of what a flake requires.
const flakeName = "flake"

// flakeGroup is what the flake of the guest's NixOS requires of the kernel; nil
// where there is none.
func (k *Kernel) flakeGroup(ctx context.Context) (*kconfig.Group, error) {
	u, err := k.Userland()
	if err != nil || u.Kind != userland.Nix {
		return nil, err
	}
	state, err := k.Tree.StateDir()
	if err != nil {
		return nil, err
	}
	b, err := u.Builder(state, k.Events)
	if err != nil {
		return nil, err
	}
	options, err := b.Required(ctx, u.Flake)
	var failed *userland.NixError
	switch {
	case errors.As(err, &failed):
		// The system may still build. If it doesn't, that fails with the same text, so
		// that only the first line is told here.
		text, _, _ := strings.Cut(err.Error(), "\n")
		k.Events.Emit(event.Warning{Text: "what the flake requires of the kernel is unknown: " + text, Hint: failed.Hint()})
		return nil, nil
	case err != nil:
		return nil, err
	case len(options) == 0:
		return nil, nil
	}
	g := &kconfig.Group{Name: flakeName, Description: "what the system of " + u.Flake.Ref + " declares (system.requiredKernelConfig)"}
	for _, o := range options {
		r, err := requirement(o)
		if err != nil {
			return nil, fmt.Errorf("system.requiredKernelConfig of %s: %w", u.Flake.Ref, err)
		}
		g.Requirements = append(g.Requirements, r)
	}
	return g, nil
}

// requirement is what NixOS means by an option; see
// nixos/modules/system/boot/kernel.nix.
func requirement(o userland.Required) (kconfig.Requirement, error) {
	r, err := kconfig.ParseRequire(o.Line)
	if err != nil {
		return r, err
	}
	r.Group, r.Why = flakeName, "The flake's system.requiredKernelConfig has it."
	// isEnabled, unlike isYes, is content with a module.
	if r.Want.Value == "y" && strings.HasSuffix(o.Message, "is not enabled!") {
		r.Want.Module = true
	}
	// NixOS asks for modules whether or not there are any.
	r.Optional = r.Symbol == "MODULES"
	return r, nil
}
