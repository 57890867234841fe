// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/metaspace/run-kernel/boot/virtiofs"
)

func TestShares(t *testing.T) { testShares(t, bootKernel(t), "virtiofs") }

func TestShares9P(t *testing.T) { testShares(t, bootKernel(t), "9p") }

func TestTrixieShares(t *testing.T) { testShares(t, trixieKernel(t), "virtiofs") }

func TestTrixieShares9P(t *testing.T) { testShares(t, trixieKernel(t), "9p") }

func TestWritableDirectory(t *testing.T) {
	k := testKernel(t) // a watch of the tree would see what is written there
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	// In the tree, which is shared read-only at its path.
	inTree, err := os.MkdirTemp(k.source, "run-kernel-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(inTree)
	for _, mountType := range []string{"virtiofs", "9p"} {
		if mountType == "virtiofs" && !virtiofsRuns(t) {
			continue
		}
		// As a directory relative to the working directory, too.
		r := k.lab.expect(k.lab.run(append(k.flags("boot", "--no-build", "--mount-type", mountType, "--rwdir", filepath.Join(dir, "mine"), "--rwdir", filepath.Base(inTree), "--"), `
echo written >`+dir+`/mine/`+mountType+`
echo written >`+inTree+`/`+mountType+`
echo written >`+dir+`/above
touch `+k.source+`/run-kernel-test && echo "wrote the tree"
cat `+dir+`/mine/`+mountType)...), 0)
		if r.stdout != "written\n" {
			t.Errorf("%s: %s%s", mountType, r.stdout, r.stderr)
		}
		for _, path := range []string{filepath.Join(dir, "mine", mountType), filepath.Join(inTree, mountType)} {
			if text, err := os.ReadFile(path); string(text) != "written\n" {
				t.Errorf("%s has %q, %v", path, text, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "above")); err == nil {
		t.Error("the guest wrote beside the directory")
	}
	for dir, want := range map[string]string{"/": "all of /", "none": "no such file", "/dev/null": "not a directory"} {
		r := k.lab.expect(k.lab.run(k.flags("boot", "--no-build", "--rwdir", dir, "--", "true")...), statusFailed)
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %s", dir, r.stderr)
		}
	}
}

func testShares(t *testing.T, k *kernel, mountType string) {
	if mountType == "virtiofs" && k.lab.wrap == nil && !virtiofsRuns(t) {
		t.Skip("no virtiofsd runs for this user")
	}
	dir := t.TempDir()
	writable, readOnly := filepath.Join(dir, `with, blanks and "quotes" \`), filepath.Join(dir, strings.Repeat("x", 200))
	for _, d := range []string{writable, readOnly} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "file"), []byte("first\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := k.lab.start(k.flags("boot", "--no-build", "--mount-type", mountType, "--share", "rw:"+writable, "--share", "ro:"+readOnly+":ro", "--", `
grep -q ' /mnt/rw `+mountType+` ' /proc/mounts || exit
cat /mnt/rw/file /mnt/ro/file
echo changed >/mnt/rw/file
mkdir -p /mnt/rw/deep/er && echo new >/mnt/rw/deep/er/new
chown 1000:1000 /mnt/rw/deep
chmod 600 /mnt/rw/deep/er/new
ln -s file /mnt/rw/link
cp /mnt/rw/file /mnt/rw/tool
chmod 4755 /mnt/rw/tool && echo "made a setuid tool"
chmod 2755 /mnt/rw/tool && echo "made a setgid tool"
mknod /mnt/rw/null c 1 3 && echo "made a device"
mkfifo /mnt/rw/fifo

mkdir /tmp/again
mount -o remount,rw /mnt/ro
again="mount -t `+mountType+` `+mountOptions[mountType]+` ro"
# By 9p, only one mount at a time.
$again /tmp/again || { rmdir /tmp/again; umount /mnt/ro; $again /mnt/ro; }
for d in /mnt/ro /tmp/again /proc/1/root/mnt/ro; do
	echo written >$d/file && echo "wrote $d/file"
	touch $d/new && echo "made $d/new"
	rm $d/file </dev/null && echo "removed $d/file"
	chmod 777 $d/file && echo "chmod of $d/file"
	ln $d/file $d/linked && echo "linked $d/file"
	mknod $d/node b 8 0 && echo "made $d/node"
done
echo tried
until grep second /mnt/ro/file; do sleep 0.1; done
echo seen
`)...)
	began := s.wait("tried\n")
	for _, did := range []string{"wrote", "made", "removed", "chmod of", "linked"} {
		if strings.Contains(began, did+" /") {
			t.Errorf("the guest %s what it may only read:\n%s", did, began)
		}
	}
	if !strings.Contains(began, "first\nfirst\n") || !strings.Contains(began, "Read-only file system") {
		t.Errorf("got %s", began)
	}
	if data, err := os.ReadFile(filepath.Join(readOnly, "file")); err != nil || string(data) != "first\n" {
		t.Errorf("the host's file is %q, %v", data, err)
	}
	if entries, err := os.ReadDir(readOnly); err != nil || len(entries) != 1 {
		t.Errorf("the read-only share has %v, %v", entries, err)
	}
	if data, err := os.ReadFile(filepath.Join(writable, "file")); err != nil || string(data) != "changed\n" {
		t.Errorf("the guest wrote %q, %v", data, err)
	}
	// What it wrote is of no use to another user of the host.
	if st, err := os.Stat(filepath.Join(writable, "tool")); err != nil || st.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		t.Errorf("its tool is %v, %v", st.Mode(), err)
	}
	if _, err := os.Lstat(filepath.Join(writable, "null")); err == nil {
		t.Error("it made a device")
	}
	// qemu makes no FIFO by 9p.
	if _, err := os.Lstat(filepath.Join(writable, "fifo")); err != nil && mountType == "virtiofs" {
		t.Error(err)
	}
	st, err := os.Stat(filepath.Join(writable, "deep/er/new"))
	if err != nil || st.Mode() != 0o600 || int(st.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		t.Errorf("what root in the guest made is %+v, %v", st, err)
	}

	// As editors save.
	fresh := filepath.Join(readOnly, ".file.new")
	if err := os.WriteFile(fresh, []byte("second\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, filepath.Join(readOnly, "file")); err != nil {
		t.Fatal(err)
	}
	if rest := s.wait("seen\n"); strings.Contains(rest, "Stale") {
		t.Errorf("a saved file is stale: %s", rest)
	}
	s.awaitEnd()
}

// mountOptions are what mount takes for a share in the guest.
var mountOptions = map[string]string{"virtiofs": "", "9p": "-o trans=virtio,version=9p2000.L"}

// The end of a daemon is the end of the VM, and is told with the share's name.
func TestDaemonOfAShareDies(t *testing.T) {
	if !virtiofsRuns(t) {
		t.Skip("no virtiofsd runs for this user")
	}
	k := bootKernel(t)
	dir := t.TempDir()
	s := k.lab.start(k.flags("boot", "--no-build", "--share", "data:"+dir, "--", "echo up; exec sleep 1000")...)
	s.wait("up\n")
	pid := 0
	for p, cmdline := range k.lab.processes() {
		// Not its guard, and not run-kernel, which have it among their arguments.
		if program, _, _ := strings.Cut(cmdline, " "); filepath.Base(program) == "virtiofsd" && strings.Contains(cmdline, "="+dir) { // source=, --shared-dir=
			pid = p
		}
	}
	if pid == 0 {
		t.Fatalf("no daemon serves %s: %v", dir, k.lab.processes())
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.wait("virtiofsd for share data (" + dir + ") ended: signal: killed")
	if status := s.awaitEnd(); status != statusDeath {
		t.Errorf("status %d, want %d", status, statusDeath)
	}
}

// asUser runs a command as a user who isn't root.
var asUser = []string{"setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"}

// ordinaryUser makes the lab that of such a user, with Debian 13's tools, and
// returns what usersHome does. before is run as root, in the background.
func ordinaryUser(t *testing.T, k *kernel, before string) (share, image string) {
	t.Helper()
	k.lab.dir = "/tmp"
	k.lab.enterTrixie("sh", "-c", before+`
`+strings.Join(asUser, " ")+` "$@"
status=$?
kill $! 2>/dev/null
exit $status`, "sh")
	return k.usersHome()
}

// usersHome gives the user of asUser a home, and returns an empty directory in it, and
// an image that he can read.
func (k *kernel) usersHome() (share, image string) {
	t := k.lab.t
	t.Helper()
	shared, err := program()
	if err != nil {
		t.Fatal(err)
	}
	k.lab.program = copyFile(t, shared)
	home := t.TempDir()
	share = filepath.Join(home, "share")
	err = errors.Join(os.Chmod(filepath.Dir(home), 0o755), os.Mkdir(share, 0o755), os.Chown(home, 4711, 4711), os.Chown(share, 4711, 4711))
	if err != nil {
		t.Fatal(err)
	}
	k.lab.env = append(k.lab.env, "XDG_CONFIG_HOME=/nonexistent", "HOME="+home)
	return share, copyFile(t, filepath.Join(k.build, "vmlinux"))
}

// owners checks that all below dir belongs to its owner.
func owners(t *testing.T, dir string) {
	t.Helper()
	want, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		have, want := st.Sys().(*syscall.Stat_t), want.Sys().(*syscall.Stat_t)
		if have.Uid != want.Uid || have.Gid != want.Gid {
			t.Errorf("%s belongs to %d:%d, not to %d:%d", path, have.Uid, have.Gid, want.Uid, want.Gid)
		}
		count++
		return nil
	})
	if err != nil || count < 2 {
		t.Errorf("%s has %d files, %v", dir, count, err)
	}
}

func TestOrdinaryUsersShare(t *testing.T) {
	k := trixieKernel(t)
	share, image := ordinaryUser(t, k, "")
	seed := make([]byte, 16<<20)
	_, _ = rand.Read(seed) // never fails
	path := filepath.Join(share, "seed")
	if err := errors.Join(os.WriteFile(path, seed, 0o644), os.Chown(path, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	r := k.lab.expect(k.lab.run("boot", "--userland=host", "--kernel", image, "--share", "share:"+share, "--", `
set -e
cd /mnt/share
stat -c %u:%g .
mkdir d
echo x >d/root
chmod 777 d
setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'echo x >d/other'
chown 33:33 d/root
cp -a /etc/passwd d
tar cf - d | tar xf - --one-top-level=unpacked
i=0
while [ $i -lt 64 ]; do cat seed; i=$((i+1)); done >big
`), 0)
	owners(t, share)
	if r.stdout != "0:0\n" {
		t.Errorf("in the guest the user's directory belongs to %s", r.stdout)
	}
	big, err := os.Open(filepath.Join(share, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer big.Close()
	part := make([]byte, len(seed))
	for i := range 64 {
		if _, err := io.ReadFull(big, part); err != nil || !bytes.Equal(part, seed) {
			t.Fatalf("part %d of what the guest wrote is wrong, %v", i, err)
		}
	}
	if n, err := io.Copy(io.Discard, big); n != 0 || err != nil {
		t.Errorf("%d bytes too many, %v", n, err)
	}
}

// nixDaemon starts nix's daemon, and waits until it answers: the socket of one before
// may still be there.
const nixDaemon = `NIX_REMOTE= nix-daemon >/dev/null 2>&1 &
until NIX_REMOTE=daemon nix --extra-experimental-features nix-command store ping >/dev/null 2>&1; do sleep 0.1; done`

func TestOrdinaryUsersNix(t *testing.T) {
	k := trixieKernel(t)
	flake := k.lab.flake("minimal")
	share, image := ordinaryUser(t, k, nixDaemon)
	readableToAll(t, flake)
	k.lab.env = append(k.lab.env, "NIX_REMOTE=daemon")
	r := k.lab.expect(k.lab.run("boot", "--flake", flake, "--kernel", image, "--share", "share:"+share, "--", `
set -e
mkdir /mnt
mount -t virtiofs share /mnt
echo from the guest >/mnt/file
touch /nix/store/x && exit 50
mount -o remount,rw /nix/store
touch /nix/store/x && exit 51
id -u
`), 0)
	if r.stdout != "0\n" {
		t.Errorf("got %q", r.stdout)
	}
	owners(t, share)
	if data, err := os.ReadFile(filepath.Join(share, "file")); err != nil || !bytes.Equal(data, []byte("from the guest\n")) {
		t.Errorf("the guest wrote %q, %v", data, err)
	}
}

// All at once: an ordinary user, with a userland of which systemd is the first
// process, out of a store that isn't his.
func TestOrdinaryUsersSystemd(t *testing.T) {
	needTrixie(t)
	k, flake := systemdKernel(t)
	k.lab.dir = "/tmp"
	k.lab.enterTrixie()
	k.lab.tool("nix-store", "--add-fixed", "--recursive", "sha256", os.Getenv("RUN_KERNEL_TEST_DEBIAN_ROOT"))
	// What a tree is known by, for exec to find the VM.
	tree := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(tree, "scripts/kconfig"), 0o755), os.Mkdir(filepath.Join(tree, "init"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Kbuild", "Kconfig", "Makefile", "init/main.c"} {
		copyOver(t, filepath.Join(tree, name), filepath.Join(k.source, name))
	}
	if err := os.Chown(tree, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	readableToAll(t, tree)
	readableToAll(t, flake)
	share, image := ordinaryUser(t, k, nixDaemon+"\ncd "+tree)
	k.lab.env = append(k.lab.env, "NIX_REMOTE=daemon")
	s := k.lab.start("boot", "--kernel", image, "--timeout", "2m", "--share", "share:"+share, "--", `
set -e
systemctl is-active multi-user.target
systemctl --failed --no-legend
mount -t virtiofs share /mnt
mkdir /mnt/d
dd if=/dev/urandom of=/mnt/d/big bs=1M count=64 status=none
chown 33:33 /mnt/d/big
sync
sha256sum </mnt/d/big
echo up
until [ -e /run/done ]; do sleep 0.2; done
`)
	printed := s.wait("up\n")
	r := k.lab.expect(k.lab.run("exec", "--", "sh", "-c", "cat /proc/1/comm; id -u; touch /nix/store/x"), 1)
	if r.stdout != "systemd\n0\n" || !strings.Contains(r.stderr, "Read-only file system") {
		t.Errorf("got %q, %s", r.stdout, r.stderr)
	}
	big, err := os.ReadFile(filepath.Join(share, "d/big"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("active\n%x  -\nup\n", sha256.Sum256(big)); !strings.HasSuffix(printed, want) {
		t.Errorf("got %q, want %q", printed, want)
	}
	owners(t, share)
	k.lab.run("exec", "--", "touch", "/run/done") // the VM may end before it answers
	s.awaitEnd()
}

// readableToAll lets everybody into dir.
func readableToAll(t *testing.T, dir string) {
	t.Helper()
	for path := dir; path != "/tmp"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// An ordinary user whom no virtiofsd serves gets 9p, and what the guest writes is
// his.
func TestOrdinaryUser9P(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to be another user; TestShares9P is as this one")
	}
	k := bootKernel(t)
	args := []string{"boot", "--userland=host"}
	notice := "9p instead of virtiofs, which is faster: "
	if p, err := virtiofs.Find(t.Context(), ""); err == nil && p.Rust {
		args, notice = append(args, "--mount-type=9p"), ""
	}
	k.lab.wrap = asUser
	share, image := k.usersHome()
	r := k.lab.expect(k.lab.run(append(args, "--kernel", image, "--share", "share:"+share, "--", `
set -e
id -u
grep -q ' / overlay ' /proc/mounts
test -n "$(cat /etc/shadow)" && exit 50
mkdir /tmp/root
mount -t 9p -o trans=virtio,version=9p2000.L run-kernel.root /tmp/root && touch /tmp/root/tmp/by-the-guest && exit 51
cd /mnt/share
mkdir -p d/e
echo x >d/e/file
chmod 640 d/e/file
ln -s file d/e/link
cat d/e/link
dd if=/dev/urandom of=big bs=1M count=64 2>/dev/null
sha256sum <big
`)...), 0)
	if !strings.Contains(r.stderr, notice) {
		t.Errorf("no notice in %s", r.stderr)
	}
	big, err := os.ReadFile(filepath.Join(share, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("0\nx\n%x  -\n", sha256.Sum256(big)); r.stdout != want {
		t.Errorf("got %q, want %q", r.stdout, want)
	}
	owners(t, share)
	st, err := os.Stat(filepath.Join(share, "d/e/file"))
	if err != nil || st.Mode() != 0o640 {
		t.Errorf("the guest made %+v, %v", st, err)
	}
	if to, err := os.Readlink(filepath.Join(share, "d/e/link")); to != "file" || err != nil {
		t.Errorf("the guest made a link to %q, %v", to, err)
	}
	if _, err := os.Stat("/tmp/by-the-guest"); err == nil {
		t.Error("the guest wrote a file of the host")
	}
}
