// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"testing"

	"github.com/metaspace/run-kernel/internal/event"
)

// The loop boots often, and notes once that there is no KVM.
func TestNotedOnce(t *testing.T) {
	s := new(Session)
	var got []event.Event
	for range 2 {
		events := s.once(func(e event.Event) { got = append(got, e) })
		events.Emit(event.Notice{Text: "no KVM"})
		events.Emit(event.Warning{Text: "it hangs"})
	}
	if len(got) != 3 {
		t.Errorf("%+v", got)
	}
}
