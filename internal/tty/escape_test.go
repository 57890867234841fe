// SPDX-License-Identifier: GPL-3.0-only

package tty_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/metaspace/run-kernel/internal/tty"
)

func TestEscapes(t *testing.T) {
	for _, test := range []struct {
		typed, passed string
		ends, helps   int
	}{
		{"ls\r", "ls\r", 0, 0},
		{"~.", "", 1, 0},
		{"ls ~.\r", "ls ~.\r", 0, 0},
		{"ls\r~.", "ls\r", 1, 0},
		{"ls\n~?pwd\r", "ls\npwd\r", 0, 1},
		{"~?~.", "", 1, 1},
		{"~~.\r", "~.\r", 0, 0},
		{"~/bin\r", "~/bin\r", 0, 0},
		{"~\r~.", "~\r", 1, 0},
	} {
		for name, r := range map[string]io.Reader{
			"at once":      strings.NewReader(test.typed),
			"byte by byte": iotest.OneByteReader(strings.NewReader(test.typed)),
		} {
			var ends, helps int
			passed, err := io.ReadAll(tty.NewEscapes(r, func() { ends++ }, func() { helps++ }))
			if err != nil {
				t.Fatal(err)
			}
			if string(passed) != test.passed || ends != test.ends || helps != test.helps {
				t.Errorf("%q %s: passed %q, %d ends, %d helps", test.typed, name, passed, ends, helps)
			}
		}
	}
}
