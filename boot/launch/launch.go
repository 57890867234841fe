// SPDX-License-Identifier: GPL-3.0-only

// Package launch starts the programs of a VM with fewer rights on the host than
// run-kernel has: each is run by a wrapper, which gives up what it won't need.
package launch

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/readonly"
	"github.com/metaspace/run-kernel/internal/confine"
)

const wrapperName = "run-kernel-launch"

// A Limit is what a program is kept from.
type Limit struct{ do []string }

// What the wrapper does before it becomes the program.
const (
	toMount    = "mount"     // readonly.Mount
	toReadOnly = "read-only" // confine.ReadOnly
	toFiles    = "files"     // confine.Files
)

// Mounted is for who may mount. The program runs in a mount namespace of its own, in which
// readonly.Place is dir, mounted read-only, without what is hidden. This holds even
// against a guest that breaks into the program.
func Mounted(dir string, hide ...string) Limit {
	return Limit{slices.Concat([]string{toMount, dir}, hide)}
}

// ReadOnly keeps the program from changing any file but those at and below some paths:
// see confine.ReadOnly.
func ReadOnly(except ...string) Limit {
	return Limit{slices.Concat([]string{toReadOnly}, except)}
}

// Files keeps the program from making devices, and files with the rights of their owner:
// see confine.Files.
func Files() Limit { return Limit{[]string{toFiles}} }

// Command returns a command of a program with as many descriptors as it may have, within
// a limit. It ends with who starts it. The wrapper is this executable, which calls Main.
func Command(limit Limit, program string, args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe",
		Args: slices.Concat([]string{wrapperName, strconv.Itoa(len(limit.do))}, limit.do, []string{program}, args),
	}
}

// Main runs the command and never returns when this package made this process
// for that. Otherwise it does nothing.
func Main() {
	if len(os.Args) < 4 || os.Args[0] != wrapperName {
		return
	}
	rest := os.Args[2:]
	n, err := strconv.Atoi(os.Args[1])
	if err != nil || n < 1 || n >= len(rest) {
		fmt.Fprintf(os.Stderr, "launch: bad arguments %q\n", os.Args)
		os.Exit(125)
	}
	do, program, args := rest[:n], rest[n], rest[n+1:]
	raiseLimit()
	// An exec outside of the main thread loses what the guard has set, and the limits
	// are the thread's.
	runtime.LockOSThread()
	if err := limit(do); err != nil {
		fmt.Fprintf(os.Stderr, "launch %s: %v\n", program, err)
		os.Exit(125)
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		fmt.Fprintf(os.Stderr, "set the parent-death signal: %v\n", err)
		os.Exit(125)
	}
	err = unix.Exec(program, append([]string{program}, args...), os.Environ())
	fmt.Fprintf(os.Stderr, "exec %s: %v\n", program, err)
	os.Exit(125)
}

// limit does what is to be done to this thread.
func limit(do []string) error {
	switch do[0] {
	case toMount:
		if err := readonly.Mount(do[1], do[2:]...); err != nil {
			return fmt.Errorf("mount read-only: %w", err)
		}
	case toReadOnly:
		if err := confine.ReadOnly(do[1:]...); err != nil {
			return fmt.Errorf("make it unable to write: %w", err)
		}
	default:
		if err := confine.Files(); err != nil {
			return fmt.Errorf("confine it: %w", err)
		}
	}
	return nil
}

// raiseLimit allows as many descriptors as the hard limit does: a daemon holds
// one for each file that the guest knows. The Rust virtiofsd does it by itself;
// the C one wants a million, and where it may not raise the hard limit, as in
// containers, it stays with the soft one of often 1024.
func raiseLimit() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		// Setting it keeps Go's runtime from giving the program the one from before.
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
}
