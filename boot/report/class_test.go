// SPDX-License-Identifier: GPL-3.0-only

package report_test

import (
	"encoding/json"
	"testing"

	"github.com/metaspace/run-kernel/boot/report"
)

func TestClass(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range report.Classes() {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("class %d is called %q", int(c), c)
		}
		seen[c.String()] = true
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back report.Class
		if err := json.Unmarshal(text, &back); err != nil || back != c {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	var c report.Class
	if err := c.UnmarshalText([]byte("bugs")); err == nil {
		t.Error("bugs is no class")
	}
	if got := report.Class(-1).String(); got != "class -1" {
		t.Error(got)
	}
}
