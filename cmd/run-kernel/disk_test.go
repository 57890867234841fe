// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// freePort returns a port that nobody has at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A kernel without the driver boots, and the guest's lack of disks is told.
func TestDiskWithoutADriver(t *testing.T) {
	k := bootKernel(t)
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	r := k.lab.expect(k.boot("--kernel", filepath.Join(k.build, "vmlinux"), "--disk", disk,
		"--kernel-extra-args=initcall_blacklist=virtio_blk_init", "--", "ls /sys/block | grep -c '^vd'"), 1)
	if !strings.Contains(r.stderr, "warning: the guest has 0 of its 1 disks: does its kernel have CONFIG_VIRTIO_BLK?") {
		t.Errorf("got %q, %q", r.stdout, r.stderr)
	}
	r = k.lab.expect(k.boot("--disk", disk, "--", "ls /sys/block | grep '^vd'"), 0)
	if strings.Contains(r.stderr, "disks") {
		t.Errorf("got %q, %q", r.stdout, r.stderr)
	}
}

func TestDisksAndForwards(t *testing.T) {
	k := bootKernel(t)
	dir := t.TempDir()
	raw, qcow2 := filepath.Join(dir, "a, raw.qcow2"), filepath.Join(dir, "b.img")
	if err := os.WriteFile(raw, bytes.Repeat([]byte("raw\n"), 1<<18), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	disks := []string{"--disk", raw, "--disk", qcow2 + ":qcow2:ro"}
	k.lab.expect(k.lab.run(k.flags(append([]string{"build"}, disks...)...)...), 0)

	port := freePort(t)
	s := k.lab.start(k.flags(append(append([]string{"boot", "--no-build"}, disks...), "--forward", fmt.Sprintf("%d:80", port), "--", `
set -e
cat /sys/block/vda/serial /sys/block/vdb/serial; echo
cmp /dev/vda /dev/vdb
printf "from the guest" >/dev/vda
sync
! printf x 2>/dev/null >/dev/vdb
echo written
exec perl -MIO::Socket::INET -e '
	$l = IO::Socket::INET->new(LocalPort => 80, Listen => 1) or die;
	$| = 1; print "listens\n";
	print {$l->accept} "hello from port 80\n";
	sleep 1000'
`)...)...)
	if seen := s.wait("written\n"); !strings.Contains(seen, "disk0disk1") {
		t.Errorf("the serial numbers: %s", seen)
	}
	s.wait("listens\n")
	conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	line := make([]byte, len("hello from port 80\n"))
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != "hello from port 80\n" {
		t.Errorf("through the forwarded port: %q, %v", line, err)
	}

	// Another VM can have neither the disk nor the port.
	other := newLab(t, dir)
	image := filepath.Join(k.build, "vmlinux")
	for _, test := range []struct{ args, want string }{
		{"--disk\n" + raw, "disk " + raw + ": it is in use\n"},
		{"--disk\n" + raw + ":ro", "it is in use\n"},
		{"--disk\n" + qcow2 + ":qcow2", "it is in use\n"},
		{fmt.Sprintf("--forward\n%d:22", port), "address already in use\n"},
	} {
		args := append([]string{"boot", "--userland=host", "--kernel", image}, strings.Split(test.args, "\n")...)
		r := other.expect(other.run(append(args, "--", "true")...), statusFailed)
		if !strings.Contains(r.stderr, test.want) || !strings.Contains(r.stderr, "hint: ") {
			t.Errorf("%s: %s", test.args, r.stderr)
		}
	}
	r := other.expect(other.run("boot", "--userland=host", "--kernel", image, "--disk", qcow2+":qcow2:ro", "--", "head -c 4 /dev/vda"), 0)
	if r.stdout != "raw\n" {
		t.Errorf("a disk that both only read has %q", r.stdout)
	}

	k.lab.expect(k.lab.run(k.flags("stop")...), 0)
	s.awaitEnd()
	data, err := os.ReadFile(raw)
	if err != nil || !strings.HasPrefix(string(data), "from the guest") {
		t.Errorf("the disk begins with %q, %v", data[:min(len(data), 20)], err)
	}
}
