// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"errors"
	"os/exec"
	"testing"
)

func TestTooMuchMemory(t *testing.T) {
	l := newLab(t, "")
	o := l.options()
	o.MemoryMiB = 1 << 30
	_, err := Cmdline(context.Background(), o)
	var much *MemoryError
	if !errors.As(err, &much) || much.Want != 1<<30 || much.Have < 0 || much.Hint() == "" {
		t.Errorf("got %v", err)
	}
}

func TestKilledForMemory(t *testing.T) {
	for script, want := range map[string]bool{
		"exit 0": false, "exit 137": false, "kill -TERM $$": false, "kill -KILL $$": true, "kill -BUS $$": true,
	} {
		if got := killedForMemory(exec.Command("sh", "-c", script).Run()); got != want {
			t.Errorf("%s: %t", script, got)
		}
	}
}
