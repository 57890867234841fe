// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/proc"
)

// farmTime is how long distcc may take to say how many compiles it has places for. Without
// zeroconf it is milliseconds.
const farmTime = 5 * time.Second

// notDistributed is what distcc says when it compiles on this machine what it should not.
var notDistributed = pattern.New(`^distcc\[\d+\] .*failed to distribute, running locally instead`)

// Jobs is how many jobs make runs at once: what the options say, or else one for each
// processor, or for each place that distcc has on this machine and others if it has more.
// icecream's scheduler doesn't tell its clients.
func (t *Tree) Jobs() int {
	if t.options.Jobs > 0 {
		return t.options.Jobs
	}
	if farm := proc.Farm(t.options.CC); filepath.Base(farm) == "distcc" {
		ctx, cancel := context.WithTimeout(context.Background(), farmTime)
		defer cancel()
		// Without hosts it fails.
		out, _ := exec.CommandContext(ctx, farm, "-j").Output()
		if places, err := strconv.Atoi(strings.TrimSpace(string(out))); err == nil {
			return max(places, runtime.NumCPU())
		}
	}
	return runtime.NumCPU()
}
