// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"slices"
	"testing"
)

func TestHidden(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	for path, want := range map[string]string{
		"~": "/home/me", "~/": "/home/me", "~/.ssh": "/home/me/.ssh", "/etc/shadow": "/etc/shadow", "keys": "/src/keys", "~other": "/src/~other",
	} {
		if got := hidden([]string{path}, "/src"); !slices.Contains(got, want) {
			t.Errorf("%s: got %q, want %s", path, got, want)
		}
	}
}
