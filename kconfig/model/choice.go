// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"slices"
)

// fallback is the default of a choice: the first of its defaults that is
// visible, or else the first member that is.
func (s *State) fallback(c *Choice) *Symbol {
	for _, p := range c.Symbol.defaults {
		if s.eval(p.cond) == No {
			continue
		}
		if member := p.value.Left; s.of(member).visible != No {
			return member
		}
	}
	for _, member := range c.Members {
		if s.of(member).visible != No {
			return member
		}
	}
	return nil
}

// choose is the member of a choice that is y, as conf had it before it ranked
// them: the user's, if all that is visible has been decided on, or the default.
func (s *State) choose(c *Choice) *Symbol {
	v := s.of(c.Symbol)
	decided := true
	for _, member := range c.Members {
		s.see(member)
		if s.of(member).visible != No {
			decided = decided && s.of(member).user
		}
	}
	v.user = v.user && decided
	if u := v.userChosen; u != nil && s.of(u).visible != No {
		return u
	}
	member := s.fallback(c)
	if member == nil {
		v.tri = No
	}
	return member
}

// settle decides for a choice that its members have what is known of them.
func (s *State) settle(choice *Symbol) {
	for _, member := range choice.choice.Members {
		if v := s.of(member); !v.user {
			v.userTri = No
		}
	}
	v := s.of(choice)
	v.user, v.settle, v.valid = true, false, false
}

// rank settles a choice whose members have priorities: the user's y that came
// last, the default unless the user said n, the first member that the user said
// nothing of, and at last the n that came first.
func (s *State) rank(c *Choice) {
	ranked := s.ranked(c)
	for _, member := range ranked {
		s.see(member)
	}
	visible := func(member *Symbol) bool { return s.of(member).visible != No }
	var chosen *Symbol
	if i := slices.IndexFunc(ranked, func(member *Symbol) bool {
		return visible(member) && s.of(member).user && s.of(member).userTri == Yes
	}); i >= 0 {
		chosen = ranked[i]
	}
	if chosen == nil {
		chosen = s.fallback(c)
		if chosen != nil && s.of(chosen).user && s.of(chosen).userTri == No {
			chosen = nil
		}
	}
	if chosen == nil {
		if i := slices.IndexFunc(c.Members, func(member *Symbol) bool { return visible(member) && !s.of(member).user }); i >= 0 {
			chosen = c.Members[i]
		}
	}
	if chosen == nil {
		for _, member := range slices.Backward(ranked) {
			if visible(member) {
				chosen = member
				break
			}
		}
	}
	for _, member := range c.Members {
		if !visible(member) {
			continue
		}
		v := s.of(member)
		v.tri = No
		if member == chosen {
			v.tri = Yes
		}
		v.valid, v.write = true, true
	}
}

// ranked are the members of a choice, the one with the highest priority first.
func (s *State) ranked(c *Choice) []*Symbol {
	if list, ok := s.members[c]; ok {
		return list
	}
	return c.Members
}

// prefer gives a member of a choice the highest priority.
func (s *State) prefer(member *Symbol) {
	list := slices.Clone(s.ranked(member.choice))
	i := slices.Index(list, member)
	list = slices.Insert(slices.Delete(list, i, i+1), 0, member)
	s.members[member.choice] = list
}
