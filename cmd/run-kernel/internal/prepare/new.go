// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"context"
	"os"
	"path/filepath"

	"github.com/metaspace/run-kernel/internal/atomicfile"
)

// NewConfig writes a .config that has what make tinyconfig sets, for 64 bits, and the
// requirements. The contents of one that is there are kept as .config.old; its mode and
// owner stay, and so does .config that is a link. It returns the number of options that
// are set. On an error nothing has changed.
func (k *Kernel) NewConfig(ctx context.Context) (set int, err error) {
	state, err := k.Tree.StateDir()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp(state, "new-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	// As for allnoconfig, which it is, the smaller answer is the one for 32 bits.
	wide := filepath.Join(dir, "wide")
	if err := os.WriteFile(wide, []byte("CONFIG_64BIT=y\n"), 0o600); err != nil {
		return 0, err
	}
	path := filepath.Join(dir, ".config")
	if err := k.Tree.Configure(ctx, "tinyconfig", path, "KCONFIG_ALLCONFIG="+wide); err != nil {
		return 0, err
	}
	report, err := k.Fix(ctx, FixOptions{Path: path, Quiet: true})
	if err != nil {
		return 0, err
	}
	return len(report.Config.Symbols()), atomicfile.Update(k.Tree.ConfigPath(), report.Config.Bytes(), "")
}
