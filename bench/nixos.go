// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/internal/testflake"
)

// askSystemd prints when systemd was started and when it had reached
// multi-user.target, in microseconds of the guest's clock.
const askSystemd = `echo "systemd says $(systemctl show -P UserspaceTimestampMonotonic) $(systemctl show -P ActiveEnterTimestampMonotonic multi-user.target)"`

// measureNixOS boots a system with systemd out of nix's store to
// multi-user.target. The floor is what no boot of that system can do without: the
// same kernel in plain qemu with our arguments, to its first process, the
// system's own second stage, and what systemd itself says that it took.
func (b *bench) measureNixOS() error {
	if b.flake == "" || b.debianRoot == "" {
		fmt.Println("nixos: not measured without -flake and -debian-root; to make such a root takes root")
		return nil
	}
	flake, remove, err := b.storedFlake()
	if err != nil {
		return err
	}
	defer remove()
	build := b.build + "-systemd"
	flags := []string{"-O", build, "--flake", flake}
	if err := b.buildForBoth(flags...); err != nil {
		return err
	}
	args, err := b.tuned(filepath.Join(build, "vmlinux"))
	if err != nil {
		return err
	}
	for _, mountType := range mountTypes {
		var whole []pair
		var own, answer, systemd []float64
		for i := range b.rounds + 1 {
			kernel, err := b.boot(args, ready)
			if err != nil {
				return err
			}
			t, err := b.bootSystem(append(flags, "--mount-type", mountType))
			if err != nil {
				return err
			}
			if i == 0 {
				continue // it warms up
			}
			floor := kernel + t.stage2 + t.systemd
			whole = append(whole, pair{t.multiUser, floor})
			own = append(own, (t.multiUser - floor).Seconds())
			answer = append(answer, (t.answer - t.multiUser).Seconds())
			systemd = append(systemd, t.systemd.Seconds())
		}
		row("nixos: start to multi-user.target, by "+mountType, whole)
		fmt.Printf("%-52s %8.2f s\n", "      our own share of it", median(own))
		fmt.Printf("%-52s %8.2f s\n", "      systemd's, as it says", median(systemd))
		fmt.Printf("%-52s %8.2f s\n", "      from there to the first command's output", median(answer))
	}
	return nil
}

// storedFlake copies the flake, with busybox and what it needs to know of the
// root beside it, which is put into nix's store.
func (b *bench) storedFlake() (flake string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "bench-flake-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	flake = filepath.Join(dir, "nixos")
	err = testflake.Copy(flake, b.flake)
	if err == nil {
		err = testflake.AddRoot(flake, b.debianRoot, nixStore)
	}
	return flake, remove, err
}

func nixStore(args ...string) (string, error) {
	cmd := exec.Command("nix-store", args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), testflake.NixConfig), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("nix-store: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// A systemBoot is how long a system's boot took.
type systemBoot struct {
	multiUser, answer time.Duration // from the start of run-kernel
	stage2, systemd   time.Duration // of it
}

// bootSystem boots with the console shown, which tells how far the guest is.
func (b *bench) bootSystem(flags []string) (t systemBoot, err error) {
	cmd := exec.Command(b.runKernel, append(append([]string{"boot", "--no-build", "--serial=log"}, flags...), "--", askSystemd)...)
	cmd.Dir, cmd.Env = b.tree, append(os.Environ(), testflake.NixConfig)
	r, w, err := os.Pipe()
	if err != nil {
		return t, err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	began := time.Now()
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		return t, err
	}
	out := bufio.NewReader(r)
	var seen [4]time.Duration
	var last string
	for i, text := range []string{"<<< stage 2 >>>", "starting systemd", "Multi-User System", "systemd says "} {
		if last, err = await(out, text); err != nil {
			_ = cmd.Process.Kill()
			return t, errors.Join(fmt.Errorf("run-kernel boot: %w", err), cmd.Wait())
		}
		seen[i] = time.Since(began)
	}
	if err := cmd.Wait(); err != nil {
		return t, fmt.Errorf("run-kernel boot: %w", err)
	}
	var started, reached int64
	if _, err := fmt.Sscanf(last, "systemd says %d %d", &started, &reached); err != nil {
		return t, fmt.Errorf("%q: %w", last, err)
	}
	return systemBoot{
		multiUser: seen[2], answer: seen[3], stage2: seen[1] - seen[0], systemd: time.Duration(reached-started) * time.Microsecond,
	}, nil
}
