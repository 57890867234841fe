// SPDX-License-Identifier: GPL-3.0-only

package model

// Load reads a .config and lets go of what conf forgets of it.
func (s *State) Load(name string, data []byte) {
	s.Read(name, data)
	s.reconcile()
}

// A Mode is what all*config sets.
type Mode uint8

// The modes.
const (
	AllDefault Mode = iota
	AllNo
	AllMod
	AllYes
)

// SetAll sets all bool and tristate symbols that the user hasn't set.
func (s *State) SetAll(mode Mode) {
	tri := map[Mode]Tristate{AllNo: No, AllMod: Mod, AllYes: Yes}[mode]
	if mode != AllDefault {
		for _, sym := range s.m.hashed {
			v := s.of(sym)
			if v.user || !sym.Type.Logical() {
				continue
			}
			if s.m.dialect.MenuOrder && (sym.member || sym.IsChoice() || len(sym.prompts) == 0) {
				continue
			}
			v.user, v.userTri = true, tri
			if mode == AllNo && sym.allnoconfigY {
				v.userTri = Yes
			}
		}
	}
	s.invalidate()
	if s.m.dialect.Priority {
		return
	}
	for _, sym := range s.m.hashed {
		if sym.IsChoice() && !s.of(sym).user || sym.member {
			s.of(sym).settle = true
		}
	}
	if mode == AllDefault {
		// The order of warnings shows that conf looks at choices first here.
		for _, sym := range s.m.hashed {
			if sym.IsChoice() {
				s.calc(sym)
			}
		}
	}
}
