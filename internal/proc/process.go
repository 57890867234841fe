// SPDX-License-Identifier: GPL-3.0-only

package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is a child, its process group and all their descendants.
type Process struct {
	guard *exec.Cmd
	pid   int

	mu   sync.Mutex
	life *os.File // our end of the socket; nil once closed

	done chan struct{}
	err  error
}

// Start starts cmd under a guard. It uses cmd's Path, Args, Env, Dir, Stdin,
// Stdout, Stderr, ExtraFiles (which keep their numbers, from 3) and, of
// SysProcAttr, Cloneflags and the id mappings. The caller closes its copies of
// the descriptors; to wait for the end it uses Wait or Done.
func Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.Err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, cmd.Err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start %s: socketpair: %w", cmd.Path, err)
	}
	// Non-blocking, so that closing our end wakes a reader of it.
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, errors.Join(err, unix.Close(pair[0]), unix.Close(pair[1]))
	}
	life, theirs := os.NewFile(uintptr(pair[0]), "guard"), os.NewFile(uintptr(pair[1]), "guard")
	defer theirs.Close()

	var flags uintptr
	if cmd.SysProcAttr != nil {
		flags = cmd.SysProcAttr.Cloneflags
	}
	argv := cmd.Args
	if len(argv) == 0 {
		argv = []string{cmd.Path} // as package exec has it
	}
	guard := &exec.Cmd{
		// The link names our own file even when it was replaced by a newer build.
		Path: "/proc/self/exe",
		Args: append([]string{
			guardName, strconv.Itoa(len(cmd.ExtraFiles)), strconv.FormatUint(uint64(flags), 10), cmd.Path,
		}, argv...),
		Env: cmd.Env, Dir: cmd.Dir,
		Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr,
		ExtraFiles: append(append([]*os.File(nil), cmd.ExtraFiles...), theirs),
		// The terminal's Ctrl-C is for run-kernel, which decides what it means.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := guard.Start(); err != nil {
		life.Close()
		return nil, fmt.Errorf("start %s: guard: %w", cmd.Path, err)
	}
	theirs.Close()

	p := &Process{guard: guard, life: life, done: make(chan struct{})}
	lines := bufio.NewReader(life)
	reply, err := lines.ReadString('\n')
	kind, text, _ := strings.Cut(strings.TrimSpace(reply), " ")
	if err != nil || kind != replyStarted {
		life.Close()
		waitErr := guard.Wait()
		if kind == replyFailed {
			return nil, fmt.Errorf("start %s: %s", cmd.Path, text)
		}
		return nil, fmt.Errorf("start %s: guard ended early: %w", cmd.Path, errors.Join(err, waitErr))
	}
	p.pid, _ = strconv.Atoi(text)
	go p.watchGuard(lines)
	go func() {
		p.err = guard.Wait()
		p.closeLife()
		close(p.done)
	}()
	return p, nil
}

// watchGuard kills the process group of a guard that was killed. The kernel does
// so by the parent-death signal, unless the child has lost that: an exec outside
// of the main thread is enough. And as long as the child has our pipes, the end
// of the guard alone wouldn't show.
func (p *Process) watchGuard(lines *bufio.Reader) {
	if _, err := lines.ReadString('\n'); errors.Is(err, io.EOF) {
		_ = unix.Kill(-p.pid, unix.SIGKILL)
	}
}

// Pid is the process id of the child and of its process group.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the child and all its descendants are gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits until the child and all its descendants are gone. Its error is
// that of exec.Cmd.Wait.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends sig to the process group. It is no error when that is gone.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != nil {
		// A guard that is gone has nothing left to signal.
		_, _ = p.life.Write([]byte{byte(sig)})
	}
}

// Kill kills the process group and every other descendant.
func (p *Process) Kill() { p.closeLife() }

// Stop ends the process group: SIGTERM, and SIGKILL for what is left after
// grace. It returns when all are gone.
func (p *Process) Stop(grace time.Duration) {
	p.Signal(syscall.SIGTERM)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		p.Kill()
		<-p.done
	}
}

func (p *Process) closeLife() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != nil {
		_ = p.life.Close()
		p.life = nil
	}
}

// Run starts cmd and waits for it. When ctx ends first, the process group is
// stopped as Stop does it, and the error is the cause of ctx.
func Run(ctx context.Context, cmd *exec.Cmd, grace time.Duration) error {
	return run(ctx, cmd, grace, func(*Process) {})
}

// RunIdle is Run for a command that gets the processors and disks only when nobody else
// wants them. Where the system doesn't have that, it is an ordinary command.
func RunIdle(ctx context.Context, cmd *exec.Cmd, grace time.Duration) error {
	return run(ctx, cmd, grace, func(p *Process) { idle(p.Pid()) })
}

func run(ctx context.Context, cmd *exec.Cmd, grace time.Duration, started func(*Process)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p, err := Start(cmd)
	if err != nil {
		return err
	}
	started(p)
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Stop(grace)
		return context.Cause(ctx)
	}
	return p.Wait()
}

// Output runs cmd as Run does and returns its standard output; the error of a
// command that failed ends with what it said on standard error.
func Output(ctx context.Context, cmd *exec.Cmd, grace time.Duration) ([]byte, error) {
	var out, errOut strings.Builder
	cmd.Stdout = &out
	if cmd.Stderr == nil {
		cmd.Stderr = &errOut
	} else {
		cmd.Stderr = io.MultiWriter(cmd.Stderr, &errOut)
	}
	err := Run(ctx, cmd, grace)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", cmd.Path, err, strings.TrimSpace(errOut.String()))
	}
	return []byte(out.String()), err
}
