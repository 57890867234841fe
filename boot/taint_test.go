// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/metaspace/run-kernel/boot/guest"
)

func TestTaint(t *testing.T) {
	synced := func(taint uint64) []byte { return ssh.Marshal(guest.Synced{Known: true, Taint: taint}) }
	const warning, outOfTree = 1 << 9, 1 << 12
	for name, c := range map[string]struct {
		up, now []byte
		want    []string
	}{
		"nothing":        {synced(0), synced(0), nil},
		"a warning":      {synced(0), synced(warning), []string{"taint W: a warning, without a report on the console"}},
		"one before":     {synced(warning), synced(warning), nil},
		"a module":       {synced(0), synced(outOfTree), nil},
		"both":           {synced(0), synced(outOfTree | 1<<7 | warning), []string{"taint D: an oops or BUG, without a report on the console", "taint W: a warning, without a report on the console"}},
		"no /proc":       {ssh.Marshal(guest.Synced{}), synced(warning), nil},
		"no /proc later": {synced(0), ssh.Marshal(guest.Synced{}), nil},
		"an older agent": {nil, nil, nil},
	} {
		var tainted taint
		tainted.begin(c.up)
		tainted.update(c.now)
		var got []string
		for _, r := range tainted.fresh() {
			got = append(got, r.Title)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Of modules that were replaced, it tells no more.
	var tainted taint
	tainted.begin(synced(0))
	tainted.restart(warning)
	tainted.update(synced(warning))
	if fresh := tainted.fresh(); len(fresh) > 0 {
		t.Errorf("what was before the restart: %+v", fresh)
	}
	tainted.update(synced(warning | 1<<7))
	if fresh := tainted.fresh(); len(fresh) != 1 {
		t.Errorf("after the restart: %+v", fresh)
	}
}
