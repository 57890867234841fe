// SPDX-License-Identifier: GPL-3.0-only

// Package spell finds the word that somebody may have meant.
package spell

import (
	"slices"
	"strings"
)

// Nearest returns the candidate that is most like word, or "" when none is like
// it: up to a third of its letters, and two at least, may differ.
func Nearest(word string, candidates []string) string {
	best, limit := "", max(2, len(word)/3)
	for _, c := range candidates {
		if d := Distance(word, c); d <= limit {
			best, limit = c, d-1
		}
	}
	return best
}

// suggested is how many words a question names at most.
const suggested = 3

// Question asks whether one of the candidates was meant that are most like word: "did you
// mean KASAN or KCSAN?". It is empty when none is like it, as for Nearest.
func Question(word string, candidates []string) string {
	var best []string
	limit := max(2, len(word)/3)
	for _, c := range candidates {
		d := Distance(word, c)
		if d < limit || d == limit && best == nil {
			best, limit = nil, d
		}
		if d == limit && !slices.Contains(best, c) {
			best = append(best, c)
		}
	}
	if len(best) == 0 {
		return ""
	}
	slices.Sort(best)
	best = best[:min(len(best), suggested)]
	last := len(best) - 1
	text := strings.Join(best[:last], ", ")
	if last > 0 {
		text += " or "
	}
	return "did you mean " + text + best[last] + "?"
}

// Distance is the Levenshtein distance of two words, in bytes.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
