// SPDX-License-Identifier: GPL-3.0-only

package spell_test

import (
	"testing"

	"github.com/metaspace/run-kernel/internal/spell"
)

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"abc", "abd", 1},
		{"abc", "ac", 1},
		{"ac", "abc", 1},
		{"kitten", "sitting", 3},
		{"ab", "ba", 2},
		{"flaw", "lawn", 2},
	} {
		if got := spell.Distance(test.a, test.b); got != test.want {
			t.Errorf("%q, %q: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"boot", "build", "watch", "memory_gib", "kernel_extra_args"}
	for word, want := range map[string]string{
		"boot": "boot", "bot": "boot", "biuld": "build", "memory": "", "memory_gb": "memory_gib", "kernel_args": "", "kernel-extra-arg": "kernel_extra_args",
		"xyzzy": "", "": "",
	} {
		if got := spell.Nearest(word, words); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got := spell.Nearest("ab", nil); got != "" {
		t.Errorf("got %q", got)
	}
	// The first of those that are equally near.
	if got := spell.Nearest("bat", []string{"cat", "hat", "bad"}); got != "cat" {
		t.Errorf("got %q", got)
	}
}

func TestQuestion(t *testing.T) {
	for word, want := range map[string]string{
		"KSAN": "did you mean KASAN or KCSAN?", "KASAN": "did you mean KASAN?", "PRINTC": "did you mean PRINTK?", "NOTHING": "",
		"ABX": "did you mean ABA, ABB or ABC?",
	} {
		if got := spell.Question(word, []string{"KCSAN", "ABD", "ABC", "KASAN", "PRINTK", "ABB", "ABA", "KASAN", "CRASH_DUMP"}); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}
