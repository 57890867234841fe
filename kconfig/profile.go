// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"embed"
	"fmt"
	"os"
	"slices"
	"strings"

	archs "github.com/metaspace/run-kernel/internal/arch"
)

//go:embed profile/*.config
var profiles embed.FS

// A Group is a named set of requirements.
type Group struct {
	Name         string        `json:"name"`
	Description  string        `json:"description"`
	Requirements []Requirement `json:"requirements"`
}

// Groups returns the embedded groups of these names, for a directory of arch/ and
// with ${variables} replaced.
func Groups(arch string, vars map[string]string, names ...string) ([]Group, error) {
	var groups []Group
	for _, name := range names {
		data, err := profiles.ReadFile("profile/" + name + ".config")
		if err != nil {
			return nil, fmt.Errorf("kconfig: no group of requirements %q", name)
		}
		unknown := ""
		text := os.Expand(string(data), func(v string) string {
			value, ok := vars[v]
			if !ok {
				unknown = v
			}
			return value
		})
		if unknown != "" {
			return nil, fmt.Errorf("kconfig: the group of requirements %q needs a value for %q", name, unknown)
		}
		g, err := parseProfile(name, arch, text, false)
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// Fragment reads a configuration fragment of the user's: its options are
// requirements, and the comment above an option is its reason. A module that it asks
// for may be built in as well, as it is for those who write fragments, unless the
// comment has the annotation exact. Options with annotations for other directories of arch/
// than arch are left out; an empty arch takes all.
func Fragment(path, arch string) ([]Requirement, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration fragment: %w", err)
	}
	// Report a broken line as for a .config.
	if _, err := Parse(path, data); err != nil {
		return nil, err
	}
	g, err := parseProfile(path, arch, string(data), true)
	if err != nil {
		return nil, err
	}
	// Of an option that comes twice the last line counts, as conf has it.
	var list []Requirement
	for _, r := range g.Requirements {
		if r.Why = strings.TrimSpace(r.Why); r.Why == "" {
			r.Why = "asked for"
		}
		list = append(slices.DeleteFunc(list, func(old Requirement) bool { return old.Symbol == r.Symbol }), r)
	}
	return list, nil
}

// parseProfile parses a fragment with annotations. An empty arch takes the options of
// all architectures.
func parseProfile(name, arch, text string, fragment bool) (Group, error) {
	g := Group{Name: name}
	var why, symptom, previous []string
	var notes []string
	var inSymptom bool
	first := true
	reset := func() { why, symptom, notes, inSymptom = nil, nil, nil, false }
	for i, l := range strings.Split(text, "\n") {
		l = strings.TrimSpace(l)
		switch {
		case l == "":
			if first && len(why) > 0 {
				g.Description = strings.Join(why, " ")
				first = false
			}
			reset()
			previous = nil
		case strings.HasPrefix(l, "#:"):
			for _, n := range strings.Fields(l[2:]) {
				if !knownNote(n) {
					return g, fmt.Errorf("%s:%d: there is no annotation %q; there are %s, and for architectures %s",
						name, i+1, n, strings.Join(slices.Concat(noteNames, []string{roomNote + "N", beforeNote + "VERSION"}), ", "), strings.Join(archs.Kernels(), ", "))
				}
				notes = append(notes, n)
			}
		case strings.HasPrefix(l, "#") && !unsetLine.MatchString(l):
			l = strings.TrimSpace(l[1:])
			if rest, ok := strings.CutPrefix(l, "Without:"); ok {
				inSymptom = true
				l = strings.TrimSpace(rest)
			}
			if inSymptom {
				symptom = append(symptom, l)
			} else {
				why = append(why, l)
			}
		default:
			first = false
			f, err := Parse(name, []byte(l))
			if err != nil {
				return g, fmt.Errorf("%s:%d: %w", name, i+1, err)
			}
			if len(why) == 0 {
				why = previous
			}
			previous = why
			r := Requirement{Group: name, Why: strings.Join(why, " "), Symptom: strings.Join(symptom, " ")}
			r.Symbol, r.Want.Value = f.lines[0].symbol, plain(f.lines[0].value)
			exact, concerned := r.annotate(notes, arch)
			r.Want.Builtin = fragment && r.Want.Value == "m" && !exact
			reset()
			if concerned {
				g.Requirements = append(g.Requirements, r)
			}
		}
	}
	return g, nil
}

// Annotations; noteNames are those without a value.
var noteNames = []string{"optional", "m", "exact", "min", "seen"}

const (
	roomNote   = "min:"
	beforeNote = "before:"
)

// knownNote says whether there is such an annotation.
func knownNote(n string) bool {
	return slices.Contains(noteNames, n) || strings.HasPrefix(n, roomNote) || strings.HasPrefix(n, beforeNote) || slices.Contains(archs.Kernels(), n)
}

// annotate applies annotations. exact says that what is to be m may not be built in, and
// concerned that the requirement is one of the architecture's; an empty arch is any.
func (r *Requirement) annotate(notes []string, arch string) (exact, concerned bool) {
	var arches []string
	for _, n := range notes {
		switch n {
		case "optional":
			r.Optional = true
		case "m":
			r.Want.Module = true
		case "exact":
			exact = true
		case "min":
			r.Want.Min = true
		case "seen":
			r.SymptomSeen = true
		default:
			if room, ok := strings.CutPrefix(n, roomNote); ok {
				r.Want.Min, r.Want.Room = true, room
			} else if version, ok := strings.CutPrefix(n, beforeNote); ok {
				r.Before = version
			} else {
				arches = append(arches, n)
			}
		}
	}
	return exact, len(arches) == 0 || arch == "" || slices.Contains(arches, arch)
}

// GroupNames lists the embedded groups.
func GroupNames() []string {
	entries, _ := profiles.ReadDir("profile")
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".config"))
	}
	slices.Sort(names)
	return names
}
