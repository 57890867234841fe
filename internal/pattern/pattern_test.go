// SPDX-License-Identifier: GPL-3.0-only

package pattern_test

import (
	"slices"
	"testing"

	"github.com/metaspace/run-kernel/internal/pattern"
)

func TestPattern(t *testing.T) {
	p := pattern.New(`b(.)`)
	if !p.MatchString("abc") || p.MatchString("ac") {
		t.Error("MatchString")
	}
	if got := p.FindString("abc"); got != "bc" {
		t.Errorf("FindString: %q", got)
	}
	if got := p.FindStringIndex("abc"); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("FindStringIndex: %v", got)
	}
	if got := p.FindStringSubmatch("abc"); !slices.Equal(got, []string{"bc", "c"}) {
		t.Errorf("FindStringSubmatch: %q", got)
	}
	if got := p.ReplaceAllString("abcbd", "<$1>"); got != "a<c><d>" {
		t.Errorf("ReplaceAllString: %q", got)
	}
}

func TestMalformed(t *testing.T) {
	p := pattern.New(`(`)
	defer func() {
		if recover() == nil {
			t.Error("it is accepted")
		}
	}()
	p.MatchString("")
}
