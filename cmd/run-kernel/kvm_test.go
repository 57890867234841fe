// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// qemu's emulated processor can be a hypervisor's (AMD's SVM): in a guest that runs a
// distribution's kernel there is a KVM that works, wherever the tests run. It is slow.

// kvmPatience is how long a guest may take in which guests run.
const kvmPatience = 8 * time.Minute

// An outerGuest is a guest with KVM.
type outerGuest struct {
	*lab
	stock string // its kernel
}

func newOuterGuest(t *testing.T) *outerGuest {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("qemu emulates no other processor's virtualisation than AMD's")
	}
	o := &outerGuest{newLab(t, t.TempDir()), need(t, "RUN_KERNEL_TEST_STOCK_KERNEL", "kernel of Debian's")}
	o.limit = kvmPatience
	return o
}

// script runs a shell script in the guest, with $program for the program under test.
func (o *outerGuest) script(text string) result {
	o.t.Helper()
	path, err := program()
	if err != nil {
		o.t.Fatal(err)
	}
	begin := fmt.Sprintf("set -e; program=%s; cd /root; modprobe kvm_amd; test -c /dev/kvm\n", path)
	run := func() result {
		return o.run("--kernel", o.stock, "--accel=tcg", "--memory-gib=3", "--boot-timeout=4m", "--", "sh", "-c", begin+text)
	}
	for again := 2; ; again-- {
		r := run()
		// An emulated processor can lose an interrupt, and more so on a busy host: one of ten
		// runs hung, with 20 other programs for each processor. And the outer kernel was seen
		// to die in the midst of its KVM.
		hung := r.status == 128+int(syscall.SIGKILL) && r.elapsed > kvmPatience
		// Nor does the inner qemu always believe what that says of the processor's mode.
		aborted := strings.Contains(r.stdout, "cpu_asidx_from_attrs: Assertion")
		if again == 0 || !hung && !aborted && r.status != statusCrash {
			return r
		}
		o.t.Logf("it hung, crashed or aborted, and is run again: %s\n%s", r.stdout, r.stderr)
	}
}

// underKVM is a command for a guest: it says what shows that the guest runs under KVM, by
// virtiofs, and needs nothing of what TCG does.
const underKVM = "cat /proc/cmdline; dmesg | grep -o 'Hypervisor detected: KVM'; ls -d /sys/bus/virtio/drivers/virtiofs/virtio?"

// innerSays begins the lines that the inner guest's run-kernel wrote.
const innerSays = "inner: "

// checkUnderKVM checks what underKVM said, and what the inner guest's run-kernel did.
func checkUnderKVM(t *testing.T, stdout string) {
	t.Helper()
	if !strings.Contains(stdout, "panic=-1") || strings.Contains(stdout, "init_on_alloc") || strings.Contains(stdout, "no_timer_check") {
		t.Errorf("the inner kernel's command line is %q", stdout)
	}
	if !strings.Contains(stdout, "Hypervisor detected: KVM\n") || !strings.Contains(stdout, "virtiofs/virtio") {
		t.Errorf("the inner guest says %q", stdout)
	}
	said := false
	for line := range strings.Lines(stdout) {
		text, inner := strings.CutPrefix(line, innerSays)
		said = said || inner && strings.Contains(text, "guest answers")
		if inner && strings.Contains(text, "KVM") {
			t.Errorf("there is nothing to say of KVM: %q", text)
		}
	}
	if !said {
		t.Errorf("the inner run-kernel says nothing: %q", stdout)
	}
}

// Where KVM works, auto takes it, with the other generation of tools as well.
func TestTrixieAutoTakesKVM(t *testing.T) {
	needTrixie(t)
	k := bootKernel(t)
	o := newOuterGuest(t)
	o.enterTrixie()
	r := o.script(fmt.Sprintf(`
for attempt in 1 2 3 4; do
	status=0
	$program --kernel %s --memory-gib 1 --boot-timeout 1m -- "%s; exit 7" 2>/run/err || status=$?
	if test $status = 7; then break; fi
	# The emulated processor resets or stops an inner guest now and then.
	echo "attempt $attempt: status $status"; cat /run/err
done
sed 's/^/%s/' /run/err
exit $status
`, filepath.Join(k.build, "vmlinux"), underKVM, innerSays))
	o.expect(r, 7)
	checkUnderKVM(t, r.stdout)
	t.Logf("it took %s", r.elapsed)
}

// Where KVM works, auto takes it. What a guest under KVM goes through: commands, a panic,
// run-kernel killed, too much memory. And a user without the right to KVM.
func TestLifeUnderKVM(t *testing.T) {
	k := bootKernel(t)
	o := newOuterGuest(t)
	r := o.script(fmt.Sprintf(`
source=%s build=%s
# A build directory that can be written.
mkdir /run/over; mount -t tmpfs over /run/over; mkdir /run/over/upper /run/over/work
mount -t overlay -o lowerdir=$build,upperdir=/run/over/upper,workdir=/run/over/work over $build
cd $source
boot() {
	for attempt in 1 2 3 4 5; do
		$program -O $build boot --no-build --memory-gib 1 --boot-timeout 2m -- sleep 1000 2>/run/err &
		while kill -0 $! 2>/dev/null; do
			if grep -q "guest answers" /run/err; then return; fi
			sleep 0.2
		done
		echo "attempt $attempt:"; cat /run/err
	done
	exit 99
}
boot
sed 's/^/%s/' /run/err
$program -O $build exec -- "%s"
if $program -O $build exec -- 'exit 7'; then false; else echo "exec: $?"; fi
if $program -O $build exec -- 'echo c >/proc/sysrq-trigger; sleep 1000'; then false; else echo "exec of a panic: $?"; fi
if wait $!; then false; else echo "boot: $?"; fi
grep -o "sysrq triggered crash" /run/err | head -1
boot
kill -9 $!
i=0
while pgrep -f '[q]emu-system|[v]irtiofsd' >/dev/null && test $i -lt 100; do sleep 0.1; i=$((i+1)); done
echo "left: $(pgrep -c -f '[q]emu-system|[v]irtiofsd')"
if $program -O $build boot --no-build --memory-gib 100 -- true 2>&1; then false; else echo "memory: $?"; fi
chgrp daemon /dev/kvm; chmod 660 /dev/kvm
setpriv --reuid=65534 --regid=65534 --clear-groups $program doctor 2>&1 | grep kvm || :
`, k.source, k.build, innerSays, underKVM))
	o.expect(r, 0)
	checkUnderKVM(t, r.stdout)
	for _, want := range []string{"exec: 7\n", "exec of a panic: 101\n", "boot: 101\nsysrq triggered crash\n", "left: 0\n", "100 GiB of memory, and this machine has 3", "memory: 125\n", "the group daemon may"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", r.stdout, r.stderr)
	}
	t.Logf("it took %s", r.elapsed)
}
