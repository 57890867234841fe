// SPDX-License-Identifier: GPL-3.0-only

package virtiofs

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/readonly"
)

const wrapperName = "run-kernel-virtiofsd"

// readOnlyCommand runs program in a mount namespace of its own, in which
// readonly.Place is dir, mounted read-only. The C virtiofsd has no such option, and
// this holds even against a guest that breaks into the daemon.
func readOnlyCommand(dir, program string, args []string) *exec.Cmd {
	return wrap(dir, program, args)
}

// wrap runs program with as many descriptors as it may have and, unless dir is
// empty, with the mount of readOnlyCommand.
func wrap(dir, program string, args []string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe",
		Args: append([]string{wrapperName, dir, program}, args...),
	}
}

// Main runs the command and never returns when this package made this process
// for that. Otherwise it does nothing.
func Main() {
	if len(os.Args) < 3 || os.Args[0] != wrapperName {
		return
	}
	dir, program, args := os.Args[1], os.Args[2], os.Args[3:]
	raiseLimit()
	if dir != "" {
		if err := readonly.Mount(dir); err != nil {
			fmt.Fprintf(os.Stderr, "mount read-only: %v\n", err)
			os.Exit(125)
		}
	}
	// An exec outside of the main thread loses what the guard has set.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		fmt.Fprintf(os.Stderr, "set the parent-death signal: %v\n", err)
		os.Exit(125)
	}
	err := unix.Exec(program, append([]string{program}, args...), os.Environ())
	fmt.Fprintf(os.Stderr, "exec %s: %v\n", program, err)
	os.Exit(125)
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
