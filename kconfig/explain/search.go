// SPDX-License-Identifier: GPL-3.0-only

package explain

import (
	"cmp"
	"slices"
	"strings"

	"github.com/metaspace/run-kernel/kconfig/model"
)

// A Match is a symbol that was searched for.
type Match struct {
	Symbol string `json:"symbol"`
	Type   string `json:"type"`
	Prompt string `json:"prompt,omitempty"`
	Value  string `json:"value,omitempty"` // as in .config; empty where it isn't in it
	At     string `json:"at"`              // file:line of its first definition
	In     string `json:"in"`              // where the words are: name, prompt or help
}

// Search lists the symbols that have all words in their names, or in their names and
// prompts, or in these and their help texts, in this order; whatever the case. The
// values are those of a state, none if it is nil.
func Search(m *model.Model, state *model.State, words []string) []Match {
	var list []Match
	order := map[string]int{"name": 1, "prompt": 2, "help": 3}
	for i, w := range words {
		words[i] = strings.ToLower(strings.TrimPrefix(w, "CONFIG_"))
	}
	has := func(text string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
	}
	for _, sym := range m.Symbols {
		if sym.Name == "" {
			continue
		}
		match := Match{Symbol: sym.Name, Type: sym.Type.String(), At: sym.Nodes[0].Pos.String()}
		var prompts, help strings.Builder
		for _, n := range sym.Nodes {
			if n.Prompt != nil {
				match.Prompt = cmp.Or(match.Prompt, n.Prompt.Text)
				prompts.WriteString("\n" + strings.ToLower(n.Prompt.Text))
			}
		}
		text := strings.ToLower(sym.Name)
		switch {
		case has(text):
			match.In = "name"
		case has(text + prompts.String()):
			match.In = "prompt"
		default:
			for _, n := range sym.Nodes {
				help.WriteString("\n" + strings.ToLower(n.Help()))
			}
			if !has(text + prompts.String() + help.String()) {
				continue
			}
			match.In = "help"
		}
		if state != nil {
			match.Value, _ = state.Value(sym)
		}
		list = append(list, match)
	}
	exact := func(m Match) int {
		if len(words) == 1 && strings.EqualFold(m.Symbol, words[0]) {
			return 0
		}
		return order[m.In]
	}
	slices.SortStableFunc(list, func(a, b Match) int { return exact(a) - exact(b) })
	return list
}
