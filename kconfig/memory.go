// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"slices"
)

// A Memory is what held of the requirements in a .config when it was last fixed. It
// tells what the user has switched off since from what nobody has spoken of: both
// are "is not set" in a .config, and a fresh defconfig says that of everything.
type Memory struct {
	Required []string `json:"required"` // as ParseRequire takes them
	Optional []string `json:"optional"` // the symbols of those that are optional
	// Declined are the symbols that the user has switched off.
	Declined []string `json:"declined,omitempty"`
}

// Remember is the memory of a .config that has just been fixed.
func Remember(f *File, requirements []Requirement, declined []string) Memory {
	m := Memory{Declined: declined}
	for _, r := range Check(f, requirements) {
		switch {
		case !r.Met:
		case r.Optional:
			m.Optional = append(m.Optional, r.Symbol)
		default:
			m.Required = append(m.Required, r.Text())
		}
	}
	return m
}

// Declines lists the optional requirements that the user has switched off since, or
// had before: .config says "is not set", and has all that was required then. One that
// lost that as well is another .config, such as a fresh defconfig, about which nobody
// has decided yet.
func (m Memory) Declines(f *File, requirements []Requirement) []string {
	for _, text := range m.Required {
		r, err := ParseRequire(text)
		if err != nil {
			return nil
		}
		if have, _ := f.Get(r.Symbol); !r.Want.Met(have) {
			return nil
		}
	}
	var declined []string
	for _, r := range requirements {
		if !r.Optional || r.Want.Value == "n" || !slices.Contains(m.Optional, r.Symbol) && !slices.Contains(m.Declined, r.Symbol) {
			continue
		}
		if have, ok := f.Get(r.Symbol); ok && have == "n" {
			declined = append(declined, r.Symbol)
		}
	}
	return declined
}
