// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	n := newNames("one two*", "*three *four*")
	for _, name := range []string{"one", "two", "twofold", "three", "twentythree", "four", "fourteen", "twentyfour", "a_fourth"} {
		if !n.has(name) {
			t.Errorf("%s isn't in the set", name)
		}
	}
	for _, name := range []string{"", "ones", "none", "wtwo", "threes", "fou"} {
		if n.has(name) {
			t.Errorf("%s is in the set", name)
		}
	}
}

// What the tables say is what names understands.
func TestTables(t *testing.T) {
	for name, n := range map[string]*names{
		"reporters": reporters, "helpers": helpers, "leakMachinery": leakMachinery, "interruptEntries": interruptEntries,
		"dispatchers": dispatchers, "waiters": waiters, "crossCalls": crossCalls, "detectors": detectors, "scheduling": scheduling,
		"kasanFinders": kasanFinders, "warnFinders": warnFinders,
	} {
		n.read.Do(n.readLists)
		for word := range n.exact {
			if strings.Contains(word, "*") {
				t.Errorf("%s: %q", name, word)
			}
		}
		for _, list := range append(n.begin[:], n.end, n.within) {
			for _, word := range list {
				if word == "" || strings.Contains(word, "*") {
					t.Errorf("%s: %q", name, word)
				}
			}
		}
	}
	for i := range kinds {
		if head := kinds[i].head; head != "" {
			for _, lead := range leads {
				if strings.HasPrefix(head, lead) {
					t.Errorf("%q begins with %q, which is cut off", head, lead)
				}
			}
		}
	}
}
