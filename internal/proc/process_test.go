// SPDX-License-Identifier: GPL-3.0-only

package proc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/internal/proc"
)

const victim = "RUN_KERNEL_TEST_VICTIM"

func TestMain(m *testing.M) {
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
