// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is optional and switched off stays so, as long as it's the same .config.
func TestMemory(t *testing.T) {
	var requirements []Requirement
	for _, text := range []string{"VIRTIO=y", "NR_CPUS>=2", "PVH?=y", "KVM_GUEST?=y"} {
		r, err := ParseRequire(text)
		if err != nil {
			t.Fatal(err)
		}
		requirements = append(requirements, r)
	}
	const fixed = "CONFIG_VIRTIO=y\nCONFIG_NR_CPUS=8\n"
	parse := func(text string) *File {
		f, err := Parse(".config", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	memory := Remember(parse(fixed+"CONFIG_PVH=y\n# CONFIG_KVM_GUEST is not set\n"), requirements, nil)
	if d := cmp.Diff(Memory{Required: []string{"VIRTIO=y", "NR_CPUS>=2"}, Optional: []string{"PVH"}}, memory); d != "" {
		t.Error(d)
	}
	again := Remember(parse(fixed+"# CONFIG_PVH is not set\n"), requirements, []string{"PVH"})
	for _, c := range []struct {
		name, config string
		memory       Memory
		want         []string
	}{
		{"nobody has spoken of it", fixed + "# CONFIG_PVH is not set\n", Memory{}, nil},
		{"switched off", fixed + "# CONFIG_PVH is not set\n", memory, []string{"PVH"}},
		{"it never was on", fixed + "CONFIG_PVH=y\n# CONFIG_KVM_GUEST is not set\n", memory, nil},
		{"out of sight", fixed, memory, nil},
		{"a fresh defconfig", "# CONFIG_VIRTIO is not set\n# CONFIG_PVH is not set\n", memory, nil},
		{"off for good", fixed + "# CONFIG_PVH is not set\n", again, []string{"PVH"}},
		{"on again", fixed + "CONFIG_PVH=y\n", again, nil},
	} {
		if d := cmp.Diff(c.want, c.memory.Declines(parse(c.config), requirements)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	// A requirement of the user's own is none that is optional.
	requirements[2].Optional = false
	if got := memory.Declines(parse(fixed+"# CONFIG_PVH is not set\n"), requirements); got != nil {
		t.Errorf("got %v", got)
	}
}
