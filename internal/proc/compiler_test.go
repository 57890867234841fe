// SPDX-License-Identifier: GPL-3.0-only

package proc

import (
	"slices"
	"testing"
)

func TestSplitCompiler(t *testing.T) {
	for _, c := range []struct {
		command, prefix, compiler, farm string
		wrap                            []string
	}{
		{command: ""},
		{command: "gcc -m32", compiler: "gcc"},
		{command: "/usr/lib/ccache/gcc", compiler: "/usr/lib/ccache/gcc"},
		{command: "ccache gcc", compiler: "gcc", wrap: []string{"ccache"}},
		{command: "ccache gcc", prefix: "distcc", compiler: "gcc", wrap: []string{"ccache"}, farm: "distcc"},
		{command: "gcc", prefix: "distcc", compiler: "gcc"},
		{command: "ccache  /opt/bin/distcc gcc-12", compiler: "gcc-12", wrap: []string{"ccache", "/opt/bin/distcc"}, farm: "/opt/bin/distcc"},
		{command: "icecc", wrap: []string{"icecc"}, farm: "icecc"},
	} {
		t.Setenv("CCACHE_PREFIX", c.prefix)
		wrap, compiler := SplitCompiler(c.command)
		if farm := Farm(c.command); !slices.Equal(wrap, c.wrap) || compiler != c.compiler || farm != c.farm {
			t.Errorf("%q with %q: %q %q %q", c.command, c.prefix, wrap, compiler, farm)
		}
	}
}
