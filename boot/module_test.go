// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoadOrder(t *testing.T) {
	const dep = `kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio_pci_legacy_dev.ko.xz kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/virtio/virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz
kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz
kernel/fs/fuse/fuse.ko:
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz

not a line
`
	want := []string{
		"kernel/drivers/virtio/virtio_ring.ko.xz", "kernel/drivers/virtio/virtio.ko.xz", "kernel/drivers/virtio/virtio_pci_legacy_dev.ko.xz",
		"kernel/drivers/virtio/virtio_pci.ko.xz", "kernel/drivers/char/hw_random/virtio-rng.ko", "kernel/fs/fuse/fuse.ko", "kernel/fs/fuse/virtiofs.ko",
	}
	if diff := cmp.Diff(want, loadOrder(dep, []string{"virtio_pci", "builtin", "virtio_rng", "virtiofs"})); diff != "" {
		t.Error(diff)
	}
}

// bzImage makes the head of an image of a release.
func bzImage(t *testing.T, path, release string) {
	t.Helper()
	data := make([]byte, 0x400)
	copy(data[0x202:], "HdrS")
	data[0x20e], data[0x20f] = 0x20, 0x01 // 0x120 beyond 0x200
	copy(data[0x320:], release+" (builder@host) #1 SMP\x00")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFindModules(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "boot/vmlinuz-6.1.0-56-amd64")
	bzImage(t, image, "6.1.0-56-amd64")
	if got := imageRelease(image); got != "6.1.0-56-amd64" {
		t.Errorf("release %q", got)
	}
	o := Options{Kernel: image, Userland: "/"}
	if o.findModules(); o.Modules != "" || o.KernelVersion != "6.1.0-56-amd64" {
		t.Errorf("without any: %+v", o)
	}
	modules := filepath.Join(dir, "lib/modules/6.1.0-56-amd64")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(modules, "modules.dep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if o.findModules(); o.Modules != modules || o.ModulesRelease != "6.1.0-56-amd64" || o.Build != "" {
		t.Errorf("got %+v", o)
	}
	// As Debian 13's package has it.
	usr := filepath.Join(dir, "usr/lib/modules/6.1.0-56-amd64")
	if err := os.MkdirAll(filepath.Dir(usr), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(modules, usr); err != nil {
		t.Fatal(err)
	}
	o = Options{Kernel: image, Userland: "/"}
	if o.findModules(); o.Modules != usr {
		t.Errorf("in usr/lib: %+v", o)
	}
	if err := os.Rename(usr, modules); err != nil {
		t.Fatal(err)
	}
	// Another root doesn't show them.
	o = Options{Kernel: image, Userland: "/srv/root"}
	if o.findModules(); o.Build != modules {
		t.Errorf("in another root: %+v", o)
	}
	o = Options{Kernel: image, Modules: "/mine"}
	if o.findModules(); o.Modules != "/mine" {
		t.Errorf("those of a build: %+v", o)
	}
	for _, text := range []string{"", "no kernel"} {
		path := filepath.Join(dir, "junk")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := imageRelease(path); got != "" {
			t.Errorf("release of %q: %q", text, got)
		}
	}
}

func TestReadModule(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "a.ko")
	if err := os.WriteFile(plain, []byte("module"), 0o644); err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte("module"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plain+".gz", zipped.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	files := []string{plain, plain + ".gz"}
	if xz, err := exec.LookPath("xz"); err == nil {
		if err := exec.Command(xz, "-k", plain).Run(); err != nil {
			t.Fatal(err)
		}
		files = append(files, plain+".xz")
	}
	for _, file := range files {
		if data, err := readModule(t.Context(), file); err != nil || string(data) != "module" {
			t.Errorf("%s: %q, %v", file, data, err)
		}
	}
	if _, err := readModule(t.Context(), filepath.Join(dir, "none.ko")); err == nil {
		t.Error("a module that isn't there is read")
	}
}
