// SPDX-License-Identifier: GPL-3.0-only

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Root in the guest changes nothing of what is shared read-only, whatever it
// tries; see testdata/attack.
func TestReadOnlyHolds(t *testing.T) { testReadOnlyHolds(t, bootKernel(t), "virtiofs") }

func TestReadOnlyHolds9P(t *testing.T) { testReadOnlyHolds(t, bootKernel(t), "9p") }

func TestTrixieReadOnlyHolds(t *testing.T) { testReadOnlyHolds(t, trixieKernel(t), "virtiofs") }

func TestTrixieReadOnlyHolds9P(t *testing.T) { testReadOnlyHolds(t, trixieKernel(t), "9p") }

// mayFail are attacks that some kernels, file systems or daemons don't know. By 9p,
// qemu 7.2 makes no special files.
var mayFail = []string{"tmpfile", "setxattr", "handle", "exchange", "fallocate", "fifo", "block-device", "char-device"}

func testReadOnlyHolds(t *testing.T, k *kernel, mountType string) {
	flake, dir := k.lab.flake("minimal"), t.TempDir()
	attack := filepath.Join(flake, "attack")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", attack, "./testdata/attack")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	writable, readOnly := filepath.Join(dir, "rw"), filepath.Join(dir, "ro")
	var names []string
	for _, d := range []string{writable, readOnly, flake} {
		out, err := exec.Command(attack, "prepare", filepath.Join(d, "victim")).CombinedOutput()
		if err != nil {
			t.Fatalf("attack: %v: %s", err, out)
		}
		names = strings.Fields(string(out))
	}
	// Where the flake will be in the store.
	var metadata struct {
		Path string `json:"path"`
	}
	if err := json.Unmarshal([]byte(k.lab.tool("nix", "flake", "metadata", "--json", "path:"+flake)), &metadata); err != nil {
		t.Fatal(err)
	}
	stored := filepath.Base(metadata.Path)
	store := "/nix/store"
	if len(k.lab.wrap) > 0 {
		store = os.Getenv("RUN_KERNEL_TEST_TRIXIE") + store
	}
	guarded := []string{readOnly, filepath.Join(store, stored)}
	var before []map[string]string
	for _, d := range guarded {
		before = append(before, snapshot(t, d))
	}

	token := fmt.Sprintf("written by the guest of %s", k.lab.mark)
	root, err := os.Stat("/")
	if err != nil {
		t.Fatal(err)
	}
	device := root.Sys().(*syscall.Stat_t).Dev
	r := k.lab.expect(k.boot("--flake", flake, "--mount-type", mountType, "--share", "rw:"+writable, "--share", "ro:"+readOnly+":ro", "--", `
attack=/nix/store/`+stored+`/attack
$attack share `+mountType+` rw /mnt/rw victim
$attack share `+mountType+` ro /mnt/ro victim
$attack share `+mountType+` run-kernel.store /nix/store `+stored+`/victim

# Devices of the host aren't behind the nodes that the guest makes of them.
rw=/run/attack-again-rw
mknod $rw/disk b `+fmt.Sprintf("%d %d", unix.Major(device), unix.Minor(device))+`
head -c 512 $rw/disk && exit 50
mknod $rw/kmsg c 1 11 || exit 0
echo '`+token+`' >$rw/kmsg
dmesg | grep '`+token+`'
`), 0)
	for i, d := range guarded {
		if diff := cmp.Diff(before[i], snapshot(t, d)); diff != "" {
			t.Errorf("the guest has changed %s:\n%s", d, diff)
		}
	}
	// What can't fail elsewhere proves nothing here.
	did := make(map[string]bool)
	for line := range strings.Lines(r.stdout) {
		var name, in string
		if n, _ := fmt.Sscanf(line, "did %s in %s", &name, &in); n != 2 {
			continue
		}
		if did[name] = true; !strings.Contains(in, "rw/victim") {
			t.Errorf("the guest %s", line)
		}
	}
	for _, name := range names {
		if !did[name] && !slices.Contains(mayFail, name) {
			t.Errorf("%s fails in a writable share as well", name)
		}
	}
	if messages, err := exec.Command("dmesg").Output(); err != nil || strings.Contains(string(messages), token) {
		t.Errorf("the guest wrote to the host's kernel: %v", err)
	}
}

// snapshot describes all below dir. Every change of a file shows in its ctime.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		var text []byte
		if d.Type().IsRegular() {
			text, err = os.ReadFile(path)
		}
		files[path] = fmt.Sprintf("%d %o %d:%d %d %d %d %d.%09d %.40q", st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size,
			st.Mtim.Nano(), st.Ctim.Sec, st.Ctim.Nsec, text)
		return err
	})
	if err != nil || len(files) < 2 {
		t.Fatal(errors.Join(err, fmt.Errorf("%s has %d files", dir, len(files))))
	}
	return files
}
