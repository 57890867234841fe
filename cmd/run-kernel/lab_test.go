// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/metaspace/run-kernel/boot/launch"
	"github.com/metaspace/run-kernel/boot/readonly"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/leftover"
	"github.com/metaspace/run-kernel/internal/private"
	"github.com/metaspace/run-kernel/internal/proc"
	"github.com/metaspace/run-kernel/internal/tty"
)

// The end-to-end tests run the program as a user would, on a real kernel tree
// with the real make, qemu and virtiofsd. ./test prepares what they need and
// names it in the environment; where it doesn't, they are skipped.

const (
	// patience is how long a test waits for what must come, on a busy machine.
	patience = 3 * time.Minute
	// buildPatience is how long a kernel may take to build.
	buildPatience = 45 * time.Minute
	// markVariable marks the processes of one test in their environment.
	markVariable = "RUN_KERNEL_TEST_MARK"
)

// programDir has the executable under test, once a test has asked for it.
var programDir string

// program is the executable under test.
var program = sync.OnceValues(func() (string, error) { return compile("run-kernel", ".") })

// soakProgram is that of bench/soak.
var soakProgram = sync.OnceValues(func() (string, error) { return compile("soak", "../../bench/soak") })

// makeProgramDir makes programDir.
var makeProgramDir = sync.OnceValue(func() (err error) {
	// In the cache, which other roots see at the same place.
	if programDir, err = os.MkdirTemp(os.Getenv("RUN_KERNEL_TEST_CACHE"), "bin-"); err != nil {
		return err
	}
	// Readable to all: tests run it as another user.
	return os.Chmod(programDir, 0o755)
})

// compile compiles a program into programDir, and returns its path.
func compile(name, source string) (string, error) {
	if err := makeProgramDir(); err != nil {
		return "", err
	}
	path := filepath.Join(programDir, name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
}

func TestMain(m *testing.M) {
	// The scripts run this executable as run-kernel, which runs itself in other
	// roles.
	proc.Main()
	private.Main()
	readonly.Main()
	launch.Main()
	tty.Main()
	testscript.Main(tests{m}, map[string]func(){"run-kernel": main})
}

// tests are all tests, and what is done after them.
type tests struct{ *testing.M }

// Run implements testscript.TestingM.
func (t tests) Run() int {
	if err := makeSlots(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := t.M.Run()
	if programDir != "" {
		_ = os.RemoveAll(programDir)
	}
	return status
}

// need returns the value of a variable that ./test sets, or skips the test.
func need(t *testing.T, variable, what string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" && os.Getenv("RUN_KERNEL_TEST_REQUIRE") != "" {
		t.Fatalf("%s isn't set: ./test should have prepared a %s", variable, what)
	}
	if value == "" {
		t.Skipf("%s isn't set: no %s; ./test prepares it", variable, what)
	}
	return value
}

// virtiofsRuns tells whether there is a virtiofsd that runs for this user. Debian
// 12's only runs for root; others get their guests' files by 9p.
func virtiofsRuns(t *testing.T) bool {
	t.Helper()
	_, err := virtiofs.Find(t.Context(), "")
	return err == nil
}

// A lab is a place where run-kernel runs.
type lab struct {
	t       *testing.T
	program string        // empty: the one that all share
	dir     string        // working directory
	temp    string        // where it and what it starts put temporary files, unless it is wrapped
	wrap    []string      // the command that runs the program: chroot, su …
	env     []string      // beside the test's own
	limit   time.Duration // of a run; 0: patience
	mark    string
	lonely  bool // no other test runs
}

// newLab returns a lab whose processes are known from others, and which checks
// in the end that none is left. Other tests run beside the test then.
func newLab(t *testing.T, dir string) *lab {
	t.Helper()
	parallel(t)
	l := newLonelyLab(t, dir)
	l.lonely = false
	return l
}

// newLonelyLab is newLab for when no other test runs.
func newLonelyLab(t *testing.T, dir string) *lab {
	t.Helper()
	l := &lab{t: t, lonely: true, dir: dir, temp: t.TempDir(), mark: fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano())}
	t.Cleanup(func() {
		if left := l.await(time.Now().Add(time.Second+busy), nil); len(left) > 0 {
			t.Errorf("left behind: %s", strings.Join(left, "; "))
		}
		// What a killed compiler leaves isn't run-kernel's.
		for _, pattern := range []string{"run-kernel*", "kconfig-*"} {
			if left, _ := filepath.Glob(filepath.Join(l.temp, pattern)); len(left) > 0 {
				t.Errorf("left behind: %s", strings.Join(left, "; "))
			}
		}
	})
	return l
}

