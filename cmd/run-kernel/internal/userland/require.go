// SPDX-License-Identifier: GPL-3.0-only

package userland

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/private"
)

// toplevel is where a NixOS system has what is built of it.
const toplevel = ".config.system.build.toplevel"

// requiredExpression is the function that takes a system to what it requires of
// its kernel. NixOS knows that only where it builds a kernel itself, so it is asked
// what it would be if it did; the set with _type is what lib.mkForce true makes.
// What is no NixOS, but has the attribute, is taken at its word.
const requiredExpression = `vm:
let
  kernel = { boot.kernel.enable = { _type = "override"; priority = 50; content = true; }; };
  config = (if vm ? extendModules then vm.extendModules { modules = [ kernel ]; } else vm).config;
in
map (r: { line = r.configLine; message = r.message or ""; }) (config.system.requiredKernelConfig or [ ])`

// A Required is an option of the kernel that a system requires.
type Required struct {
	Line    string `json:"line"`    // as in .config
	Message string `json:"message"` // what NixOS says when it is missing; may be empty
}

// required is what nix last answered.
type required struct {
	Sources string     `json:"sources"` // fingerprint of the flake
	Lock    string     `json:"lock"`    // and of its lock file
	Options []Required `json:"options"`
}

func (b *Builder) requiredPath() string { return filepath.Join(b.StateDir, "userland-requires.json") }

// Required returns what the flake's system requires of its kernel
// (system.requiredKernelConfig), and asks nix where it hasn't been asked or the
// flake has changed. A toplevel that isn't a NixOS system's requires nothing.
//
// The error of a nix that failed is a *NixError. When ctx ends first, nix is
// stopped and the error is the cause.
func (b *Builder) Required(ctx context.Context, f Flake) ([]Required, error) {
	system, ok := strings.CutSuffix(f.Attr, toplevel)
	if !ok {
		return nil, nil
	}
	if !f.Exists() {
		return nil, &NoFlakeError{f.Dir}
	}
	before, err := f.read(ctx)
	known := err == nil && f.Dir != ""
	if known {
		var last required
		data, err := private.ReadFile(b.requiredPath())
		if err == nil && json.Unmarshal(data, &last) == nil && before == (fingerprint{last.Sources, last.Lock}) {
			return last.Options, nil
		}
	}
	ref, dir := f.forNix()
	nix, err := nixCommand("eval", "--json", ref+"#"+system, "--apply", requiredExpression)
	if err != nil {
		return nil, err
	}
	nix.Dir = dir
	b.Events.Emit(event.Notice{Text: "asking nix what " + f.Ref + "#" + system + " requires of the kernel"})
	out, err := b.output(ctx, nix, f, "evaluate")
	if err != nil {
		return nil, err
	}
	var options []Required
	if err := json.Unmarshal(out, &options); err != nil {
		return nil, fmt.Errorf("nix eval --json printed %q: %w", out, err)
	}
	if after, err := f.read(ctx); err == nil && known && after.sources == before.sources {
		// Losing it costs a call of nix, no more.
		data, _ := json.Marshal(required{after.sources, after.lock, options})
		_ = atomicfile.Write(b.requiredPath(), data, 0o600)
	}
	return options, nil
}
