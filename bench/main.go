// SPDX-License-Identifier: GPL-3.0-only

// Bench measures run-kernel against what nobody can do without: the floor is
// the same kernel in plain qemu, with an init that prints a line, and make. All
// is measured in one run, in turns, so that the ratios hold on a machine whose
// speed drifts.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cavaliergopher/cpio"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/qemu"
)

// ready is what the floor's init prints.
const ready = "bench: the first process runs"

func main() {
	if os.Getpid() == 1 {
		fmt.Println(ready)
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
		select {}
	}
	b := &bench{}
	flag.StringVar(&b.runKernel, "run-kernel", "run-kernel", "the program")
	flag.StringVar(&b.tree, "tree", "", "kernel tree")
	flag.StringVar(&b.build, "build", "", "its build directory")
	flag.IntVar(&b.rounds, "n", 5, "rounds")
	flag.StringVar(&b.flake, "flake", "", "flake of a system with systemd")
	flag.StringVar(&b.debianRoot, "debian-root", "", "root directory that the flake takes its programs from")
	flag.StringVar(&b.what, "what", "boot,edit,error,watch,kconfig,shares,nixos", "what to measure; vng as well, where virtme-ng is installed")
	flag.Parse()
	if err := b.run(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

type bench struct {
	runKernel, tree, build, what string
	flake, debianRoot            string
	rounds                       int

	initramfs string
	original  []byte // init/main.c
}

func (b *bench) run() (err error) {
	if err := b.prepare(); err != nil {
		return err
	}
	defer os.Remove(b.initramfs)
	source := filepath.Join(b.tree, "init/main.c")
	if b.original, err = os.ReadFile(source); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.WriteFile(source, b.original, 0o644)) }()

	fmt.Printf("%d processors (%s), %s, linux %s; %d rounds; medians\n\n", runtime.NumCPU(), model(), accel(), release(b.build), b.rounds)
	fmt.Printf("%-52s %9s %9s %7s\n", "", "run-kernel", "floor", "ratio")
	for what := range strings.SplitSeq(b.what, ",") {
		var measure func() error
		switch what {
		case "boot":
			measure = b.measureBoots
		case "edit":
			measure = b.measureEdits
		case "error":
			measure = b.measureErrors
		case "watch":
			measure = b.measureIdle
		case "kconfig":
			measure = b.measureKconfig
		case "shares":
			measure = b.measureShares
		case "nixos":
			measure = b.measureNixOS
		case "vng":
			measure = b.measureVNG
		default:
			return fmt.Errorf("-what: %q is none of boot, edit, error, watch, kconfig, shares, nixos and vng", what)
		}
		if err := measure(); err != nil {
			return err
		}
	}
	return nil
}

func row(name string, pairs []pair) {
	ratios := make([]float64, len(pairs))
	var ours, floors []float64
	for i, p := range pairs {
		ratios[i] = p.ours.Seconds() / p.floor.Seconds()
		ours, floors = append(ours, p.ours.Seconds()), append(floors, p.floor.Seconds())
	}
	fmt.Printf("%-52s %8.2f s %7.2f s %7.2f  (%.2f to %.2f)\n", name, median(ours), median(floors), median(ratios), slices.Min(ratios), slices.Max(ratios))
}

func (b *bench) measureBoots() error {
	toPlain, toTuned, err := b.boots()
	if err != nil {
		return err
	}
	row("boot: start to the first command's output", toPlain)
	row("      the same, the floor with our arguments", toTuned)
	return nil
}

func (b *bench) measureEdits() error {
	pairs, err := b.edits()
	if err != nil {
		return err
	}
	row("edit: save to the new guest's output", pairs)
	var own []float64
	for _, p := range pairs {
		own = append(own, (p.ours-p.floor).Seconds()*1000)
	}
	fmt.Printf("%-52s %6.0f ms\n", "      the loop's own share of it", median(own))
	return nil
}

// measureErrors is until a mistake in a file that was saved is shown.
func (b *bench) measureErrors() error {
	const mistake = "undeclared"
	var pairs []pair
	for range b.rounds {
		if err := b.save(b.original); err != nil {
			return err
		}
		ours, err := b.errorInLoop(mistake)
		if err != nil {
			return err
		}
		began := time.Now()
		cmd := exec.Command("make", "-C", b.tree, "O="+b.build, "-j"+strconv.Itoa(runtime.NumCPU()), "vmlinux")
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr = w, w
		if err := errors.Join(cmd.Start(), w.Close()); err != nil {
			return err
		}
		_, err = await(bufio.NewReader(r), mistake)
		floor := time.Since(began)
		_ = r.Close()
		_ = cmd.Wait() // it fails
		if err != nil {
			return fmt.Errorf("make: %w", err)
		}
		pairs = append(pairs, pair{ours, floor})
	}
	row("error: save to the compiler's message", pairs)
	return nil
}

