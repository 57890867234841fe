// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/kconfig"
)

// KernelVersion is that of the kernel to boot; empty when it isn't the tree's.
func (k *Kernel) KernelVersion() string {
	if k.Config.Run.Kernel != "" {
		return ""
	}
	version, err := k.Tree.Version()
	if err != nil {
		return "" // make will say more
	}
	return version
}

// mountType is how the guest will get directories of the host.
func (k *Kernel) mountType(ctx context.Context) string {
	m, err := boot.ChooseMounter(ctx, boot.Options{
		MountType: k.Config.Run.MountType, Virtiofsd: k.Config.Run.Virtiofsd, KernelVersion: k.KernelVersion(),
	})
	if err != nil {
		return boot.Virtiofs // a boot will say what is wrong
	}
	return m.Type
}

// groups are the requirements of a boot.
func (k *Kernel) groups(ctx context.Context) ([]string, error) {
	u, err := k.Userland()
	if err != nil {
		return nil, err
	}
	mountType, network := k.mountType(ctx), k.Config.Run.Network != "none"
	groups := []string{"base", "kvm-guest", "console", "initramfs", "clock", "entropy", mountType, "agent"}
	groups = append(groups, u.groups()...)
	if network || mountType == boot.NineP {
		groups = append(groups, "inet")
	}
	if network {
		groups = append(groups, "virtio-net")
	}
	if len(k.Config.Run.Disk) > 0 {
		groups = append(groups, "virtio-blk")
	}
	for _, name := range Profiles(k.Config) {
		if !slices.Contains(groups, name) {
			groups = append(groups, name)
		}
	}
	return groups, nil
}

// Profiles are the names of the groups that the configuration asks for.
func Profiles(c *config.Config) []string {
	return strings.FieldsFunc(strings.Join(c.Kconfig.Profiles, ","), func(r rune) bool { return r == ',' })
}

// Groups returns what the guest needs of the kernel, by group, and the groups with the
// names more.
func (k *Kernel) Groups(ctx context.Context, more ...string) ([]kconfig.Group, error) {
	names, err := k.groups(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range more {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	vars := map[string]string{"smp": strconv.Itoa(k.Config.Run.SMP)}
	groups, err := kconfig.Groups(k.Tree.SrcArch(), vars, names...)
	if err != nil {
		return nil, err
	}
	if version, err := k.Tree.Version(); err == nil {
		for i := range groups {
			groups[i].Requirements = slices.DeleteFunc(groups[i].Requirements, func(r kconfig.Requirement) bool {
				return r.Before != "" && !older(version, r.Before)
			})
		}
	}
	if len(k.Tree.External) > 0 {
		groups = append(groups, external)
	}
	flake, err := k.flakeGroup(ctx)
	if err != nil || flake == nil {
		return groups, err
	}
	return append(groups, *flake), nil
}

// older says whether a kernel's version, such as 6.1.176-rc1, comes before another.
func older(version, than string) bool {
	var a, b [2]int
	_, _ = fmt.Sscanf(version, "%d.%d", &a[0], &a[1])
	_, _ = fmt.Sscanf(than, "%d.%d", &b[0], &b[1])
	return slices.Compare(a[:], b[:]) < 0
}

// Requirements returns all that .config must meet: the groups', the fragments'
// and the options asked for one by one.
func (k *Kernel) Requirements(ctx context.Context) ([]kconfig.Requirement, error) {
	groups, err := k.Groups(ctx)
	if err != nil {
		return nil, err
	}
	var lists [][]kconfig.Requirement
	for _, g := range groups {
		lists = append(lists, g.Requirements)
	}
	for _, path := range k.Config.Kconfig.Fragments {
		list, err := kconfig.Fragment(path, k.Tree.SrcArch())
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	for _, text := range k.Config.Kconfig.Require {
		r, err := kconfig.ParseRequire(text)
		if err != nil {
			return nil, err
		}
		lists = append(lists, []kconfig.Requirement{r})
	}
	return kconfig.Merge(lists...)
}

// external is what modules outside of the tree need.
var external = kconfig.Group{Name: "external", Description: "Modules outside of the tree.", Requirements: []kconfig.Requirement{
	{Symbol: "MODULES", Want: kconfig.Want{Value: "y"}, Group: "external", Why: "Modules outside of the tree are built", Symptom: "make refuses to build them"},
	{
		Symbol: "MODULE_UNLOAD", Want: kconfig.Want{Value: "y"}, Optional: true, Group: "external", Why: "A module is replaced in the running guest",
		Symptom: "each change of a module boots a new guest",
	},
}}