// enter waits until the test may run.
func (l *lab) enter() {
	l.t.Helper()
	if !l.lonely {
		enter(l.t)
	}
}

// command is the program with arguments.
func (l *lab) command(args ...string) *exec.Cmd {
	l.t.Helper()
	l.enter()
	path := l.program
	if path == "" {
		var err error
		if path, err = program(); err != nil {
			l.t.Fatal(err)
		}
	}
	argv := append(append(append([]string{}, l.wrap...), path), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = l.dir
	cmd.Env = os.Environ()
	if len(l.wrap) > 0 {
		cmd.Dir = "/"
	} else {
		cmd.Env = append(cmd.Env, "TMPDIR="+l.temp)
	}
	cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+l.t.TempDir(), "XDG_STATE_HOME="+l.t.TempDir(), markVariable+"="+l.mark)
	cmd.Env = append(cmd.Env, l.env...)
	return cmd
}

// A result is how a run ended.
type result struct {
	stdout, stderr string
	status         int
	elapsed        time.Duration
}

// run runs the program to its end.
func (l *lab) run(args ...string) result { return l.runInput("", args...) }

func (l *lab) runInput(stdin string, args ...string) result {
	l.t.Helper()
	cmd := l.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Stdin = strings.NewReader(stdin)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	limit := cmp.Or(l.limit, patience)
	if slices.Contains(args, "build") {
		limit = buildPatience
	}
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		l.t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), proc.ExitStatus(cmd.ProcessState), time.Since(began)}
}

// expect fails the test unless the run ended with this status.
func (l *lab) expect(r result, status int) result {
	l.t.Helper()
	if r.status != status {
		l.t.Fatalf("status %d, want %d\nstdout: %s\nstderr: %s", r.status, status, r.stdout, r.stderr)
	}
	return r
}

// marked is the mark as a process's environment has it.
func (l *lab) marked() leftover.Mark { return leftover.Mark(markVariable + "=" + l.mark) }

// processes lists the lab's processes that run, each with its command line.
func (l *lab) processes() map[int]string { return l.marked().Processes() }

// await waits until no process of the lab is left but those that keep accepts,
// and returns what is left at the deadline.
func (l *lab) await(deadline time.Time, keep func(cmdline string) bool) []string {
	return l.marked().Await(deadline, keep)
}

// awaitProcess waits until the command line of a process of the lab matches
// pattern, and returns its id.
func (l *lab) awaitProcess(pattern string) int {
	l.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for pid, cmdline := range l.processes() {
			if re.MatchString(cmdline) {
				return pid
			}
		}
	}
	l.t.Fatalf("no process like %q came up", pattern)
	return 0
}

// An ongoing is a run of run-kernel that has not ended.
type ongoing struct {
	l      *lab
	cmd    *exec.Cmd
	output *transcript
	ended  chan struct{}
}

// start starts the program; its output, standard error included, is collected.
func (l *lab) start(args ...string) *ongoing {
	l.t.Helper()
	s := l.newOngoing(args...)
	s.collect()
	return s
}

func (l *lab) newOngoing(args ...string) *ongoing {
	l.t.Helper()
	return &ongoing{l: l, cmd: l.command(args...), output: newTranscript(), ended: make(chan struct{})}
}

// collect starts the run's command with its output collected.
func (s *ongoing) collect() {
	s.l.t.Helper()
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.begin()
	go func() {
		<-s.ended
		s.output.close()
	}()
}

// begin starts the run's command, which ends with the test at the latest.
func (s *ongoing) begin() {
	s.l.t.Helper()
	if err := s.cmd.Start(); err != nil {
		s.l.t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	t := s.l.t
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(s.cmd.Args, " "), s.output)
		}
	})
}

