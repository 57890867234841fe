// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/metaspace/run-kernel/internal/testflake"
)

// mountTypes are the ways in which a guest gets files, the faster one first.
var mountTypes = []string{"virtiofs", "9p"}

const (
	bigSize    = 256 << 20
	smallFiles = 500
	smallSize  = 4 << 10
)

// timeShare prints how many nanoseconds each use of a share takes, with nothing in
// the guest's caches. The host's have all of it.
const timeShare = `
set -e
cd /mnt/bench
timed() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	began=$(date +%s%N)
	"$@" >/dev/null
	echo "took $(($(date +%s%N) - began))"
}
timed dd if=big of=/dev/null bs=1M status=none
timed dd if=/dev/zero of=written bs=1M count=256 conv=fsync status=none
timed find small -type f -size +0
timed find small -type f -exec cat {} +
`

// measureShares holds virtiofs against 9p, which is what there is without
// virtiofsd.
func (b *bench) measureShares() error {
	dir, err := os.MkdirTemp("", "bench-share-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := fill(dir); err != nil {
		return err
	}
	uses := []struct {
		name  string
		count float64
		unit  string
	}{
		{"reading a file of 256 MiB", bigSize >> 20, "MiB/s"},
		{"writing it", bigSize >> 20, "MiB/s"},
		{fmt.Sprintf("looking at %d small files", smallFiles), smallFiles, "/s"},
		{"reading them", smallFiles, "/s"},
	}
	if err := b.buildForBoth("-O", b.build, "--userland=host"); err != nil {
		return err
	}
	rates := make(map[string][][]float64) // by mount type and use, each round's
	for _, t := range mountTypes {
		rates[t] = make([][]float64, len(uses))
	}
	for range b.rounds {
		for _, t := range mountTypes {
			took, err := b.useShare(dir, t, len(uses))
			if err != nil {
				return err
			}
			for i, seconds := range took {
				rates[t][i] = append(rates[t][i], uses[i].count/seconds)
			}
		}
	}
	fmt.Printf("%-52s %9s %9s %7s\n", "", mountTypes[0], mountTypes[1], "ratio")
	for i, u := range uses {
		fast, slow := median(rates[mountTypes[0]][i]), median(rates[mountTypes[1]][i])
		fmt.Printf("%-52s %9.0f %9.0f %7.2f\n", "shares: "+u.name+", "+u.unit, fast, slow, fast/slow)
	}
	return nil
}

// buildForBoth builds a kernel that gets its files in either way.
func (b *bench) buildForBoth(flags ...string) error {
	args := []string{"build", "--mount-type", "virtiofs"}
	for _, option := range []string{"NETWORK_FILESYSTEMS=y", "NET_9P=y", "NET_9P_VIRTIO=y", "9P_FS=y"} {
		args = append(args, "--require", option)
	}
	cmd := exec.Command(b.runKernel, append(args, flags...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = b.tree, os.Stderr, os.Stderr, append(os.Environ(), testflake.NixConfig)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run-kernel build: %w", err)
	}
	return nil
}

func fill(dir string) error {
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data) // never fails
	big, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		return err
	}
	defer big.Close()
	for range bigSize / len(data) {
		if _, err := big.Write(data); err != nil {
			return err
		}
	}
	for i := range smallFiles {
		sub := filepath.Join(dir, "small", fmt.Sprint(i%50))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), data[i:i+smallSize], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// useShare returns how long each use took, in seconds.
func (b *bench) useShare(dir, mountType string, uses int) ([]float64, error) {
	cmd := exec.Command(b.runKernel, "boot", "-q", "-O", b.build, "--no-build", "--userland=host",
		"--mount-type", mountType, "--share", "bench:"+dir, "--", timeShare)
	cmd.Dir, cmd.Stderr = b.tree, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run-kernel boot: %w", err)
	}
	var took []float64
	for line := range strings.Lines(string(out)) {
		var nanoseconds float64
		if n, _ := fmt.Sscanf(line, "took %g", &nanoseconds); n == 1 {
			took = append(took, nanoseconds/1e9)
		}
	}
	if len(took) != uses {
		return nil, fmt.Errorf("the guest printed %q", out)
	}
	return took, nil
}