func (b *bench) errorInLoop(mistake string) (time.Duration, error) {
	cmd, out, err := b.watch()
	if err != nil {
		return 0, err
	}
	defer stop(cmd)
	if _, err := await(out, "waiting for changes"); err != nil {
		return 0, err
	}
	began := time.Now()
	anchor := []byte("\tpr_notice(\"%s\", linux_banner);\n")
	if err := b.save(bytes.Replace(b.original, anchor, append(anchor, "\tundeclared++;\n"...), 1)); err != nil {
		return 0, err
	}
	_, err = await(out, mistake)
	return time.Since(began), err
}

func (b *bench) measureIdle() error {
	idle, err := b.idle()
	if err != nil {
		return err
	}
	fmt.Printf("%-52s %6.0f ms for %d directories\n", "watch: until every change is seen", idle.start.Seconds()*1000, idle.dirs)
	fmt.Printf("%-52s %6.1f MB, %.1f ms of a processor each second\n", "watch: while nothing happens", idle.memory, idle.cpu)
	return nil
}

// A pair is one round of ours and of the floor.
type pair struct{ ours, floor time.Duration }

// prepare builds the kernel and writes the floor's initramfs.
func (b *bench) prepare() error {
	cmd := exec.Command(b.runKernel, "build", "-O", b.build)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.tree, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run-kernel build: %w", err)
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "bench-initramfs-")
	if err != nil {
		return err
	}
	b.initramfs = f.Name()
	archive := cpio.NewWriter(f)
	for _, h := range []*cpio.Header{
		{Name: "dev", Mode: cpio.TypeDir | 0o755},
		{Name: "dev/console", Mode: cpio.TypeChar | 0o600, DeviceID: int(unix.Mkdev(5, 1))},
		{Name: "init", Mode: cpio.TypeReg | 0o755, Size: int64(len(program))},
	} {
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
	}
	if _, err := archive.Write(program); err != nil {
		return err
	}
	return errors.Join(archive.Close(), f.Close())
}

// plain are qemu's arguments as anybody would type them.
func (b *bench) plain() []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", string(accel()), "-cpu", cpu(), "-smp", "2", "-m", "4G",
		"-kernel", b.image(), "-initrd", b.initramfs, "-append", strings.Join(floorCmdline, " "),
	}
}

// tuned are those with which run-kernel would start the same machine.
func (b *bench) tuned(image string) ([]string, error) {
	m := qemu.Machine{
		Arch: "x86_64", Accel: accel(), CPUs: 2, Memory: 4 << 10, Kernel: image, Initrd: b.initramfs, Cmdline: floorCmdline,
	}
	return m.Args()
}

// floorCmdline is the kernel's command line of both.
var floorCmdline = []string{"console=ttyS0", "panic=-1", "random.trust_cpu=on"}

func (b *bench) image() string { return filepath.Join(b.build, "vmlinux") }

// bootLimit ends a floor's qemu: without KVM, the timer's interrupt may get lost while the
// kernel waits for it. run-kernel starts such a guest once more.
const bootLimit = 2 * time.Minute

// boot boots the kernel in qemu and returns the time until text appears on the
// console.
func (b *bench) boot(args []string, text string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append(args, "-serial", "stdio")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if _, err := await(bufio.NewReader(out), text); err != nil {
		return 0, fmt.Errorf("floor: %w", err)
	}
	return time.Since(began), nil
}

// await reads lines until one contains text, and returns that.
func await(r *bufio.Reader, text string) (string, error) {
	var seen strings.Builder
	for {
		line, err := r.ReadString('\n')
		seen.WriteString(line)
		if strings.Contains(line, text) {
			return line, nil
		}
		if err != nil {
			return "", fmt.Errorf("%q didn't come: %w; there was:\n%s", text, err, seen.String())
		}
	}
}

