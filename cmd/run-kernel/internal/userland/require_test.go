// SPDX-License-Identifier: GPL-3.0-only

package userland

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
)

// required asks, and says whether that called nix.
func (b *bench) required(want ...Required) (called bool) {
	b.t.Helper()
	_ = os.Remove(b.path("calls"))
	got, err := b.builder.Required(b.t.Context(), b.flake)
	if err != nil {
		b.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Error(diff)
	}
	return exists(b.path("calls"))
}

func TestRequired(t *testing.T) {
	b := newBench(t)
	t.Setenv("VALUE", `[{"line":"CONFIG_NET=y","message":"CONFIG_NET is not enabled!"},{"line":"CONFIG_CGROUPS=y","message":""}]`)
	want := []Required{{"CONFIG_NET=y", "CONFIG_NET is not enabled!"}, {"CONFIG_CGROUPS=y", ""}}
	if !b.required(want...) {
		t.Fatal("nix wasn't called")
	}
	args, err := os.ReadFile(b.path("calls"))
	if err != nil {
		t.Fatal(err)
	}
	asks := "--extra-experimental-features\nnix-command flakes\neval\n--json\npath:" + b.path("flake") + "#nixosConfigurations.vm\n--apply\n" + requiredExpression + "\n"
	if diff := cmp.Diff(asks, string(args)); diff != "" {
		t.Error(diff)
	}
	if n, ok := b.events[0].(event.Notice); !ok || !strings.Contains(n.Text, "#nixosConfigurations.vm requires of the kernel") {
		t.Errorf("got events %+v", b.events)
	}
	if b.required(want...) {
		t.Error("nix was called again for the same flake")
	}
	if !b.build() || b.required(want...) {
		t.Error("the build counts as a change")
	}

	t.Setenv("VALUE", "[]")
	b.write("flake/flake.nix", "{ a = 1; }")
	if !b.required([]Required{}...) || b.required([]Required{}...) {
		t.Error("a change of the flake didn't count, or twice")
	}
	b.write("flake/flake.lock", "{ }")
	if !b.required([]Required{}...) {
		t.Error("a change of the lock didn't count")
	}
	b.flake.Attr = "nixosConfigurations.other" + toplevel
	if !b.required([]Required{}...) {
		t.Error("another system's answer was taken")
	}
	b.flake.Attr = "packages.x86_64-linux.toplevel"
	if b.required() {
		t.Error("what is no NixOS was asked")
	}
	b.flake = Flake{Ref: "github:me/flakes", Attr: "vm" + toplevel}
	for range 2 {
		if !b.required([]Required{}...) {
			t.Error("what a flake elsewhere is like isn't known, but it wasn't asked")
		}
	}
}

func TestRequiredFails(t *testing.T) {
	b := newBench(t)
	t.Setenv("VALUE", "nonsense")
	if _, err := b.builder.Required(t.Context(), b.flake); err == nil || !strings.Contains(err.Error(), `printed "nonsense\n"`) {
		t.Errorf("got %v", err)
	}
	t.Setenv("SCRIPT", "echo error: no luck >&2; exit 1")
	failed := (*NixError)(nil)
	if _, err := b.builder.Required(t.Context(), b.flake); !errors.As(err, &failed) || !strings.Contains(err.Error(), "nix could not evaluate path:") {
		t.Errorf("got %v", err)
	}
	t.Setenv("SCRIPT", "")
	t.Setenv("VALUE", "[]")
	if !b.required([]Required{}...) {
		t.Error("the failure is remembered")
	}
	b.flake.Dir = b.path("none")
	if _, err := b.builder.Required(t.Context(), b.flake); !errors.As(err, new(*NoFlakeError)) {
		t.Errorf("got %v", err)
	}
}
