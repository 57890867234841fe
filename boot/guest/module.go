// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ModulesDir is where the initramfs holds the modules that are needed before there
// is a userland, in the order of their names.
const ModulesDir = "/early-modules"

// loadModules loads them. Where there is no such directory, all is built in.
func loadModules() error {
	entries, err := os.ReadDir(ModulesDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := loadModule(filepath.Join(ModulesDir, e.Name())); err != nil {
			return fmt.Errorf("load the module %s: %w", e.Name()[len("000-"):], err)
		}
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
