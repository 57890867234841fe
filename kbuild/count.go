// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/kbuild/kmake"
)

// counts tell how many objects a build of everything has. Other builds have few, and
// nobody knows how many: make finds out while it builds.
type counts struct {
	tree    *Tree
	target  string
	path    string // of the number that the last such build had, for its .config
	scratch bool   // nothing was built before
}

func (t *Tree) newCounts(state, target string) counts {
	// Each kernel has this object, and a build that failed left it, too. That there
	// is no image says less.
	_, err := os.Stat(filepath.Join(t.BuildDir, "init/main.o"))
	return counts{t, target, filepath.Join(state, "objects."+target), errors.Is(err, os.ErrNotExist)}
}

// expected is the number for a build from scratch; 0 when it isn't known.
func (c counts) expected() int {
	if !c.scratch {
		return 0
	}
	var n int
	var config string
	if data, err := private.ReadFile(c.path); err == nil {
		if _, err := fmt.Sscan(string(data), &n, &config); err == nil && config == c.config() {
			return max(0, n)
		}
	}
	return c.tree.estimate(c.target)
}

func (c counts) save(objects int) error {
	if !c.scratch || objects == 0 {
		return nil
	}
	return private.WriteFile(c.path, fmt.Appendf(nil, "%d %s\n", objects, c.config()))
}

// config tells one .config from another.
func (c counts) config() string {
	data, err := os.ReadFile(c.tree.ConfigPath())
	if err != nil {
		return "none"
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

// What make says it compiles beside the objects of vmlinux and modules, on x86: the
// programs of scripts, what asks for offsets, the vDSO and the real mode's code, the link;
// and tools, if options ask for them. The first two were counted with Linux 6.1, the third
// is what the Build files of resolve_btfids, libbpf and libsubcmd list there.
const (
	otherObjects   = 30
	objtoolObjects = 22
	btfObjects     = 31
)

// estimate is how many objects a build from scratch compiles, from what the source tree's
// Kbuild files say of .config; 0 when it isn't known.
func (t *Tree) estimate(target string) int {
	if t.SrcArch() != "x86" {
		return 0 // nobody has counted the others
	}
	data, err := os.ReadFile(t.ConfigPath())
	if err != nil {
		return 0
	}
	options := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if name, is := strings.CutPrefix(name, "CONFIG_"); ok && is {
			options[name] = strings.Trim(value, `"`)
		}
	}
	c, err := kmake.Objects(t.Source, t.SrcArch(), func(name string) string { return options[name] })
	if err != nil || c.Objects == 0 {
		return 0
	}
	n := c.Objects + c.Modules + otherObjects // each module has an object with its name
	if target != "vmlinux" {
		n += c.Boot
	}
	if options["OBJTOOL"] != "" {
		n += objtoolObjects
	}
	if options["DEBUG_INFO_BTF"] != "" {
		n += btfObjects
	}
	return n
}
