// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/internal/leftover"
	"github.com/metaspace/run-kernel/internal/proc"
)

const (
	// boot is the kind of a round without a kill; the others' is the victim.
	boot = "boot"
	// graceTime is how long run-kernel may take to end when it is asked to.
	graceTime = 10 * time.Second
	// bootTime is how long a boot takes where none has been seen yet.
	bootTime = 3 * time.Second
	// died is run-kernel's exit status when the VM did.
	died = 103

	markVariable = "SOAK_MARK" // not RUN_KERNEL_…, which run-kernel takes for settings
)

// A victim is what gets killed in a round.
type victim struct {
	cmdline *regexp.Regexp // nil: run-kernel itself
	status  int            // run-kernel's exit status then
}

// The guards have the command line of their charges after a name of their own.
var victims = map[string]victim{
	"run-kernel": {nil, 128 + int(syscall.SIGKILL)},
	"qemu":       {regexp.MustCompile(`^\S*qemu-system-`), died},
	"virtiofsd":  {regexp.MustCompile(`^\S*virtiofsd --fd`), died},
}

func (s *soak) checkVictims() error {
	for _, v := range s.victims {
		if _, ok := victims[v]; !ok {
			return fmt.Errorf("-victims: %q is none of run-kernel, qemu and virtiofsd", v)
		}
	}
	return nil
}

// lookProgram finds the program, so that it is found from the tree as well.
func lookProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// adopt makes orphans below us our children, so that none is missed.
func adopt() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// A round is one run of run-kernel.
type round struct {
	kind string
	busy bool

	number int
	mark   leftover.Mark
	load   *load
	killed time.Time     // zero: not
	took   time.Duration // a boot's, or from the kill until nothing was left
	when   string        // it was killed
	failed []string      // what went wrong
}

func (r *round) fail(format string, args ...any) {
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

// do does a round and prints how it went. Its error is one of ours, not of
// run-kernel's.
func (s *soak) do(ctx context.Context, r *round) (err error) {
	r.number = len(s.rounds) + 1
	r.mark = leftover.Mark(fmt.Sprintf("%s=%s-%d", markVariable, s.name, r.number))
	private := filepath.Join(s.dir, fmt.Sprint(r.number))
	env := append(os.Environ(), string(r.mark))
	for _, variable := range []string{"TMPDIR", "XDG_RUNTIME_DIR"} {
		dir := filepath.Join(private, variable)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		env = append(env, variable+"="+dir)
	}
	// The directory of its sockets stays.
	if err := os.MkdirAll(filepath.Join(private, "XDG_RUNTIME_DIR", "run-kernel"), 0o700); err != nil {
		return err
	}
	// What the tree keeps of a VM comes with the first one.
	dirs := []string{private, "/dev/shm"}
	if _, err := os.Stat(filepath.Join(s.state, "console.log")); err == nil {
		dirs = append(dirs, s.state)
	}
	before, err := leftover.Take([]string{s.name, private}, dirs)
	if err != nil {
		return err
	}
	if r.busy {
		if r.load, err = startLoad(); err != nil {
			return err
		}
	}
	defer r.load.end()

	token := fmt.Sprintf("%s-%d", s.name, r.number)
	// A guest's silence doesn't end it before our limit.
	args := []string{"boot", "--no-build", "--name=" + s.name, "--accel=" + s.accel, "--boot-timeout=" + s.limit.String()}
	if s.build != s.tree {
		args = append(args, "-O", s.build)
	}
	if r.kind == boot {
		args = append(args, "--", "test -r /proc/1/stat && echo "+token)
	} else {
		args = append(args, "--", "exec sleep 100000")
	}
	cmd := exec.Command(s.runKernel, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.tree, env, &stdout, &stderr
	cmd.WaitDelay = graceTime
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the status says it
		close(ended)
	}()
	status := 0
	if r.kind == boot {
		s.await(ctx, r, cmd, ended)
		r.took = time.Since(began)
		if got := strings.TrimSpace(stdout.String()); got != token {
			r.fail("the command's output is %q, not %q", got, token)
		}
	} else {
		status = victims[r.kind].status
		s.kill(ctx, r, cmd, ended)
	}
	if got := proc.ExitStatus(cmd.ProcessState); got != status {
		r.fail("exit status %d, not %d", got, status)
	}
	left := s.awaitNothing(r, before)
	if r.kind != boot && !r.killed.IsZero() {
		if r.took = time.Since(r.killed); r.took > s.end {
			r.fail("all ended %s after the kill, not within %s", seconds(r.took), s.end)
		}
	}
	if ctx.Err() != nil {
		r.failed = nil // it was ended by us; what it left counts all the same
	}
	for _, what := range left {
		r.fail("left behind: %s", what)
	}
	r.load.end()
	s.clear(r)
	if err := os.RemoveAll(private); err != nil {
		return err
	}
	if ctx.Err() == nil || len(r.failed) > 0 {
		s.rounds = append(s.rounds, r)
		s.show(r, stderr.String())
	}
	return nil
}

// await waits for the end of a boot.
func (s *soak) await(ctx context.Context, r *round, cmd *exec.Cmd, ended <-chan struct{}) {
	limit := time.NewTimer(s.limit)
	defer limit.Stop()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	case <-limit.C:
		r.fail("no end within %s", s.limit)
	}
	stop(cmd, ended)
}

