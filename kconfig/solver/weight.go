// SPDX-License-Identifier: GPL-3.0-only

package solver

import "github.com/metaspace/run-kernel/kconfig/model"

// What a way costs. An edit is what counts; the rest decides between ways with
// as many of them.
const (
	edit     = 10
	indirect = 1    // by a select or a default, rather than by the symbol itself
	declined = 2    // the user, or a default that was written down, says n
	lowered  = 40   // something is taken away
	unwanted = 1000 // EXPERT and the like: only where nothing else is left
)

// unwantedSymbols change what a kernel is, or open all of it.
var unwantedSymbols = map[string]bool{
	"EXPERT": true, "EMBEDDED": true, "COMPILE_TEST": true, "STAGING": true, "BROKEN": true,
}

// hints are the selectors that are meant, of those of symbols without a prompt.
var hints = map[string]string{
	"VIRTIO":          "VIRTIO_PCI",
	"FSNOTIFY":        "INOTIFY_USER",
	"SERIAL_EARLYCON": "SERIAL_8250_CONSOLE",
}

// detour is what a selector costs because another one is meant.
func detour(by, target *model.Symbol) int {
	if meant, ok := hints[target.Name]; ok && meant != by.Name {
		return 5 * edit
	}
	return 0
}

// weight is what it costs to set a symbol. What is required anyway costs nothing.
func (s *solver) weight(sym *model.Symbol, value string) int {
	if r := s.wants[sym]; r != nil && r.Want.Met(value) {
		if r.Want.Builtin && value == "y" {
			return declined // rather the module that was asked for
		}
		return 0
	}
	level, isTristate := tristate(value)
	cost := edit
	if s.regretted[sym] == value {
		cost += unwanted / 2
	}
	if unwantedSymbols[sym.Name] && level > model.No {
		cost += unwanted
	}
	switch {
	case isTristate && level < s.state.Tristate(sym):
		cost += lowered
	case s.state.Set(sym):
		cost += declined
	}
	return cost
}