// wait waits for text in what the run has printed since the last wait.
func (s *ongoing) wait(text string) string {
	s.l.t.Helper()
	seen, err := s.output.wait(text, patience)
	if err != nil {
		s.l.t.Fatalf("%q didn't come: %v", text, err)
	}
	return seen
}

// end sends a signal and returns the exit status and the time that it took.
func (s *ongoing) end(sig syscall.Signal) (status int, took time.Duration) {
	s.l.t.Helper()
	began := time.Now()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.l.t.Fatal(err)
	}
	return s.awaitEnd(), time.Since(began)
}

// awaitEnd waits until the run has ended, and returns its exit status.
func (s *ongoing) awaitEnd() int {
	s.l.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.l.t.Fatalf("%s goes on", strings.Join(s.cmd.Args, " "))
	}
	return proc.ExitStatus(s.cmd.ProcessState)
}

// A transcript is output that can be waited for.
type transcript struct {
	mu     sync.Mutex
	data   []byte
	read   int // up to here it has been waited for
	closed bool
	more   chan struct{}
}

func newTranscript() *transcript { return &transcript{more: make(chan struct{})} }

func (x *transcript) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.data = append(x.data, p...)
	close(x.more)
	x.more = make(chan struct{})
	return len(p), nil
}

func (x *transcript) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	close(x.more)
	x.more = make(chan struct{})
}

func (x *transcript) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return string(x.data)
}

