// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// trixieKernel is the in-tree kernel with Debian 13's tools.
func trixieKernel(t *testing.T) *kernel {
	t.Helper()
	needTrixie(t)
	return inTreeKernel(t)
}

func needTrixie(t *testing.T) {
	t.Helper()
	if os.Getenv("RUN_KERNEL_TEST_TRIXIE") == "" {
		// Making the chroot takes root, on Debian 12; on Debian 13 all other tests
		// are this one.
		t.Skip("RUN_KERNEL_TEST_TRIXIE isn't set: no Debian 13 chroot")
	}
}

// virtiofsd writes file contents into the guest's memory behind qemu's back, so
// that without init_on_alloc=1 qemu 10 runs stale translations: programs crash
// at random. This loop did in two of three runs.
func TestProgramsSurviveDroppedCaches(t *testing.T) {
	k := trixieKernel(t)
	script := `
i=0
while test $i -lt 15; do
	for p in "ls -l /usr/bin" "ps ax" "sed --version" "perl -e 1" "sort /etc/passwd" "tar --version" "gzip --version" "make --version"; do
		$p >/dev/null || { echo "$p: status $?"; exit 1; }
	done
	echo 3 >/proc/sys/vm/drop_caches
	i=$((i+1))
done
`
	k.lab.expect(k.boot("--", script), 0)
}

func TestTrixieStatuses(t *testing.T) {
	k := trixieKernel(t)
	k.lab.expect(k.boot("--", "sh", "-c", "exit 7"), 7)
	k.lab.expect(k.boot("--", "sh", "-c", "kill -9 $$"), 137)
	k.lab.expect(k.boot("--", "echo c >/proc/sysrq-trigger && sleep 1000"), statusCrash)
}

// copyFile copies a file to a place that every user can read.
func copyFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(copied, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return copied
}

// The Rust virtiofsd works for an ordinary user as well.
func TestOrdinaryUser(t *testing.T) {
	k := trixieKernel(t)
	k.lab.dir = "/tmp"
	k.lab.enterTrixie("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups")
	// Where that user can read them.
	shared, err := program()
	if err != nil {
		t.Fatal(err)
	}
	k.lab.program = copyFile(t, shared)
	k.lab.env = append(k.lab.env, "XDG_CONFIG_HOME=/nonexistent")
	r := k.lab.expect(k.lab.run("boot", "--kernel", copyFile(t, filepath.Join(k.build, "vmlinux")), "--",
		"id -u; cat /etc/shadow; mount -o remount,rw /; mkdir /tmp/s; mount -t virtiofs run-kernel.root /tmp/s; touch /tmp/s/tmp/by-the-guest"), 1)
	if !strings.HasPrefix(r.stdout, "0\n") {
		t.Errorf("the guest's user isn't root: %s", r.stdout)
	}
	if !strings.Contains(r.stderr, "/etc/shadow: Permission denied") {
		t.Errorf("the guest reads what the user may not: %s%s", r.stdout, r.stderr)
	}
	if _, err := os.Stat("/tmp/by-the-guest"); err == nil {
		t.Error("the guest wrote a file of the host")
	}
}

// The host's kernel refuses what the guest writes into an ordinary user's own files,
// also where virtiofsd is one without --readonly, as Ubuntu 24.04's.
func TestOrdinaryUsersFilesStay(t *testing.T) {
	k := trixieKernel(t)
	share, image := ordinaryUser(t, k, "")
	mine := filepath.Join(share, "mine")
	if err := errors.Join(os.WriteFile(mine, []byte("text\n"), 0o644), os.Chown(mine, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(mine)
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(filepath.Dir(image), "virtiofsd")
	script := `#!/bin/sh
case "$*" in
*--help*) /usr/libexec/virtiofsd --help | grep -v -e --readonly ;;
*--readonly*) echo "what is --readonly?" >&2; exit 2 ;;
*) exec /usr/libexec/virtiofsd "$@" ;;
esac
`
	if err := os.WriteFile(old, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{"with --readonly": nil, "without": {"--virtiofsd", old}} {
		r := k.lab.expect(k.lab.run(slices.Concat([]string{"boot", "--userland=host", "--kernel", image}, flags, []string{"--", `
mkdir /tmp/s
mount -t virtiofs run-kernel.root /tmp/s
cd /tmp/s` + share + `
cat mine
exec 2>/dev/null
echo x >>mine && echo appended
echo x >new && echo created
mkdir dir && echo mkdir
chmod 600 mine && echo chmod
chown 1000 mine && echo chown
touch mine && echo touch
truncate -s 0 mine && echo truncate
ln mine link && echo link
ln -s mine symlink && echo symlink
mv mine moved && echo mv
rm -f mine && echo rm
exit 0
`})...), 0)
		if r.stdout != "text\n" {
			t.Errorf("%s: the guest could do %s", name, r.stdout)
		}
		if strings.Contains(r.stderr, "9p") {
			t.Errorf("%s: by 9p: %s", name, r.stderr)
		}
		after, err := os.Stat(mine)
		if err != nil {
			t.Fatal(err)
		}
		if before.Sys().(*syscall.Stat_t).Ctim != after.Sys().(*syscall.Stat_t).Ctim || after.Size() != 5 {
			t.Errorf("%s: the file has changed", name)
		}
		entries, err := os.ReadDir(share)
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: the directory has %v, %v", name, entries, err)
		}
	}
}
