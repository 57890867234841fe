// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/internal/event"
)

// checkLeaks checks at the end of a test that nothing is left of its VMs.
func checkLeaks(t *testing.T) {
	t.Helper()
	count := func() (fds, goroutines, children int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		lists, _ := filepath.Glob("/proc/self/task/*/children")
		for _, l := range lists {
			list, _ := os.ReadFile(l)
			children += len(strings.Fields(string(list)))
		}
		return len(entries), runtime.NumGoroutine(), children
	}
	fds, goroutines, _ := count()
	t.Cleanup(func() {
		deadline := time.Now().Add(10 * time.Second)
		for {
			f, g, c := count()
			if f <= fds && g <= goroutines && c == 0 {
				return
			}
			if time.Now().After(deadline) {
				stacks := make([]byte, 64<<10)
				stacks = stacks[:runtime.Stack(stacks, true)]
				t.Errorf("left: descriptors %d → %d, goroutines %d → %d, %d children\n%s", fds, f, goroutines, g, c, stacks)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

func start(t *testing.T, o Options) (*VM, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errors.New("Start hangs"))
	defer cancel()
	vm, err := Start(ctx, o)
	if vm != nil {
		t.Cleanup(func() { _ = vm.Stop() })
	}
	return vm, err
}

func run(t *testing.T, vm *VM, line string) (string, int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errors.New("Run hangs"))
	defer cancel()
	var out bytes.Buffer
	status, err := Run(ctx, vm.Client(), Command{Shell: line, Stdout: &out})
	return out.String(), status, err
}

func TestGuestThatAnswers(t *testing.T) {
	checkLeaks(t)
	l := newLab(t, "answers")
	var mu sync.Mutex
	var events []string
	o := l.options()
	o.ConsoleLog = filepath.Join(l.Dir, "state", "console.log")
	o.Events = func(e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, strings.TrimPrefix(fmt.Sprintf("%T", e), "event."))
	}
	vm, err := start(t, o)
	if err != nil {
		t.Fatal(err)
	}
	if out, status, err := run(t, vm, "echo hello; exit 3"); out != "hello\n" || status != 3 || err != nil {
		t.Errorf("got %q, %d, %v", out, status, err)
	}
	vm.Sync()
	select {
	case <-vm.Done():
		t.Error("it is gone")
	default:
	}
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			if err := vm.Stop(); err != nil {
				t.Errorf("Stop: %v", err)
			}
		})
	}
	g.Wait()
	if err := vm.Err(); err != nil {
		t.Errorf("Err: %v", err)
	}
	if _, _, err := run(t, vm, "true"); !errors.Is(err, ErrGone) {
		t.Errorf("a command after the end: %v", err)
	}
	vm.Sync()
	if log, err := os.ReadFile(o.ConsoleLog); string(log) != "[    0.000000] Linux version 0.0.0\r\n" {
		t.Errorf("log %q, %v", log, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(events, " "); got != "BootStarted Console BootReady" {
		t.Errorf("events %s", got)
	}
}

// Who knows the guest from its start on may ask for its agent at any time; see also
// go test -race.
func TestClientBeforeTheAgent(t *testing.T) {
	l := newLab(t, "answers")
	o := l.options()
	var looking sync.WaitGroup
	var early bool
	o.Started = func(vm *VM) {
		early = vm.Client() != nil
		looking.Go(func() {
			for vm.Client() == nil {
				select {
				case <-vm.Done():
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	if _, err := start(t, o); err != nil {
		t.Fatal(err)
	}
	looking.Wait()
	if early {
		t.Error("the agent answers before the guest runs")
	}
}

func TestGuestEndsByItself(t *testing.T) {
	for line, check := range map[string]func(vm *VM, err error) bool{
		"kill -USR1 $PPID; sleep 1000": func(_ *VM, err error) bool { return err == nil },
		"kill -USR2 $PPID; sleep 1000": func(vm *VM, err error) bool {
			crash := (*CrashError)(nil)
			return errors.As(err, &crash) && crash.Crash.Message == "Kernel panic - not syncing: Fatal exception" && len(crash.Tail) == 4 && vm.Crash().Panic
		},
		"kill -KILL $PPID; sleep 1000": func(_ *VM, err error) bool {
			death := (*DeathError)(nil)
			return errors.As(err, &death) && strings.Contains(err.Error(), "killed") && len(ConsoleTail(err)) == 1
		},
	} {
		t.Run(line, func(t *testing.T) {
			checkLeaks(t)
			vm, err := start(t, newLab(t, "answers").options())
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := run(t, vm, line); !errors.Is(err, ErrGone) {
				t.Errorf("the command: %v", err)
			}
			if err := vm.Err(); !check(vm, err) {
				t.Errorf("got %v", err)
			}
			if err, again := vm.Err(), vm.Stop(); err != again {
				t.Errorf("Stop afterwards: %v", again)
			}
		})
	}
}

func TestGuestThatDoesNotComeUp(t *testing.T) {
	checkLeaks(t) // of all, which wait at the same time
	for _, test := range []struct {
		guest   string
		timeout time.Duration
		want    any
		text    string
		tail    int
	}{
		{"panics", 0, new(*CrashError), "Fatal exception (after: BUG: kernel NULL", 4},
		{"panics in a line", 0, new(*CrashError), "Kernel panic - not syncing: Fatal exception", 3},
		{"panics and hangs", 0, new(*CrashError), "Fatal exception (after: BUG: kernel NULL", 4},
		{"oopses", 0, new(*DeathError), "the guest reset itself", 2},
		{"reset", 0, new(*DeathError), "without a word", 0},
		{"resets", 0, new(*DeathError), "the guest reset itself", 1},
		{"powers off", 0, new(*DeathError), "powered itself off before", 1},
		{"init fails", 0, new(*InitError), "no tmpfs", 2},
		{"systemd freezes", 0, new(*InitError), "init failed: systemd: Failed to mount API filesystems.", 2},
		{"error", 0, new(*DeathError), "exit status 1: qemu-system-x86_64: -device nonsense: no such device", 0},
		{"babbles", 0, new(*DeathError), "agent: ssh: handshake failed", 1},
		{"silent", time.Second, new(*TimeoutError), "nothing at all", 0},
		{"says nothing more", 2 * time.Second, new(*TimeoutError), "neither answered nor wrote", 1},
		{"locks up", time.Minute, new(*TimeoutError), "times: watchdog: BUG: soft lockup - CPU#0 stuck for 22s!", -1},
		{"talks", time.Minute, new(*TimeoutError), "the guest hasn't answered for 3s, although it writes", -1},
	} {
		t.Run(test.guest, func(t *testing.T) {
			t.Parallel()
			o := newLab(t, test.guest).options()
			o.Timeout, o.Limit = test.timeout, 8*time.Second
			if test.guest == "talks" {
				o.Limit = 3 * time.Second
			}
			began := time.Now()
			_, err := start(t, o)
			if err == nil {
				t.Fatal("it comes up")
			}
			if !errors.As(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %T %v", errors.Unwrap(err), err)
			}
			var death *DeathError
			if errors.As(err, &death) && death.Host != (test.guest == "error") {
				t.Errorf("the host's fault: %v", death.Host)
			}
			if tail := ConsoleTail(err); test.tail >= 0 && len(tail) != test.tail {
				t.Errorf("tail %q", tail)
			}
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// A guest that hangs is booted once more, and no more than that.
func TestStalls(t *testing.T) {
	checkLeaks(t) // of all, which wait at the same time
	const stall = "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"
	for _, test := range []struct {
		first, next, warning string
		check                func(err error) bool
	}{
		{"stalls", "answers", stall, func(err error) bool { return err == nil }},
		{"stalls", "stalls", stall, func(err error) bool {
			return errors.As(err, new(*TimeoutError)) && strings.HasSuffix(err.Error(), "its kernel hangs, "+stall)
		}},
		{"has no port", "answers", guest.NoPort, func(err error) bool { return err == nil }},
		{"has no port", "has no port", guest.NoPort, func(err error) bool {
			var failed *InitError
			return errors.As(err, &failed) && failed.Reason == guest.NoPort && !strings.Contains(failed.Hint(), "kconfig")
		}},
	} {
		t.Run(test.first+", then "+test.next, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, test.first)
			o := l.options()
			o.Timeout = 4 * time.Second
			var boots, warnings atomic.Int32
			o.Events = func(e event.Event) {
				switch e := e.(type) {
				case event.BootStarted:
					boots.Add(1)
				case event.Warning:
					warnings.Add(1)
					if !strings.Contains(e.Text, test.warning) {
						t.Errorf("the warning is %q", e.Text)
					}
					l.Become(t, test.next)
				}
			}
			if _, err := start(t, o); !test.check(err) {
				t.Errorf("got %v", err)
			}
			if boots.Load() != 2 || warnings.Load() != 1 {
				t.Errorf("%d boots, %d warnings", boots.Load(), warnings.Load())
			}
		})
	}
}

// A guest that stands still for a debugger is silent for another reason, and isn't taken
// from who looks for it.
func TestDebuggerWhileBooting(t *testing.T) {
	checkLeaks(t)
	o := newLab(t, "says nothing more").options()
	o.Timeout, o.Limit = 500*time.Millisecond, time.Second
	attached := make(chan *Debugger, 1)
	o.Started = func(vm *VM) {
		d, err := vm.Debugger()
		if err != nil {
			t.Error(err)
		}
		attached <- d
	}
	ended := make(chan error, 1)
	go func() {
		_, err := start(t, o)
		ended <- err
	}()
	d := <-attached
	select {
	case err := <-ended:
		t.Fatalf("it is given up: %v", err)
	case <-time.After(3 * time.Second):
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.As(err, new(*TimeoutError)) {
		t.Errorf("without the debugger: got %v", err)
	}
}

func TestStartIsCanceled(t *testing.T) {
	checkLeaks(t)
	cause := errors.New("overtaken")
	ctx, cancel := context.WithCancelCause(context.Background())
	o := newLab(t, "says nothing more").options()
	o.Events = func(e event.Event) {
		if _, ok := e.(event.Console); ok {
			cancel(cause)
		}
	}
	if _, err := Start(ctx, o); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestDaemonFails(t *testing.T) {
	checkLeaks(t)
	l := newLab(t, "says nothing more")
	l.Script(t, l.Virtiofsd, "case $1 in --help) echo --shared-dir --readonly; exit;; esac\necho no such luck >&2; exit 7\n")
	_, err := start(t, l.options())
	death := (*DeathError)(nil)
	if !errors.As(err, &death) || !strings.Contains(err.Error(), "run-kernel.root") || !strings.Contains(err.Error(), "exit status 7: no such luck") {
		t.Errorf("got %v", err)
	}
	// qemu notices, and may be seen to end first.
	l = newLab(t, "error")
	l.Script(t, l.Virtiofsd, "case $1 in --help) echo --shared-dir --readonly; exit;; esac\necho no such luck >&2; exit 7\n")
	_, err = start(t, l.options())
	if !errors.As(err, &death) || !death.Host || !strings.Contains(err.Error(), "exit status 7: no such luck") || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v", err)
	}
}

func TestDaemonDiesLater(t *testing.T) {
	checkLeaks(t)
	vm, err := start(t, newLab(t, "answers").options())
	if err != nil {
		t.Fatal(err)
	}
	vm.daemons[0].Signal(syscall.SIGKILL)
	death := (*DeathError)(nil)
	if err := vm.Err(); !errors.As(err, &death) || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsLeftWhereStartFails(t *testing.T) {
	checkLeaks(t)
	l := newLab(t, "answers")
	for name, change := range map[string]func(o *Options){
		"no such file or directory": func(o *Options) { o.QEMU = brokenScript(t, l) },
		"console log":               func(o *Options) { o.ConsoleLog = filepath.Join(l.Kernel, "log") },
		"at least one CPU":          func(o *Options) { o.CPUs = 0 },
		"is not a file":             func(o *Options) { o.Kernel = l.Dir },
		"accelerator":               func(o *Options) { o.Accel = "hvf" },
		"no program":                func(o *Options) { o.QEMU = l.Dir + "/none" },
		"not a directory":           func(o *Options) { o.Userland = l.Kernel },
	} {
		o := l.options()
		change(&o)
		if _, err := start(t, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// brokenScript is a program that can be found but not started.
func brokenScript(t *testing.T, l *lab) string {
	t.Helper()
	path := filepath.Join(l.Dir, "broken")
	if err := os.WriteFile(path, []byte("#!/nonexistent/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// What the kernel of one architecture knows is no advice for another's.
func TestResetHint(t *testing.T) {
	for name, want := range map[string]string{
		"x86_64":  "is the image a kernel for this machine? --kernel-extra-args earlyprintk=ttyS0 may show more",
		"riscv64": "is the image a kernel for this machine?",
	} {
		if got := (&VM{arch: name}).death("guest-reset", nil, nil).(*DeathError).Hint(); got != want {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
