// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// measureKconfig holds a check of .config, with what the compiler is known to say
// and without, against the kernel's own olddefconfig.
func (b *bench) measureKconfig() error {
	var warm, cold []pair
	var memory int64 // kB
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
		first, _, err := b.check("XDG_CACHE_HOME=" + dir)
		if err != nil {
			return err
		}
		again, rss, err := b.check("XDG_CACHE_HOME=" + dir)
		if err != nil {
			return err
		}
		if i > 0 { // the first one warms up
			warm, cold = append(warm, pair{again, floor}), append(cold, pair{first, floor})
			memory = max(memory, rss)
		}
	}
	row("kconfig check, against make olddefconfig", warm)
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
