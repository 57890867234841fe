// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// TestRefused compares where the mistakes in Kconfig files are; the engine has its
// own words for what they are.
func TestRefused(t *testing.T) {
	for _, srctree := range trees(t) {
		t.Run(filepath.Base(srctree), func(t *testing.T) {
			program := build(t, srctree).conf
			d, err := model.DetectDialect(srctree)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{
				"config\n",
				"\nconfig A\n\tbool \"a\" \"b\"\n",
				"config A\n\tdepends A\n",
				"config A\n\tdepends on (A\n",
				"config A\n\tdepends on A &&\nconfig B\n\tbool\n",
				"menu \"a\"\n\n\nconfig A\n\tbool\n",
				"if A\nconfig B\n\tbool\n",
				"if A\nendmenu\n",
				"endif\n",
				"bool\n",
				"frob A\n",
				"kind = bool\nconfig A\n\t$(kind)\n",
				"\"a\"\n",
				"choice\n\tprompt \"c\"\nmenu \"a\"\n",
				"choice\n\tprompt \"c\"\n\tfrob\nendchoice\n",
				"source \"absent\"\n",
				"\nsource \"Kconfig\"\n",
				"\n$(error-if,y,no)\n",
				"\n\nX = $(X)\n\n$(X)\n",
				"config A\n\tbool \"$(shell,x\"\n",
				"config A\n\tbool \"open\n\tdepends on 'x\n\tfrob\n",
				"config A\n\tbool \\\n\t\"a\" \\\n\t\"b\"\n",
				"config A\n\tint\n\trange 1\n",
				"config A\n\tbool\n\tselect \"B\"\n",
				"config A\n\tbool\n\tselect A if\n",
				"config A\n\tbool\n\tprompt\n",
				"config A\n\tbool\n\tdepends on B if C\n",
				"comment\n",
			} {
				directory := writeKconfig(t, text)
				c := comparison{t: t, program: program, srctree: directory, dir: t.TempDir()}
				_, _, said, ok := c.conf(".config", "--alldefconfig")
				_, err := parseIn(t, c.dir, directory, d)
				var refused *syntax.Error
				if d.ConditionalOn && ok && err == nil {
					continue
				}
				if ok || !errors.As(err, &refused) || !strings.Contains(said, fmt.Sprintf("%s:", refused.Pos)) && !strings.HasSuffix(said, refused.Pos.String()+"\n") {
					t.Errorf("%q: conf says %s; the engine: %v", text, said, err)
				}
			}
		})
	}
}
