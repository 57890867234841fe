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
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	guardName = "run-kernel-guard"

	replyStarted = "started" // with the child's process id
	replyFailed  = "failed"  // with the reason
)

// Main turns the process into a guard, and never returns, when Start started
// it as one. Otherwise it does nothing.
func Main() {
	if len(os.Args) > 4 && os.Args[0] == guardName {
		os.Exit(guard(os.Args[1:]))
	}
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

	go func() {
		var b [1]byte
		for {
			if n, err := life.Read(b[:]); n == 0 || err != nil {
				killAll(child.Pid)
				return
			}
			_ = unix.Kill(-child.Pid, syscall.Signal(b[0]))
		}
	}()

	status := reap(child.Pid)
	killAll(child.Pid) // what the child left behind
	reap(0)
	if status.Signaled() {
		// Die as the child did, without a core file of the guard.
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
		signal.Reset()
		_ = unix.Kill(os.Getpid(), status.Signal())
		time.Sleep(time.Second) // another thread may be the one that takes it
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
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

// killAll kills the process group and then, until none is left, every child:
// killing one may hand us its children.
func killAll(group int) {
	_ = unix.Kill(-group, unix.SIGKILL)
	for {
		pids := children()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		runtime.Gosched()
	}
}

// children lists the guard's children that still run.
func children() []int {
	tasks, _ := os.ReadDir("/proc/self/task")
	var pids []int
	for _, t := range tasks {
		list, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for _, f := range strings.Fields(string(list)) {
			if pid, err := strconv.Atoi(f); err == nil && !zombie(pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	// The state follows the command name, which may hold anything but ends with
	// the last parenthesis; see proc(5).
	_, rest, _ := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}
