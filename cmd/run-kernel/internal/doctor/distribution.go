// SPDX-License-Identifier: GPL-3.0-only

package doctor

import (
	"os"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/internal/proc"
)

// A Distribution is what os-release(5) calls one, and how it installs.
type Distribution struct {
	ID      string // debian, fedora, arch or nixos; empty: none of them, nor derived from one
	Version string // VERSION_ID
	Root    bool   // whether we may install without sudo
}

// ThisDistribution is the one we run on.
func ThisDistribution() Distribution {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		data, _ = os.ReadFile("/usr/lib/os-release")
	}
	d := parseRelease(string(data))
	d.Root = os.Geteuid() == 0
	return d
}

// parseRelease finds the distribution among ID and ID_LIKE.
func parseRelease(text string) Distribution {
	var d Distribution
	var ids []string
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch name {
		case "ID":
			ids = append([]string{value}, ids...)
		case "ID_LIKE":
			ids = append(ids, strings.Fields(value)...)
		case "VERSION_ID":
			d.Version = value
		}
	}
	for _, id := range ids {
		switch id {
		case "debian", "fedora", "arch", "nixos":
			d.ID = id
		case "ubuntu":
			d.ID = "debian"
		case "rhel", "centos":
			d.ID = "fedora"
		}
		if d.ID != "" {
			break
		}
	}
	if len(ids) == 0 || d.ID != ids[0] {
		d.Version = "" // a derivative counts by itself
	}
	return d
}

// install is the command that installs tools; empty when there are none, or none
// whose package is known.
func (d Distribution) install(tools []string) string {
	var names []string
	for _, t := range tools {
		p := proc.Packages(t)
		name := p.Debian
		switch d.ID {
		case "debian":
			if d.Version == "12" && p.Debian12 != "" {
				name = p.Debian12
			}
		case "fedora":
			name = p.Fedora
		case "arch":
			name = p.Arch
		case "nixos":
			name = p.NixOS
		}
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	list := strings.Join(names, " ")
	sudo := "sudo "
	if d.Root {
		sudo = ""
	}
	switch d.ID {
	case "debian":
		return sudo + "apt install " + list
	case "fedora":
		return sudo + "dnf install " + list
	case "arch":
		return sudo + "pacman -S " + list
	case "nixos":
		return "nix-shell -p " + list
	}
	return "install what Debian calls: " + list
}
