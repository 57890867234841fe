// SPDX-License-Identifier: GPL-3.0-only

package proc_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/internal/proc"
)

const victim = "RUN_KERNEL_TEST_VICTIM"

func TestMain(m *testing.M) {
	// Under the race detector each guard would sleep for a second at its end.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	proc.Main()
	if script := os.Getenv(victim); script != "" {
		// A run-kernel that starts a tree of processes and is then killed.
		cmd := exec.Command("/bin/sh", "-c", script)
		cmd.Stdout = os.Stdout
		if _, err := proc.Start(cmd); err != nil {
			fmt.Println(err)
		}
		select {}
	}
	os.Exit(m.Run())
}

// stubborn prints the ids of three processes that all ignore SIGTERM: the
// leader, a grandchild, and one that left the process group.
const stubborn = `trap '' TERM HUP INT
(trap '' TERM; sleep 1000) &
echo $!
setsid sh -c 'trap "" TERM; echo $$; sleep 1000' &
echo $$
wait`

func readPids(t *testing.T, r *bufio.Reader, n int) []int {
	t.Helper()
	var pids []int
	for range n {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func awaitGone(t *testing.T, pids []int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, pid := range pids {
		for syscall.Kill(pid, 0) == nil {
			if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); strings.Contains(string(stat), ") Z ") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("process %d still runs", pid)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func TestStopKillsTheWholeTree(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", stubborn)
	cmd.Stdout = w
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	pids := readPids(t, bufio.NewReader(r), 3)
	p.Stop(50 * time.Millisecond)
	awaitGone(t, pids)
	if err := p.Wait(); err == nil {
		t.Error("a killed child counts as success")
	}
}

func TestNothingOutlivesSIGKILL(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), victim+"="+stubborn)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := readPids(t, bufio.NewReader(out), 3)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	awaitGone(t, pids)
}

func TestWaitReportsTheChildsEnd(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":        "",
		"exit 7":        "exit status 7",
		"kill -9 $$":    "signal: killed",
		"kill -TERM $$": "signal: terminated",
		// Go's runtime would answer these by itself.
		"kill -SEGV $$": "signal: segmentation fault",
		"kill -ABRT $$": "signal: aborted",
		"kill -QUIT $$": "signal: quit",
		"kill -PIPE $$": "signal: broken pipe",
		"kill -USR1 $$": "signal: user defined signal 1",
	} {
		p, err := proc.Start(exec.Command("/bin/sh", "-c", script))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := p.Wait(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
}

func TestStartFailureIsReported(t *testing.T) {
	_, err := proc.Start(&exec.Cmd{Path: "/nonexistent/tool", Args: []string{"tool"}})
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}

func TestExtraFilesKeepTheirNumbers(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "echo three >&3; ls -l /proc/self/fd | grep -c socket: >&3")
	cmd.ExtraFiles = []*os.File{w}
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	br := bufio.NewReader(r)
	if line, _ := br.ReadString('\n'); line != "three\n" {
		t.Errorf("descriptor 3 got %q", line)
	}
	if line, _ := br.ReadString('\n'); line != "0\n" {
		t.Errorf("%q sockets leaked into the child", line)
	}
	_ = p.Wait()
}

func TestRunReturnsTheCause(t *testing.T) {
	overtaken := errors.New("overtaken")
	ctx, cancel := context.WithCancelCause(context.Background())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = bufio.NewReader(r).ReadString('\n')
		cancel(overtaken)
	}()
	cmd := exec.Command("/bin/sh", "-c", "echo; sleep 1000")
	cmd.Stdout = w
	if err := proc.Run(ctx, cmd, time.Second); !errors.Is(err, overtaken) {
		t.Errorf("got %v", err)
	}
}

func TestLookNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := proc.Look("qemu-system-x86_64", "/nonexistent")
	missing := (*proc.MissingToolError)(nil)
	if !errors.As(err, &missing) || !strings.Contains(missing.Hint(), "qemu-system-x86") {
		t.Errorf("got %v", err)
	}
}

// A package without the version has another one.
func TestInstallHintOfAVersion(t *testing.T) {
	for tool, want := range map[string]string{
		"gcc-11":     "install it: Debian gcc-11; NixOS gcc11",
		"clang-15":   "install it: Debian clang-15; NixOS clang_15",
		"ld.lld-15":  "install it: Debian lld-15; NixOS lld_15",
		"llvm-nm-15": "install it: Debian llvm-15; NixOS llvm_15",
		"llvm-ar":    "install it: Debian llvm; Fedora llvm; Arch llvm; NixOS llvm",
		"bc-15":      "",
		"gcc-mine":   "",
	} {
		if got := proc.InstallHint(tool); got != want {
			t.Errorf("%s: got %q", tool, got)
		}
	}
}

