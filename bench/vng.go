// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// measureVNG holds a boot to a command's end against virtme-ng's, of the same
// kernel with as many processors and as much memory.
func (b *bench) measureVNG() error {
	ours := []string{b.runKernel, "boot", "-q", "-O", b.build, "--no-build", "--smp", "2", "--memory-gib", "4", "--", "uname", "-r"}
	theirs := []string{"vng", "-r", b.image(), "--user", "root", "--cpus", "2", "--memory", "4G", "--exec", "uname -r"}
	if accel() == "tcg" {
		// Without the argument, programs of its guests crash with qemu 8 and later.
		theirs = append(theirs, "--disable-kvm", "--append", "init_on_alloc=1")
	}
	var pairs []pair
	for i := range b.rounds + 1 {
		var took [2]time.Duration
		for j, argv := range [][]string{ours, theirs} {
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Dir = b.tree
			began := time.Now()
			out, err := cmd.Output()
			took[j] = time.Since(began)
			if err != nil || !strings.Contains(string(out), ".") {
				return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
			}
		}
		if i > 0 { // the first one warms up
			pairs = append(pairs, pair{took[0], took[1]})
		}
	}
	row("vng: a command's boot and end", pairs)
	return nil
}
