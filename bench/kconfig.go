// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// measureKconfig holds a check of .config against the kernel's own olddefconfig: of
// one that was checked before, of another, and of one when nothing is known of what
// the compiler says.
func (b *bench) measureKconfig() error {
	var same, other, cold []pair
	var memory int64 // kB
	// What the last check found, which is of no use for a .config that was edited.
	known := filepath.Join(b.build, ".run-kernel/config-checked")
	for i := range b.rounds + 1 {
		began := time.Now()
		make := exec.Command("make", "-s", "-C", b.tree, "O="+b.build, "olddefconfig")
		if out, err := make.CombinedOutput(); err != nil {
			return fmt.Errorf("make olddefconfig: %w: %s", err, out)
		}
		floor := time.Since(began)
		dir, err := os.MkdirTemp("", "bench-cache-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		var took [3]time.Duration
		for j := range took {
			if j < 2 {
				if err := os.Remove(known); err != nil && !errors.Is(err, os.ErrNotExist) {
					return err
				}
			}
			var rss int64
			if took[j], rss, err = b.check("XDG_CACHE_HOME=" + dir); err != nil {
				return err
			}
			memory = max(memory, rss)
		}
		if i > 0 { // the first one warms up
			cold, other, same = append(cold, pair{took[0], floor}), append(other, pair{took[1], floor}), append(same, pair{took[2], floor})
		}
	}
	row("kconfig check, against make olddefconfig", same)
	row("      the same, of a .config that has changed", other)
	row("      the same, when nothing is known of the compiler", cold)
	fmt.Printf("%-52s %6.0f MB\n", "      its memory", float64(memory)/1000)
	return nil
}

func (b *bench) check(environ string) (took time.Duration, memory int64, err error) {
	cmd := exec.Command(b.runKernel, "kconfig", "check", "-q", "-O", b.build)
	cmd.Dir, cmd.Env, cmd.Stderr = b.tree, append(os.Environ(), environ), os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("run-kernel kconfig check: %w", err)
	}
	took = time.Since(began)
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		memory = usage.Maxrss
	}
	return took, memory, nil
}