func TestLookOfAPath(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "virtiofsd")
	_, err := proc.Look(missing, "/usr/bin")
	if err == nil || !strings.Contains(err.Error(), missing) || strings.Contains(err.Error(), "PATH") {
		t.Errorf("got %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "")
	if got, err := proc.Look("tool", "/nonexistent", dir); got != filepath.Join(dir, "tool") {
		t.Errorf("in a directory beside $PATH: %q, %v", got, err)
	}
}

// A grandchild that forked twice, has a session of its own and ignores
// signals is the child of nobody that knows it.
const daemonized = `setsid sh -c 'trap "" TERM HUP INT; (echo $(exec sh -c "echo \$PPID"); exec sleep 1000) & exit' &
wait; echo $$; exec sleep 1000`

func TestDaemonsDieWithRunKernel(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), victim+"="+daemonized)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := readPids(t, bufio.NewReader(out), 2)
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Fatalf("process %d: %v", pid, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	awaitGone(t, pids)
}

func TestTheChildDiesWithItsGuard(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "trap '' TERM; echo $$ $PPID; while :; do read x; done")
	cmd.Stdout = w
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	var child, guard int
	if _, err := fmt.Fscan(r, &child, &guard); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(guard, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err == nil {
		t.Error("the end of the guard counts as success")
	}
	awaitGone(t, []int{child})
	// All of these are allowed after the end.
	p.Signal(syscall.SIGTERM)
	p.Stop(time.Second)
	p.Kill()
}

// The parent-death signal is the kernel's and gets lost; the rest of the group
// goes all the same, and a pipe that it holds keeps nobody.
func TestAChildWithoutParentDeathSignalDiesWithItsGuard(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("setpriv", "--pdeathsig", "clear", "/bin/sh", "-c", "echo $$ $PPID; while :; do sleep 1000; done")
	cmd.Stdout = w
	cmd.Stderr = new(bytes.Buffer)
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	var child, guard int
	if _, err := fmt.Fscan(r, &child, &guard); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(guard, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err == nil {
		t.Error("the end of the guard counts as success")
	}
	awaitGone(t, []int{child})
}

// The list of the guard's children is no snapshot: a child that dies while it is
// read hands over its own children unseen. A long line of descendants makes that
// likely.
func TestALineOfDescendantsDies(t *testing.T) {
	const line = `n=$1; echo $$; trap '' TERM
if [ $n -gt 0 ]; then setsid sh -c "$2" sh $((n-1)) "$2" & fi
while :; do sleep 1000; done`
	const length = 8
	for range 5 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/sh", "-c", line, "sh", strconv.Itoa(length-1), line)
		cmd.Stdout = w
		p, err := proc.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		pids := readPids(t, bufio.NewReader(r), length)
		p.Kill()
		_ = p.Wait()
		// Also the sleeps have the pipe.
		if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
			t.Errorf("read %q, %v", rest, err)
		}
		r.Close()
		awaitGone(t, pids)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestManyStartsLeakNothing(t *testing.T) {
	run := func() {
		var out bytes.Buffer
		cmd := exec.Command("/bin/sh", "-c", "echo x; cat")
		cmd.Stdin = strings.NewReader("y\n")
		cmd.Stdout = &out
		if err := proc.Run(context.Background(), cmd, time.Second); err != nil {
			t.Error(err)
		}
		if out.String() != "x\ny\n" {
			t.Errorf("output %q", &out)
		}
		if _, err := proc.Start(&exec.Cmd{Path: "/nonexistent"}); err == nil {
			t.Error("a missing program starts")
		}
	}
	run()
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	var g sync.WaitGroup
	for range 2 {
		g.Go(func() {
			for range 50 {
				run() // two starts
			}
		})
	}
	g.Wait()
	await(t, "goroutines and descriptors to go", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= fds
	})
	children, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children")
	if err == nil && strings.TrimSpace(string(children)) != "" {
		t.Errorf("children are left: %s", children)
	}
}

// await polls for what no event tells.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestOutput(t *testing.T) {
	ctx := context.Background()
	out, err := proc.Output(ctx, exec.Command("/bin/sh", "-c", "echo out; echo err >&2"), time.Second)
	if string(out) != "out\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", "echo out; echo why >&2; exit 3")
	cmd.Stderr = &stderr
	out, err = proc.Output(ctx, cmd, time.Second)
	exit := (*exec.ExitError)(nil)
	if string(out) != "out\n" || !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.HasSuffix(err.Error(), ": why") {
		t.Errorf("got %q, %v", out, err)
	}
	if stderr.String() != "why\n" {
		t.Errorf("the caller's standard error got %q", &stderr)
	}
	cause := errors.New("cause")
	canceled, cancel := context.WithCancelCause(ctx)
	cancel(cause)
	if _, err := proc.Output(canceled, exec.Command("/bin/true"), time.Second); !errors.Is(err, cause) {
		t.Errorf("after the end of the context: %v", err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tail proc.Tail
	for range 1000 {
		fmt.Fprintf(&tail, "%s\n", strings.Repeat("x", 100))
	}
	fmt.Fprint(&tail, "the end\n")
	if s := tail.String(); len(s) > 8<<10 || !strings.HasSuffix(s, "x\nthe end") {
		t.Errorf("%d bytes, ending with %q", len(s), s[len(s)-20:])
	}
}
