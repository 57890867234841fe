// SPDX-License-Identifier: GPL-3.0-only

package bounds

import (
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model/modeltest"
)

func TestPossible(t *testing.T) {
	const modules = "config MODULES\n\tbool \"m\"\n\tmodules\n"
	for _, c := range []struct {
		name, text, want string
		possible, forced bool
	}{
		{"a prompt", "config A\n\tbool \"a\"\n", "A=y", true, true},
		{"nothing sets it", "config A\n\tbool\n", "A=y", false, false},
		{"always y", "config A\n\tdef_bool y\nconfig B\n\tbool \"b\"\n\tdepends on !A\n", "B=y", false, false},
		{"a default", "config A\n\tdef_bool B\nconfig B\n\tbool \"b\"\n", "A=y B=n", false, false},
		{"a default that is there", "config A\n\tdef_bool B\nconfig B\n\tbool \"b\"\n", "A=y B=y", true, true},
		{"by force only", "config A\n\tbool\n\tdepends on X\nconfig B\n\tbool \"b\"\n\tselect A\n", "A=y", false, true},
		{"what selects it", "config A\n\tbool\nconfig B\n\tbool \"b\"\n\tselect A\n", "A=n B=y", false, false},
		{"a conflict of dependencies", "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\n\tdepends on A\nconfig C\n\tbool \"c\"\n\tdepends on !A\n", "B=y C=y", false, false},
		{"one of several", "config A\n\tbool \"a\"\nconfig D\n\tbool \"d\"\nconfig B\n\tbool \"b\"\n\tdepends on A || D\n", "B=y A=n", true, true},
		{"none of several", "config A\n\tbool \"a\"\nconfig D\n\tbool \"d\"\nconfig B\n\tbool \"b\"\n\tdepends on A || D\n", "B=y A=n D=n", false, false},
		{"two of a choice", "choice\n\tprompt \"c\"\nconfig A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nendchoice\n", "A=y B=y", false, false},
		{"m without modules", modules + "config A\n\ttristate \"a\"\n", "A=m MODULES=n", false, false},
		{"m", modules + "config A\n\ttristate \"a\"\n", "A=m", true, true},
		{"y of what depends on m", modules + "config A\n\ttristate \"a\"\n\tdepends on m\n", "A=y", false, false},
		{"a bool that depends on m", modules + "config A\n\tbool \"a\"\n\tdepends on m\n", "A=y", true, true},
		{"a range", "config N\n\tint \"n\"\n\trange 1 8\n", "N=9", false, false},
		{"a range that may not hold", "config X\n\tbool \"x\"\nconfig N\n\tint \"n\"\n\trange 1 8 if X\n", "N=9", true, true},
		{"a range where its number is", "config X\n\tbool \"x\"\nconfig N\n\tint \"n\"\n\trange 5 8\n\tdepends on X\n", "N>=9", false, false},
		{"a range where its number is, from above", "config X\n\tbool \"x\"\nconfig N\n\tint \"n\"\n\trange 5 8\n\tdepends on X\n", "N=8", true, true},
		{"0 where a number isn't", "config X\n\tbool \"x\"\nconfig N\n\tint \"n\"\n\trange 5 8\n\tdepends on X\nconfig A\n\tbool \"a\"\n\tdepends on N < 5\n", "A=y", true, true},
		{"0 where a number isn't, above its range", "config X\n\tbool \"x\"\nconfig N\n\tint \"n\"\n\trange -8 -5\n\tdepends on X\nconfig A\n\tbool \"a\"\n\tdepends on N > -5\n", "A=y", true, true},
		{"a range in one place of two", "config X\n\tbool \"x\"\nconfig N\n\tint \"n\"\n\trange 5 8\n\tdepends on X\nconfig N\n\tint \"n\"\n", "N=9", true, true},
		{"a range behind one that may hold", "config X\n\tbool \"x\"\nconfig N\n\tint \"n\"\n\trange 1 64 if X\n\trange 5 8\n\tdepends on Y\nconfig Y\n\tbool \"y\"\n", "N=64", true, true},
		{"beyond a range behind one that may hold", "config X\n\tbool \"x\"\nconfig N\n\tint \"n\"\n\trange 1 64 if X\n\trange 5 8\n\tdepends on Y\nconfig Y\n\tbool \"y\"\n", "N=65", false, false},
		{"the end of a range", "config X\n\tbool \"x\"\nconfig E\n\tint\n\tdefault 8 if X\n\tdefault 64\nconfig N\n\tint \"n\"\n\trange 1 E\n", "N=64", true, true},
		{"beyond the end of a range", "config X\n\tbool \"x\"\nconfig E\n\tint\n\tdefault 8 if X\n\tdefault 64\nconfig N\n\tint \"n\"\n\trange 1 E\n", "N>=65", false, false},
		{"a number that is moved into its range", "config N\n\tint\n\tdefault 1\n\trange 5 8\n", "N=5", true, true},
		{"a number by its defaults", "config N\n\tint\n\tdefault 12\nconfig A\n\tbool \"a\"\n\tdepends on N > 12\n", "A=y", false, false},
		{"a hex number", "config N\n\thex \"n\"\n\trange 0x10 0x20\nconfig A\n\tbool \"a\"\n\tdepends on N > 0x1f\n", "A=y", true, true},
		{"a hex number out of reach", "config N\n\thex \"n\"\n\trange 0x10 0x20\nconfig A\n\tbool \"a\"\n\tdepends on N > 0x20\n", "A=y", false, false},
		{"two numbers", "config L\n\tint \"l\"\n\trange 1 4\nconfig R\n\tint \"r\"\n\trange 5 9\nconfig A\n\tbool \"a\"\n\tdepends on L > R\n", "A=y", false, false},
		{"a place without dependencies", "config A\n\tbool \"a\"\nif A\nconfig B\n\tdef_bool y\nendif\nconfig B\n\tbool \"b\"\n", "B=y A=n", true, true},
		{"a text", "config S\n\tstring\n\tdefault \"x\"\nconfig A\n\tbool \"a\"\n\tdepends on S != \"x\"\n", "A=y", false, false},
		{"a text of the user's", "config S\n\tstring \"s\"\nconfig A\n\tbool \"a\"\n\tdepends on S != \"\"\n", "A=y", true, true},
	} {
		for _, forced := range []bool{false, true} {
			m := modeltest.New(t, c.text)
			b := New(m, forced)
			for _, word := range strings.Fields(c.want) {
				r, err := kconfig.ParseRequire(word)
				if err != nil {
					t.Fatal(err)
				}
				b.Fix(m.Lookup(r.Symbol), r.Want)
			}
			want := c.possible
			if forced {
				want = c.forced
			}
			if got := b.Possible(); got != want {
				t.Errorf("%s, forced %v: got %v", c.name, forced, got)
			}
		}
	}
}
