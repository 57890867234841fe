// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kconfig"
)

func TestRequirementOfAFlake(t *testing.T) {
	for o, want := range map[userland.Required]kconfig.Requirement{
		{Line: "CONFIG_NET=y", Message: "CONFIG_NET is not yes!"}:     {Symbol: "NET", Want: kconfig.Want{Value: "y"}},
		{Line: "CONFIG_NET=y", Message: "CONFIG_NET is not enabled!"}: {Symbol: "NET", Want: kconfig.Want{Value: "y", Module: true}},
		{Line: "CONFIG_NET=y"}:                                                {Symbol: "NET", Want: kconfig.Want{Value: "y"}},
		{Line: "CONFIG_SYSFS_DEPRECATED=n"}:                                   {Symbol: "SYSFS_DEPRECATED", Want: kconfig.Want{Value: "n"}},
		{Line: "CONFIG_MODULES=y", Message: "CONFIG_MODULES is not enabled!"}: {Symbol: "MODULES", Want: kconfig.Want{Value: "y", Module: true}, Optional: true},
	} {
		got, err := requirement(o)
		want.Group, want.Why = "flake", "The flake's system.requiredKernelConfig has it."
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%+v: %s %v", o, diff, err)
		}
	}
	if _, err := requirement(userland.Required{Line: "nonsense"}); err == nil {
		t.Error("nonsense is a requirement")
	}
}

// What a flake requires joins the rest; one that can't be asked is a warning.
func TestFlakeGroup(t *testing.T) {
	l := newLab(t)
	l.Write("nixos/flake.nix", "{ }")
	l.Write("../bin/nix", `#!/bin/sh
cat "${0%/bin/nix}/answer"
test -s "${0%/bin/nix}/answer"
`)
	l.Write("../answer", `[{"line":"CONFIG_PRINTK=y"},{"line":"CONFIG_AUTOFS_FS=y"},{"line":"CONFIG_ONLY_HERE=y"}]`)
	l.kernel.Config.Run.Userland = "nix"
	list, err := l.kernel.Requirements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for symbol, group := range map[string]string{"PRINTK": "base", "ONLY_HERE": "flake"} {
		if r := find(list, symbol); r == nil || r.Group != group {
			t.Errorf("%s: got %+v", symbol, r)
		}
	}
	if err := os.Remove(filepath.Join(l.Dir, ".run-kernel/userland-requires.json")); err != nil {
		t.Fatal(err)
	}
	l.Write("../answer", "")
	if list, err = l.kernel.Requirements(t.Context()); err != nil || find(list, "ONLY_HERE") != nil {
		t.Errorf("got %+v, %v", find(list, "ONLY_HERE"), err)
	}
	if w := of[event.Warning](l); len(w) != 1 || !strings.Contains(w[0].Text, "requires of the kernel is unknown: nix could not evaluate") || w[0].Hint == "" {
		t.Errorf("got %+v", w)
	}
	l.Write("../answer", `[{"line":"PRINTK"}]`)
	if _, err = l.kernel.Requirements(t.Context()); err == nil || !strings.Contains(err.Error(), "system.requiredKernelConfig of path:") {
		t.Errorf("got %v", err)
	}
}
