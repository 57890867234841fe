// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/private"
)

// kunitState has the kunitconfigs from which a .config was made.
const kunitState = "kunitconfig"

// KUnitConfigs are the configuration fragments of tests to run, where nobody names
// others: the default that the kernel's kunit.py takes.
func (k *Kernel) KUnitConfigs() []string {
	for _, name := range []string{"tools/testing/kunit/configs/default.config", "lib/kunit/.kunitconfig"} {
		path := filepath.Join(k.Tree.Source, name)
		if _, err := os.Stat(path); err == nil {
			return []string{path}
		}
	}
	return nil
}

// SeedKUnit makes .config from kunitconfigs and the defaults of Kconfig alone, as the
// kernel's kunit.py does, and has it meet the requirements, unless it was made from the
// same ones before. One that it replaces is kept as .config.old. A .config that was made
// in another way stays. On an error .config is as it was.
func (k *Kernel) SeedKUnit(ctx context.Context, paths []string) error {
	seed := []byte("CONFIG_KUNIT=y\n")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("kunitconfig: %w", err)
		}
		seed = append(append(seed, data...), '\n')
	}
	stateDir, err := k.Tree.StateDir()
	if err != nil {
		return err
	}
	state := k.Tree.StatePath(kunitState)
	before, err := private.ReadFile(state)
	ours := err == nil
	_, err = os.Stat(k.Tree.ConfigPath())
	exists := !errors.Is(err, os.ErrNotExist)
	if exists && (!ours || bytes.Equal(before, seed)) {
		return nil
	}
	text := ".config is made from " + k.shown(paths)
	if exists {
		text += "; the one before is kept as .config.old"
	}
	k.Events.Emit(event.Notice{Text: text})
	// Elsewhere, since a fix in place would keep the seed as .config.old.
	dir, err := os.MkdirTemp(stateDir, "kunit-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, ".config")
	if err := os.WriteFile(path, seed, 0o600); err != nil {
		return fmt.Errorf("kunitconfig: %w", err)
	}
	if err := k.Tree.Configure(ctx, "olddefconfig", path); err != nil {
		return err
	}
	report, err := k.Fix(ctx, FixOptions{Path: path, Quiet: true})
	if err != nil {
		return err
	}
	if err := atomicfile.Update(k.Tree.ConfigPath(), report.Config.Bytes(), ""); err != nil {
		return fmt.Errorf("kunitconfig: %w", err)
	}
	if len(report.Edits) > 0 {
		requirements, err := k.Requirements(ctx)
		if err != nil {
			return err
		}
		k.Events.Emit(configFixed(k.Tree.ConfigPath(), report, requirements))
	}
	// What was switched off in the previous .config doesn't matter.
	_ = os.Remove(k.Tree.StatePath(memory))
	if err := private.WriteFile(state, seed); err != nil {
		return fmt.Errorf("kunitconfig: %w", err)
	}
	return nil
}

// shown names fragments.
func (k *Kernel) shown(paths []string) string {
	if len(paths) == 0 {
		return "KUNIT=y"
	}
	text := k.Tree.Rel(paths[0])
	if n := len(paths) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