func (x *transcript) wait(text string, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		x.mu.Lock()
		rest := x.data[x.read:]
		if i := bytes.Index(rest, []byte(text)); i >= 0 {
			x.read += i + len(text)
			x.mu.Unlock()
			return string(rest[:i+len(text)]), nil
		}
		closed, more := x.closed, x.more
		x.mu.Unlock()
		if closed {
			return "", io.ErrUnexpectedEOF
		}
		select {
		case <-more:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// A kernel is a tree with a build that boots.
type kernel struct {
	source, build string
	copied        bool     // the build is a copy, with which nobody builds
	require       string   // options, beside those of a boot by virtiofs
	profiles      string   // of options
	env           []string // of its labs
	trixie        bool     // its labs are in the Debian 13 chroot
	lab           *lab
}

// ninePOptions are for booting by 9p as well. They cost a hundredth of a build.
const ninePOptions = "NETWORK_FILESYSTEMS=y NET_9P=y NET_9P_VIRTIO=y 9P_FS=y"

// flags name the build directory.
func (k *kernel) flags(args ...string) []string {
	if k.build == k.source {
		return args
	}
	return append([]string{"-O", k.build}, args...)
}

// newTestKernel is Debian's, from a 64-bit tinyconfig that run-kernel itself has fixed.
// The build is kept for the next time.
func newTestKernel(t *testing.T) *kernel {
	t.Helper()
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	cache := need(t, "RUN_KERNEL_TEST_CACHE", "cache")
	// A test gives the guest disks; adding their driver then would compile most files
	// once more.
	return &kernel{source: source, build: filepath.Join(cache, "build-"+filepath.Base(source)), require: "VIRTIO_BLK=y " + ninePOptions}
}

// testKernel is a built kernel for a test that builds it again, or edits its source.
func testKernel(t *testing.T) *kernel {
	t.Helper()
	k := newTestKernel(t)
	k.give(t)
	return k
}

// copies is how many copies of the test kernel there are at most, and copied how often one
// was asked for.
const copies = 4

var copied atomic.Int32

// bootKernel is a built kernel for a test that boots it as it is: one of some copies of that
// of testKernel, so that several tests boot at the same time, and beside one that builds.
func bootKernel(t *testing.T) *kernel {
	t.Helper()
	original := newTestKernel(t)
	build := fmt.Sprintf("%s-copy%d", original.build, copied.Add(1)%int32(min(copies, cap(slots))))
	k := &kernel{source: original.source, build: build, copied: true, require: original.require}
	if !prepared.has(k.build) {
		original.alone(t, func() {
			original.prepare()
			copyBuild(t, k.build, original.build)
		})
		prepared.add(k.build)
	}
	k.give(t)
	return k
}

// copyBuild makes a build directory what another is, without what run-kernel keeps there.
func copyBuild(t *testing.T, to, from string) {
	t.Helper()
	// Tests of other packages have make try compilers there, which takes files of a moment.
	var out []byte
	var err error
	for range 5 {
		out, err = exec.Command("sh", "-c", `rm -rf "$1" && cp -a --reflink=auto "$0" "$1" && rm -rf "$1/.run-kernel"`, from, to).CombinedOutput()
		if err == nil {
			return
		}
	}
	t.Fatalf("copy %s: %v: %s", from, err, out)
}

// richOptions are what tests of NixOS, of modules and of KUnit want in a kernel: modules
// with parameters, and a chain of three that need each other.
const richOptions = "MODULES=y MODULE_UNLOAD=y DUMMY=m BLK_DEV_RAM=m BRIDGE=m OVERLAY_FS=y VIRTIO_BLK=y KALLSYMS=y NET=y NETDEVICES=y BUG=y KUNIT=y " + ninePOptions

// richKernel is a test kernel with richOptions, and with what NixOS needs. It is one, since
// each takes minutes to build.
func richKernel(t *testing.T) *kernel {
	t.Helper()
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	k := &kernel{
		source: source, build: filepath.Join(need(t, "RUN_KERNEL_TEST_CACHE", "cache"), "build-"+filepath.Base(source)+"-systemd"),
		require: richOptions, profiles: "systemd nixos",
	}
	k.give(t)
	return k
}

// debugOptions make a kernel report much of what is wrong with it, and have means to go
// wrong on purpose. Leaks are looked for on request: a scan takes long without KVM, and on
// a busy host the watchdog would report it. gzip is unpacked faster than tinyconfig's xz.
const debugOptions = "DEBUG_KERNEL=y KASAN=y KASAN_OUTLINE=y UBSAN=y PROVE_LOCKING=y DEBUG_ATOMIC_SLEEP=y DEBUG_LIST=y " +
	"DEBUG_FS=y DEBUG_KMEMLEAK=y DEBUG_KMEMLEAK_AUTO_SCAN=n LKDTM=y KUNIT=y KUNIT_DEBUGFS=y DETECT_HUNG_TASK=y SOFTLOCKUP_DETECTOR=y HARDLOCKUP_DETECTOR=y " +
	"KALLSYMS=y BUG=y PRINTK_TIME=y MAGIC_SYSRQ=y DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y DEBUG_INFO_REDUCED=y KERNEL_GZIP=y"

// sanitizerKernel is a test kernel with KASAN and little else: without a network, of which
// the compiler would instrument many files.
func sanitizerKernel(t *testing.T) *kernel {
	t.Helper()
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	k := &kernel{source: source, build: filepath.Join(need(t, "RUN_KERNEL_TEST_CACHE", "cache"), "build-"+filepath.Base(source)+"-kasan")}
	k.require = "DEBUG_KERNEL=y KASAN=y KASAN_OUTLINE=y KERNEL_GZIP=y"
	k.env = []string{"RUN_KERNEL_RUN_NETWORK=none"}
	if virtiofsRuns(t) {
		k.env = append(k.env, "RUN_KERNEL_RUN_MOUNT_TYPE=virtiofs")
	}
	k.give(t)
	return k
}

// debugKernel is a test kernel with debugOptions. It boots several times more slowly.
func debugKernel(t *testing.T) *kernel {
	t.Helper()
	source := need(t, "RUN_KERNEL_TEST_TREE", "kernel tree")
	cache := need(t, "RUN_KERNEL_TEST_CACHE", "cache")
	k := &kernel{source: source, build: filepath.Join(cache, "build-"+filepath.Base(source)+"-debug")}
	k.require = debugOptions + " VIRTIO_BLK=y " + ninePOptions
	k.give(t)
	return k
}

// prepared are the build directories that this process has built in. Those who
// need what the source is now build again.
var prepared = &builds{done: make(map[string]bool)}

// builds are build directories, for several tests at a time.
type builds struct {
	mu   sync.Mutex
	done map[string]bool
}

func (b *builds) has(build string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done[build]
}

func (b *builds) add(build string) { b.set(build, true) }

func (b *builds) remove(build string) { b.set(build, false) }

func (b *builds) set(build string, done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done[build] = done
}

// give lets the test use the kernel, alone, for the rest of it.
func (k *kernel) give(t *testing.T) {
	t.Helper()
	if !prepared.has(k.build) {
		k.alone(t, k.prepare)
	}
	if k.copied {
		lock(t, k.build)
	} else {
		lock(t, k.source)
	}
	k.lab = k.newLab(t, newLab)
	k.prepare() // an earlier test may have left another source
}

// alone calls f, for which the kernel has a lab, before any test runs beside others.
func (k *kernel) alone(t *testing.T, f func()) {
	t.Helper()
	if !holds(t, k.source) {
		unlock, err := flock(k.source)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
	}
	k.lab = k.newLab(t, newLonelyLab)
	f()
}

// newLab is a lab for the kernel.
func (k *kernel) newLab(t *testing.T, make func(*testing.T, string) *lab) *lab {
	t.Helper()
	l := make(t, k.source)
	l.env = append(l.env, k.env...)
	if k.trixie {
		l.enterTrixie()
	}
	return l
}

// prepare configures the kernel where that hasn't been done, and builds it.
func (k *kernel) prepare() {
	t := k.lab.t
	t.Helper()
	if prepared.has(k.build) {
		return
	}
	config := filepath.Join(k.build, ".config")
	if _, err := os.Stat(config); errors.Is(err, os.ErrNotExist) {
		tinyconfig(t, k.lab, k.source, k.build)
	}
	began := time.Now()
	l := *k.lab
	l.env = append(l.env[:len(l.env):len(l.env)], "RUN_KERNEL_KCONFIG_REQUIRE="+k.require)
	if k.profiles != "" {
		l.env = append(l.env, "RUN_KERNEL_KCONFIG_PROFILES="+k.profiles)
	}
	l.expect(l.run(k.flags("build")...), 0)
	prepared.add(k.build)
	t.Logf("%s was ready after %s", k.build, time.Since(began).Round(time.Millisecond))
}

// tinyconfig writes a .config of 64-bit tinyconfig.
func tinyconfig(t *testing.T, l *lab, source, build string) {
	t.Helper()
	makeConfig(t, l, source, build, "tinyconfig", "CONFIG_64BIT=y\n")
}

// enterTrixie makes the lab run everything in the Debian 13 chroot, which has
// the other generation of tools. The mounts that takes end with the process.
func (l *lab) enterTrixie(user ...string) {
	l.t.Helper()
	root := need(l.t, "RUN_KERNEL_TEST_TRIXIE", "Debian 13 chroot")
	script := `set -e
for d in /dev /sys /tmp "$2"; do mkdir -p "$1$d"; mount --rbind "$d" "$1$d"; done
mount -t proc proc "$1/proc"
root=$1; dir=$3; shift 3
exec chroot "$root" env -C "$dir" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"`
	l.wrap = append([]string{
		"unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", root, os.Getenv("RUN_KERNEL_TEST_CACHE"), l.dir,
	}, user...)
}

// makeConfig runs one of the kernel's configuration targets.
func makeConfig(t *testing.T, l *lab, source, build, target, all string) {
	t.Helper()
	seed := filepath.Join(t.TempDir(), "all.config")
	if err := os.WriteFile(seed, []byte(all), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append(append([]string{}, l.wrap...), "make", "-s", "-C", source, "KCONFIG_ALLCONFIG="+seed)
	if build != source {
		if err := os.MkdirAll(build, 0o755); err != nil {
			t.Fatal(err)
		}
		args = append(args, "O="+build)
	}
	args = append(args, target)
	l.enter()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), l.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v: %s", target, err, out)
	}
}

// boot boots what is built and runs a command in it.
func (k *kernel) boot(args ...string) result {
	return k.lab.run(k.flags(append([]string{"boot", "--no-build"}, args...)...)...)
}
