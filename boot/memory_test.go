// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"errors"
	"testing"
)

func TestTooMuchMemory(t *testing.T) {
	l := newLab(t, "")
	o := l.options()
	o.MemoryGiB = 1 << 20
	_, err := Cmdline(context.Background(), o)
	var much *MemoryError
	if !errors.As(err, &much) || much.Want != 1<<20 || much.Have < 0 || much.Hint() == "" {
		t.Errorf("got %v", err)
	}
}
