// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEvidence(t *testing.T) {
	for _, test := range []struct {
		guest string
		tasks []string
	}{
		{"answers SysRq", []string{
			"[    9.000000] sysrq: Show Blocked State", "[    9.000001] asked: w",
			"[    9.000000] sysrq: Show Blocked State", "[    9.000001] asked: d",
		}},
		{"says nothing more", nil},
	} {
		t.Run(test.guest, func(t *testing.T) {
			checkLeaks(t)
			o := newLab(t, test.guest).options()
			o.Timeout = time.Second
			_, err := start(t, o)
			var timeout *TimeoutError
			if !errors.As(err, &timeout) {
				t.Fatal(err)
			}
			want := &Evidence{
				CPUs: []CPU{
					{Index: 0, State: InKernel, PC: 0xffffffff81000010},
					{Index: 1, State: Idle, PC: 0xffffffff81000020},
				},
				Tasks: test.tasks,
			}
			if diff := cmp.Diff(want, timeout.Evidence); diff != "" {
				t.Error(diff)
			}
			if len(timeout.Tail) != 1 {
				t.Errorf("the tail has what came afterwards: %q", timeout.Tail)
			}
		})
	}
}
