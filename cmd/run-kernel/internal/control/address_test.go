// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/trust"
)

// VMs of one build directory are told apart by their names.
func TestNames(t *testing.T) {
	build, other := t.TempDir(), t.TempDir()
	none, a, b := Address{Build: build}, Address{build, "a"}, Address{build, "b.2"}
	list := func() []Address {
		t.Helper()
		list, err := List(build)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if got := list(); len(got) != 0 {
		t.Errorf("at first there are %v", got)
	}
	var servers []*Server
	for _, address := range []Address{b, none, a, {other, "c"}} {
		s, err := Listen(&trust.Policy{}, address, "boot", func() {})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		servers = append(servers, s)
	}
	// A connection has the name of its socket, too.
	c, err := Dial(b)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s, err := c.Status(); err != nil || s.Name != "b.2" || s.Build != build {
		t.Errorf("got %+v, %v", s, err)
	}
	if diff := cmp.Diff([]Address{none, a, b}, list()); diff != "" {
		t.Error(diff)
	}
	busy := (*BusyError)(nil)
	if _, err := Listen(&trust.Policy{}, a, "boot", nil); !errors.As(err, &busy) || !strings.Contains(err.Error(), `VM "a" of `+build) || !strings.Contains(busy.Hint(), "--name a") {
		t.Errorf("a name that is taken: %v", err)
	}
	for _, s := range servers {
		_ = s.Close()
	}
	if got := list(); len(got) != 0 {
		t.Errorf("in the end there are %v", got)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "second": true, "6.1-rc1_x": true, strings.Repeat("x", 32): true,
		"": false, ".": false, "..": false, "-a": false, "a b": false, "a/b": false, "ä": false, strings.Repeat("x", 33): false, "a\n": false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: got %v", name, err)
		}
	}
}
