// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/kconfig/model"
)

// A Mode is what conf is asked for, by the name of its option.
type Mode string

// The modes. See "conf" in Documentation/kbuild/kconfig.rst.
const (
	Olddefconfig  Mode = "olddefconfig"
	Alldefconfig  Mode = "alldefconfig"
	Allnoconfig   Mode = "allnoconfig"
	Allyesconfig  Mode = "allyesconfig"
	Allmodconfig  Mode = "allmodconfig"
	Savedefconfig Mode = "savedefconfig"
	Listnewconfig Mode = "listnewconfig"
)

var all = map[Mode]model.Mode{Alldefconfig: model.AllDefault, Allnoconfig: model.AllNo, Allyesconfig: model.AllYes, Allmodconfig: model.AllMod}

// FromScratch tells whether a mode reads no .config.
func (m Mode) FromScratch() bool { _, ok := all[m]; return ok }

// A Request is what conf would be called with.
type Request struct {
	Mode Mode
	// Name of the .config in warnings, and its contents; not for the modes that
	// start from scratch.
	Name   string
	Config []byte
	// Getenv looks up the variables that change what conf does, such as
	// KCONFIG_ALLCONFIG; os.LookupEnv if it is nil.
	Getenv func(name string) (string, bool)
	// Dirs are where the file of KCONFIG_ALLCONFIG is looked for.
	Dirs []string
}

// Conf does what the kernel's conf does: it returns the contents of .config, of
// the defconfig, or the list, and what conf writes to standard error.
func Conf(m *model.Model, r Request) (out []byte, warnings string, err error) {
	if r.Getenv == nil {
		r.Getenv = os.LookupEnv
	}
	s := m.NewState()
	s.Getenv = r.Getenv
	if mode, ok := all[r.Mode]; ok {
		if err := preset(s, r); err != nil {
			return nil, "", err
		}
		s.SetAll(mode)
		return s.Config(), s.Warnings.String(), nil
	}
	s.Load(r.Name, r.Config)
	switch r.Mode {
	case Olddefconfig:
		out = s.Config()
	case Savedefconfig:
		out = s.Defconfig()
	case Listnewconfig:
		out = s.NewSymbols()
	default:
		return nil, "", fmt.Errorf("conf: unknown mode %q", r.Mode)
	}
	return out, s.Warnings.String(), nil
}

// preset reads the file of KCONFIG_ALLCONFIG.
func preset(s *model.State, r Request) error {
	name, ok := r.Getenv("KCONFIG_ALLCONFIG")
	if !ok {
		return nil
	}
	names := []string{name}
	if name == "" || name == "1" {
		short := r.Mode[:len(r.Mode)-len("config")]
		names = []string{string(short) + ".config", "all.config"}
	}
	for _, n := range names {
		for _, dir := range r.Dirs {
			path := n
			if !filepath.IsAbs(n) {
				path = filepath.Join(dir, n)
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			s.Read(n, data)
			return nil
		}
	}
	return fmt.Errorf("KCONFIG_ALLCONFIG is set, but there is no %q", names[len(names)-1])
}

// Replace writes a .config as conf does: the file before is kept with the suffix
// .old, and one with the same contents isn't touched. A device or a pipe is written to.
func Replace(path string, data []byte) (changed bool, err error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		// It has no contents before, and a file must not take its place: /dev/null would
		// be one from then on.
		return true, os.WriteFile(path, data, 0o644)
	}
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, data) {
		return false, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if err := atomicfile.Update(path, data, ""); err != nil {
		return false, err
	}
	return true, nil
}