// stop ends run-kernel before its time.
func stop(cmd *exec.Cmd, ended <-chan struct{}) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(graceTime):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// kill waits for the victim, and then for a random time as long as a boot and a half
// takes, kills it, and waits for the end of run-kernel.
func (s *soak) kill(ctx context.Context, r *round, cmd *exec.Cmd, ended <-chan struct{}) {
	v := victims[r.kind]
	delay := time.Duration(s.random.Float64() * 1.5 * float64(s.usualBoot(r.busy)))
	limit := time.NewTimer(s.limit)
	defer limit.Stop()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	var due <-chan time.Time
	if v.cmdline == nil {
		due = time.After(delay)
	}
	for r.killed.IsZero() {
		select {
		case <-poll.C:
			if due == nil && len(r.matching(v.cmdline)) > 0 {
				due = time.After(delay)
				poll.Stop()
			}
		case <-due:
			pid := cmd.Process.Pid
			if v.cmdline != nil {
				pids := r.matching(v.cmdline)
				if len(pids) == 0 {
					r.fail("there was no %s any more after %s", r.kind, seconds(delay))
					stop(cmd, ended)
					return
				}
				pid = pids[s.random.IntN(len(pids))]
			}
			r.when = fmt.Sprintf("%s after its start", seconds(delay))
			r.killed = time.Now()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				r.fail("kill -9 of %s, process %d: %v", r.kind, pid, err)
			}
		case <-ended:
			r.fail("run-kernel ended before %s was killed", r.kind)
			return
		case <-ctx.Done():
			stop(cmd, ended)
			return
		case <-limit.C:
			r.fail("no %s came up within %s", r.kind, s.limit)
			stop(cmd, ended)
			return
		}
	}
	select {
	case <-ended:
	case <-time.After(10 * s.end):
		r.fail("run-kernel goes on %s after the kill", 10*s.end)
		stop(cmd, ended)
	}
}

// matching returns the round's processes with such a command line, in order.
func (r *round) matching(cmdline *regexp.Regexp) []int {
	var pids []int
	for pid, c := range r.mark.Processes() {
		if cmdline.MatchString(c) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// usualBoot is how long a boot takes.
func (s *soak) usualBoot(busy bool) time.Duration {
	var took []time.Duration
	for _, r := range s.rounds {
		if r.kind == boot && r.busy == busy && len(r.failed) == 0 {
			took = append(took, r.took)
		}
	}
	if len(took) == 0 {
		return bootTime
	}
	return median(took)
}

// processes are those of the round that run, each with its command line.
func (r *round) processes() map[int]string {
	found := r.mark.Processes()
	for pid, cmdline := range leftover.Descendants(os.Getpid()) {
		if !r.load.has(pid) {
			found[pid] = cmdline
		}
	}
	return found
}

// awaitNothing waits until nothing is left of a round, and returns what is in the
// end.
func (s *soak) awaitNothing(r *round, before *leftover.Stock) []string {
	deadline := time.Now().Add(s.end)
	if !r.killed.IsZero() {
		deadline = r.killed.Add(s.end)
	}
	for {
		var left []string
		for pid, cmdline := range r.processes() {
			left = append(left, "process "+leftover.Describe(pid, cmdline))
		}
		added, err := before.Added()
		if err != nil {
			added = []string{err.Error()}
		}
		left = append(left, added...)
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// clear kills what is left of a round, so that the next one is by itself, and waits
// until it's gone. Its load has ended.
func (s *soak) clear(r *round) {
	for deadline := time.Now().Add(graceTime); ; time.Sleep(5 * time.Millisecond) {
		left := r.processes()
		for pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // or gone
		}
		reap()
		if len(left) == 0 || time.Now().After(deadline) {
			return
		}
	}
}

// reap reaps the orphans that have become ours.
func reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
	}
}
