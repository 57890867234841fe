// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/internal/proc"
)

func TestBootRunsACommand(t *testing.T) {
	k := bootKernel(t)
	r := k.lab.expect(k.boot("--", "uname", "-r"), 0)
	release, err := os.ReadFile(filepath.Join(k.build, "include/config/kernel.release"))
	if err != nil {
		t.Fatal(err)
	}
	if r.stdout != string(release) {
		t.Errorf("uname -r printed %q, want %q", r.stdout, release)
	}
	log, err := os.ReadFile(filepath.Join(k.build, ".run-kernel/console.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte("Linux version")) {
		t.Error("the console's log doesn't begin with the boot")
	}
}

func TestBootPassesStatusesOn(t *testing.T) {
	k := bootKernel(t)
	for _, test := range []struct {
		argv   []string
		status int
		stderr string
	}{
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -9 $$"}, 137, ""},
		{[]string{"exit 3"}, 3, ""},
		{[]string{"no-such-command", "x"}, 127, "no-such-command"},
		{[]string{"/etc/passwd", "x"}, 126, "permission denied"},
		{[]string{"sh", "-c", "echo out; echo err >&2"}, 0, "err\n"},
		{[]string{"sh", "-c", "echo c >/proc/sysrq-trigger && sleep 1000"}, statusCrash, "Kernel panic - not syncing: sysrq triggered crash"},
		{[]string{"sh", "-c", "echo o >/proc/sysrq-trigger && sleep 1000"}, statusDeath, "powered off"},
		{[]string{"sh", "-c", "echo b >/proc/sysrq-trigger && sleep 1000"}, statusDeath, "reset itself"},
	} {
		t.Run(strings.Join(test.argv, " "), func(t *testing.T) {
			r := k.boot(append([]string{"--"}, test.argv...)...)
			if r.status != test.status || !strings.Contains(r.stderr, test.stderr) {
				t.Errorf("status %d, want %d with %q\nstdout: %s\nstderr: %s", r.status, test.status, test.stderr, r.stdout, r.stderr)
			}
			if strings.Contains(test.stderr, "err") && r.stdout != "out\n" {
				t.Errorf("standard output is %q", r.stdout)
			}
		})
	}
}

func TestBootPlumbsStdin(t *testing.T) {
	k := bootKernel(t)
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	r := k.lab.expect(k.lab.runInput(string(data), k.flags("boot", "--no-build", "--", "cat")...), 0)
	if r.stdout != string(data) {
		t.Errorf("of %d bytes %d came back, or others", len(data), len(r.stdout))
	}
}

// What can't be written ends the command, and is told.
func TestBootIntoAFullDisk(t *testing.T) {
	k := bootKernel(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, command := range []string{"echo one line", "seq 1 3000000; exec sleep 1000"} {
		cmd := k.lab.command(k.flags("boot", "--no-build", "--", command)...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		_ = cmd.Run()
		if status := proc.ExitStatus(cmd.ProcessState); status != statusFailed || !strings.Contains(stderr.String(), "write standard output: ") {
			t.Errorf("%q: status %d, %s", command, status, &stderr)
		}
	}
}

func TestBootPanic(t *testing.T) {
	k := bootKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "-v", "--kernel-extra-args", "init=/nonexistent rdinit=/nonexistent")...)
	s.wait("Kernel panic - not syncing")
	panicked := time.Now()
	s.awaitEnd()
	if took := time.Since(panicked); took > 2*time.Second+busy {
		t.Errorf("it ended %s after the panic", took)
	}
	if status := proc.ExitStatus(s.cmd.ProcessState); status != statusCrash {
		t.Errorf("status %d", status)
	}
	s.wait("last lines of the console:")
	s.wait("| ")
	s.wait("the guest's kernel crashed: Kernel panic - not syncing")
}

func TestBootTimeout(t *testing.T) {
	k := bootKernel(t)
	r := k.lab.expect(k.boot("--timeout", "2s", "--", "sleep", "1000"), statusTimeout)
	if !strings.Contains(r.stderr, "longer than 2s") {
		t.Error(r.stderr)
	}
}

func TestBootOopsIsAFailure(t *testing.T) {
	k := bootKernel(t)
	// An oops of the console's making: what counts is the kernel's headline.
	r := k.lab.expect(k.boot("--", "echo '<0>BUG: unable to handle page fault for address: 0' >/dev/kmsg; sleep 1"), statusCrash)
	if !strings.Contains(r.stderr, "unable to handle page fault") {
		t.Error(r.stderr)
	}
}

func TestBootOfWhatIsNoKernel(t *testing.T) {
	k := bootKernel(t)
	junk := filepath.Join(t.TempDir(), "bzImage")
	if err := os.WriteFile(junk, []byte(strings.Repeat("no kernel\n", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	r := k.lab.expect(k.lab.run(k.flags("boot", "--kernel", junk)...), statusFailed)
	if !strings.Contains(r.stderr, "is not a kernel that can be booted") || !strings.Contains(r.stderr, "hint: ") {
		t.Error(r.stderr)
	}
	// It looks like one, and isn't.
	hollow := append([]byte(strings.Repeat("\xf4", 0x202)), "HdrS"+strings.Repeat("\xf4", 1<<16)...)
	copy(hollow[0x1f1:], "\x01\x00\x00\x01\x00\x00\x00") // of a size that the file has
	if err := os.WriteFile(junk, hollow, 0o644); err != nil {
		t.Fatal(err)
	}
	r = k.lab.run(k.flags("boot", "--boot-timeout", "5s", "--kernel", junk)...)
	if r.status != statusTimeout && r.status != statusDeath || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("status %d: %s", r.status, r.stderr)
	}
	// It is one, but for its end.
	whole, err := os.ReadFile(filepath.Join(k.build, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(junk, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	r = k.lab.expect(k.lab.run(k.flags("boot", "--kernel", junk)...), statusFailed)
	if !strings.Contains(r.stderr, "is cut short: it has ") || !strings.Contains(r.stderr, "hint: ") {
		t.Error(r.stderr)
	}
	r = k.lab.expect(k.lab.run(k.flags("boot", "--kernel", junk+"2")...), statusFailed)
	if !strings.Contains(r.stderr, "no such file") {
		t.Error(r.stderr)
	}
}

// The host's files are out of reach of root in the guest.
func TestGuestCannotWriteTheHost(t *testing.T) {
	if !virtiofsRuns(t) {
		t.Skip("no virtiofsd runs for this user; see TestOrdinaryUser9P")
	}
	k := bootKernel(t)
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("untouched"), 0o666); err != nil {
		t.Fatal(err)
	}
	// The overlay takes a write for itself. Below it, the share doesn't.
	script := `
set -x
echo overlay > ` + victim + ` && cat ` + victim + `
mkdir -p /tmp/share
mount -t virtiofs run-kernel.root /tmp/share || exit 50
mount -o remount,rw /tmp/share
for f in ` + victim + ` ` + filepath.Join(dir, "new") + `; do
	echo written > /tmp/share/$f && exit 51
	rm -f /tmp/share/$f
	chmod 777 /tmp/share/$f && exit 52
done
touch ` + filepath.Join(k.source, "new-file") + ` && exit 53
mount -o remount,rw ` + k.source + `
touch ` + filepath.Join(k.source, "new-file") + ` && exit 54
exit 0
`
	r := k.lab.expect(k.boot("--", script), 0)
	if !strings.HasPrefix(r.stdout, "overlay") {
		t.Errorf("the guest's root can't be written: %s%s", r.stdout, r.stderr)
	}
	if !strings.Contains(r.stderr, "Read-only file system") {
		t.Errorf("the write failed for another reason:\n%s", r.stderr)
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "untouched" {
		t.Errorf("the host's file is %q, %v", data, err)
	}
	for _, path := range []string{filepath.Join(dir, "new"), filepath.Join(k.source, "new-file")} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("the guest made %s on the host", path)
		}
	}
}

func TestGuestIsLikeTheHost(t *testing.T) {
	k := bootKernel(t)
	dir := filepath.Join(k.source, "kernel")
	k.lab.dir = dir
	script := `
test "$(pwd)" = ` + dir + ` || exit 10
test "$(hostname)" = guest7 || exit 11
for d in /proc/self /sys/class /dev/pts /dev/shm; do test -d $d || exit 12; done
ip addr show dev lo | grep -q 'inet 127.0.0.1' || exit 13
test "$(nproc)" = 3 || exit 14
grep -q '^nameserver' /etc/resolv.conf || exit 15
: > /usr/bin/new-file && rm /usr/bin/new-file || exit 16
test "$(ps -o pid= -p 1)" || exit 17
mountpoint -q ` + k.source + ` || exit 18
test $(date +%Y) -gt 2000 || exit 19
mem=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
test "$mem" -gt 900000 -a "$mem" -le 1048576 || exit 20
# The gateway of qemu's network answers.
timeout 20 sh -c 'exec 3<>/dev/tcp/10.0.2.2/1' 2>&1
ip route | grep -q '^default via 10.0.2.2' || exit 21
# The first process takes no notice.
for s in HUP INT QUIT TERM; do kill -$s 1 || exit 22; done
`
	k.lab.expect(k.boot("--hostname", "guest7", "--smp", "3", "--memory-gib", "1", "--", script), 0)
}

func TestBootDryRun(t *testing.T) {
	k := bootKernel(t)
	r := k.lab.expect(k.lab.run(k.flags("boot", "--dry-run", "--accel", "tcg")...), 0)
	parts := []string{"make ", " vmlinux\n", "qemu-system-x86_64 ", "-accel tcg"}
	if virtiofsRuns(t) {
		parts = append(parts, "init_on_alloc=1")
	}
	for _, part := range parts {
		if !strings.Contains(r.stdout, part) {
			t.Errorf("no %q in: %s", part, r.stdout)
		}
	}
	if r := k.lab.expect(k.lab.run(k.flags("boot", "--dry-run", "--accel", "kvm")...), 0); strings.Contains(r.stdout, "init_on_alloc") {
		t.Errorf("KVM needs no init_on_alloc: %s", r.stdout)
	}
}

// Whoever is killed, the rest goes, too.
func TestKilledWhileAGuestRuns(t *testing.T) {
	k := bootKernel(t)
	for _, test := range []struct {
		victim  string
		cmdline string
		status  int
	}{
		{"run-kernel", "", 137},
		{"qemu", `^\S*qemu-system-x86_64 `, statusDeath},
		{"virtiofsd", `^\S*virtiofsd --fd`, statusDeath},
		{"the guard of qemu", `^run-kernel-guard .*qemu-system`, statusDeath},
		{"the guard of virtiofsd", `^run-kernel-guard .*virtiofsd`, statusDeath},
	} {
		t.Run(test.victim, func(t *testing.T) {
			if strings.Contains(test.victim, "virtiofsd") && !virtiofsRuns(t) {
				t.Skip("no virtiofsd runs for this user")
			}
			k.lab.t = t
			s := k.lab.start(k.flags("boot", "--no-build", "--", "echo up; sleep 1000")...)
			s.wait("up\n")
			pid := s.cmd.Process.Pid
			if test.cmdline != "" {
				pid = k.lab.awaitProcess(test.cmdline)
			}
			killed := time.Now()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.awaitEnd()
			if left := k.lab.await(killed.Add(time.Second+busy), nil); len(left) > 0 {
				t.Errorf("left after the kill: %s", strings.Join(left, "; "))
			}
			if status := proc.ExitStatus(s.cmd.ProcessState); status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
		})
	}
}

// busy is what a machine that does other things at the same time may add, or a
// neighbour of it on its host. How long an end takes is for bench/soak to measure;
// here it must come at all, and not by a timeout.
const busy = 10 * time.Second

func TestTwoInstances(t *testing.T) {
	k := bootKernel(t)
	s := k.lab.start(k.flags("boot", "--no-build", "--", "echo up; sleep 1000")...)
	s.wait("up\n")
	r := k.lab.expect(k.boot("--", "true"), statusFailed)
	if !strings.Contains(r.stderr, fmt.Sprintf("process %d", s.cmd.Process.Pid)) || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("the other one isn't named: %s", r.stderr)
	}
	// The other one's guest is at hand.
	r = k.lab.expect(k.lab.run(k.flags("exec", "--", "sh", "-c", "echo here; exit 5")...), 5)
	if r.stdout != "here\n" {
		t.Errorf("exec printed %q", r.stdout)
	}
	r = k.lab.expect(k.lab.run(k.flags("status", "--json")...), 0)
	if !strings.Contains(r.stdout, `"guest":true`) {
		t.Errorf("status: %s", r.stdout)
	}
	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	s.awaitEnd()
	r = k.lab.expect(k.lab.run(k.flags("exec", "--", "true")...), statusFailed)
	if !strings.Contains(r.stderr, "no run-kernel works in") {
		t.Error(r.stderr)
	}
}

func TestInterrupt(t *testing.T) {
	k := bootKernel(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		s := k.lab.start(k.flags("boot", "--no-build", "--", "echo up; sleep 1000")...)
		s.wait("up\n")
		status, took := s.end(sig)
		if status != 128+int(sig) || took > 2*time.Second+busy {
			t.Errorf("%s: status %d after %s", sig, status, took)
		}
	}
}
