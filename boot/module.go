// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cavaliergopher/cpio"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/internal/proc"
)

// An earlyModule is one that the guest needs before it has a userland.
type earlyModule struct {
	name string
	data []byte
}

// imageRelease is what uname -r will say under a bzImage; empty for another
// image. See kernel_version in Documentation/arch/x86/boot.rst.
func imageRelease(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 0x210)
	if _, err := io.ReadFull(f, head); err != nil || string(head[0x202:0x206]) != "HdrS" {
		return ""
	}
	offset := binary.LittleEndian.Uint16(head[0x20e:])
	if offset == 0 {
		return ""
	}
	text := make([]byte, 256)
	n, _ := f.ReadAt(text, int64(offset)+0x200)
	version, _, _ := bytes.Cut(text[:n], []byte{0})
	release, _, _ := strings.Cut(string(version), " ")
	return release
}

// findModules looks for the modules of an image that isn't the tree's: those of
// the root that it is installed in, or this host's.
func (o *Options) findModules() {
	if o.Modules != "" {
		return
	}
	release := imageRelease(o.Kernel)
	if release == "" || strings.Contains(release, "/") {
		return
	}
	if o.KernelVersion == "" {
		o.KernelVersion = release
	}
	root := filepath.Join(filepath.Dir(o.Kernel), "..")
	for _, base := range []string{root, filepath.Join(root, "usr"), "/"} { // Debian 13's packages have usr/lib
		dir := filepath.Join(base, "lib/modules", release)
		if _, err := os.Stat(filepath.Join(dir, "modules.dep")); err != nil {
			continue
		}
		o.Modules, o.ModulesRelease = dir, release
		if (o.System != "" || o.Userland != "/") && o.Build == "" {
			o.Build = dir // which the guest wouldn't see else
		}
		return
	}
}

// earlyModules reads the modules for the devices and file systems of the plan, in
// the order in which they are to be loaded. What isn't among the modules is taken
// to be built in.
func (p *plan) earlyModules(ctx context.Context) ([]earlyModule, error) {
	if p.options.Modules == "" {
		return nil, nil
	}
	data, err := os.ReadFile(filepath.Join(p.options.Modules, "modules.dep"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	wanted := []string{"virtio_pci", "virtio_console", "virtio_rng", "overlay"}
	if p.mounter.Type == NineP {
		wanted = append(wanted, "9pnet_virtio", "9p")
	} else {
		wanted = append(wanted, "virtiofs")
	}
	if p.options.Network {
		wanted = append(wanted, "virtio_net")
	}
	if len(p.disks) > 0 {
		wanted = append(wanted, "virtio_blk")
	}
	var list []earlyModule
	for _, file := range loadOrder(string(data), wanted) {
		module, err := readModule(ctx, filepath.Join(p.options.Modules, file))
		if err != nil {
			return nil, fmt.Errorf("module: %w", err)
		}
		list = append(list, earlyModule{moduleName(file), module})
	}
	return list, nil
}

// moduleName is the name by which modprobe knows a file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// loadOrder lists the files of modules, and of those that they depend on, each
// after those; see modules.dep(5).
func loadOrder(dep string, wanted []string) []string {
	needs := map[string][]string{} // by name: the module's file, and those that it needs, the nearest first
	for line := range strings.Lines(dep) {
		file, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok {
			needs[moduleName(file)] = append([]string{file}, strings.Fields(rest)...)
		}
	}
	var order []string
	for _, name := range wanted {
		for _, file := range slices.Backward(needs[name]) {
			if !slices.Contains(order, file) {
				order = append(order, file)
			}
		}
	}
	return order
}

// decompressors are the programs for the suffixes of compressed modules that Go
// itself can't read.
var decompressors = map[string]string{".xz": "xz", ".zst": "zstd"}

// decompressTime is how long one may take.
const decompressTime = 2 * time.Second

// readModule reads a module, and decompresses it: not every kernel can.
func readModule(ctx context.Context, path string) ([]byte, error) {
	if program, ok := decompressors[filepath.Ext(path)]; ok {
		tool, err := proc.Look(program)
		if err != nil {
			return nil, err
		}
		return proc.Output(ctx, exec.Command(tool, "-dc", path), decompressTime)
	}
	data, err := os.ReadFile(path)
	if err != nil || filepath.Ext(path) != ".gz" {
		return data, err
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return io.ReadAll(r)
}

// writeModules writes another archive, which the kernel unpacks over the one
// before it.
func writeModules(w io.Writer, list []earlyModule) error {
	if len(list) == 0 {
		return nil
	}
	archive := cpio.NewWriter(w)
	if err := archive.WriteHeader(&cpio.Header{Name: guest.ModulesDir[1:], Mode: cpio.TypeDir | 0o755}); err != nil {
		return err
	}
	for i, m := range list {
		// The init goes by their order.
		h := &cpio.Header{Name: fmt.Sprintf("%s/%03d-%s", guest.ModulesDir[1:], i, m.name), Mode: cpio.TypeReg | 0o644, Size: int64(len(m.data))}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		if _, err := archive.Write(m.data); err != nil {
			return err
		}
	}
	return archive.Close()
}