// boots measures boots of ours, against the plain floor and against the tuned one.
func (b *bench) boots() (toPlain, toTuned []pair, err error) {
	for i := range b.rounds + 1 {
		asTyped, err := b.boot(b.plain(), ready)
		if err != nil {
			return nil, nil, err
		}
		tuned, err := b.tuned(b.image())
		if err != nil {
			return nil, nil, err
		}
		asOurs, err := b.boot(tuned, ready)
		if err != nil {
			return nil, nil, err
		}
		began := time.Now()
		cmd := exec.Command(b.runKernel, "boot", "-q", "-O", b.build, "--no-build", "--", "uname", "-r")
		cmd.Dir, cmd.Stderr = b.tree, os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, nil, err
		}
		_, err = await(bufio.NewReader(out), ".")
		ours := time.Since(began)
		if err := errors.Join(err, cmd.Wait()); err != nil {
			return nil, nil, fmt.Errorf("run-kernel boot: %w", err)
		}
		if i > 0 { // the first one warms up
			toPlain = append(toPlain, pair{ours, asTyped})
			toTuned = append(toTuned, pair{ours, asOurs})
		}
	}
	return toPlain, toTuned, nil
}

// mark makes the kernel print a line.
func (b *bench) mark(text string) error {
	anchor := []byte("\tpr_notice(\"%s\", linux_banner);\n")
	edited := bytes.Replace(b.original, anchor, append(anchor, "\tpr_notice(\"MARK "+text+"\\n\");\n"...), 1)
	if bytes.Equal(edited, b.original) {
		return errors.New("init/main.c isn't as expected")
	}
	return b.save(edited)
}

// save writes init/main.c as editors do: under another name first.
func (b *bench) save(text []byte) error {
	path := filepath.Join(b.tree, "init/main.c")
	if err := os.WriteFile(path+"~", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+"~", path)
}

// edits measures, in turns, an edit in the loop, and the same edit by hand: make,
// and the kernel in plain qemu.
func (b *bench) edits() ([]pair, error) {
	var pairs []pair
	for i := range b.rounds {
		ours, err := b.editInLoop(fmt.Sprintf("loop-%d-%d", os.Getpid(), i))
		if err != nil {
			return nil, err
		}
		text := fmt.Sprintf("hand-%d-%d", os.Getpid(), i)
		if err := b.mark(text); err != nil {
			return nil, err
		}
		began := time.Now()
		cmd := exec.Command("make", "-C", b.tree, "O="+b.build, "-j"+strconv.Itoa(runtime.NumCPU()), "vmlinux")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make: %w: %s", err, out)
		}
		made := time.Since(began)
		booted, err := b.boot(b.plain(), ready)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{ours, made + booted})
	}
	return pairs, nil
}

func (b *bench) editInLoop(text string) (time.Duration, error) {
	cmd, out, err := b.watch("--exec", "dmesg | grep MARK || true")
	if err != nil {
		return 0, err
	}
	defer stop(cmd)
	if _, err := await(out, "waiting for changes"); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := b.mark(text); err != nil {
		return 0, err
	}
	_, err = await(out, "MARK "+text)
	return time.Since(began), err
}

func (b *bench) watch(args ...string) (*exec.Cmd, *bufio.Reader, error) {
	cmd := exec.Command(b.runKernel, append([]string{"watch", "-O", b.build}, args...)...)
	cmd.Dir = b.tree
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	cmd.Stdout, cmd.Stderr = w, w
	return cmd, bufio.NewReader(r), cmd.Start()
}

func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait() // ended by the signal
}

// An idleResult is what watch costs before and between changes.
type idleResult struct {
	start  time.Duration
	dirs   int
	memory float64 // MB, resident
	cpu    float64 // ms each second
}

func (b *bench) idle() (r idleResult, err error) {
	cmd, out, err := b.watch()
	if err != nil {
		return r, err
	}
	defer stop(cmd)
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			return r, err
		}
		var elapsed string
		if n, _ := fmt.Sscanf(line, "watch %d directories, after %s", &r.dirs, &elapsed); n == 2 {
			if r.start, err = time.ParseDuration(elapsed + strings.TrimSpace(line[strings.LastIndex(line, " ")+1:])); err != nil {
				return r, err
			}
		}
		if strings.Contains(line, "waiting for changes") {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	const interval = 10 * time.Second
	before, err := ticks(cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	time.Sleep(interval)
	after, err := ticks(cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	r.cpu = float64(after-before) * 10 / interval.Seconds() // a tick is 10 ms
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		return r, err
	}
	for line := range strings.Lines(string(status)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kB); n == 1 {
			r.memory = kB / 1000
		}
	}
	return r, nil
}

// ticks is the processor time of a process; see proc(5).
func ticks(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return user + system, errors.Join(err1, err2)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func model() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return runtime.GOARCH
}

func release(build string) string {
	data, _ := os.ReadFile(filepath.Join(build, "include/config/kernel.release"))
	return strings.TrimSpace(string(data))
}
