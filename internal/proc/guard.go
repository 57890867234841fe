// SPDX-License-Identifier: GPL-3.0-only

package proc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	guardName = "run-kernel-guard"

	// What the guard says, a line each.
	replyStarted = "started" // with the child's process id
	replyFailed  = "failed"  // with the reason
	replyEnded   = "ended"   // nothing is left
)

// Main turns the process into a guard, and never returns, when Start started
// it as one. Otherwise it does nothing.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != guardName {
		return
	}
	if len(os.Args) < 5 {
		os.Exit(125)
	}
	os.Exit(guard(os.Args[1:]))
}

// guard runs args (number of extra files, clone flags, path, argv…) until it
// ends or run-kernel is gone, and returns its exit status.
func guard(args []string) int {
	extra, err1 := strconv.Atoi(args[0])
	flags, err2 := strconv.ParseUint(args[1], 10, 64)
	if err1 != nil || err2 != nil {
		return 125
	}
	path, argv := args[2], args[3:]
	life := os.NewFile(uintptr(3+extra), "life")
	unix.CloseOnExec(3 + extra)

	// Nobody but run-kernel ends the guard. Catching (rather than ignoring)
	// leaves the child's dispositions at their defaults.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE,
		syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)

	// Daemons that detach from the group become our children instead of init's.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintf(life, "%s become subreaper: %v\n", replyFailed, err)
		return 125
	}

	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	for i := range extra {
		files = append(files, os.NewFile(uintptr(3+i), "extra"))
	}
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: uintptr(flags)}
	if flags&syscall.CLONE_NEWUSER != 0 {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	// The parent-death signal, a second line of defence should the guard itself
	// be killed, belongs to the thread that forks: it must not end.
	runtime.LockOSThread()
	child, err := os.StartProcess(path, argv, &os.ProcAttr{Files: files, Sys: attr})
	if err != nil {
		if errno := syscall.Errno(0); errors.As(err, &errno) {
			err = errno
		}
		fmt.Fprintf(life, "%s %v\n", replyFailed, err)
		return 125
	}
	for _, f := range files {
		_ = f.Close() // else a pipe's reader would wait for us as well
	}
	fmt.Fprintf(life, "%s %d\n", replyStarted, child.Pid)

	killer := sync.OnceFunc(func() { go killChildren(child.Pid) })
	go func() {
		var b [1]byte
		for {
			if n, err := life.Read(b[:]); n == 0 || err != nil {
				killer()
				return
			}
			_ = unix.Kill(-child.Pid, syscall.Signal(b[0]))
		}
	}()

	status := reap(child.Pid)
	if childrenLeft() {
		killer()
		reap(0)
	}
	fmt.Fprintln(life, replyEnded)
	if status.Signaled() {
		dieBy(status.Signal())
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// dieBy ends the process by a signal, without a core file. Go's runtime has
// handlers for most of them, and answers some, such as SIGSEGV, with a stack
// trace and exit status 2; only the kernel's own default will do.
func dieBy(sig syscall.Signal) {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	// All zeros is SIG_DFL in the kernel's struct sigaction, whose size differs
	// between architectures: this is larger than any.
	var action [16]uint64
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), sig)
}

// reap waits for children until pid is among them, or until none is left.
func reap(pid int) unix.WaitStatus {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0
		case got == pid:
			return status
		}
	}
}

// childrenLeft says whether there is any child, zombies included.
func childrenLeft() bool {
	var info unix.Siginfo
	return !errors.Is(unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil), unix.ECHILD)
}

// killChildren kills the process group and then every child, for as long as the
// process lives: killing one may hand us its children, and a list of the
// children may lack some that come or go meanwhile (proc(5)). Only wait(2) knows
// when none is left.
func killChildren(group int) {
	_ = unix.Kill(-group, unix.SIGKILL)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		for _, pid := range children() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(pause)
	}
}

// children lists the guard's children.
func children() []int {
	tasks, _ := os.ReadDir("/proc/self/task")
	var pids []int
	for _, t := range tasks {
		list, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for _, f := range strings.Fields(string(list)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
