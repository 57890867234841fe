// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cavaliergopher/cpio"
	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/guest"
)

// writeInitramfs writes a cpio archive with a program as /init and c
// as its configuration; see Documentation/driver-api/early-userspace/buffer-format.rst
// of the kernel. It isn't compressed: unpacking would take longer than copying.
func writeInitramfs(w io.Writer, init string, c *guest.Config) error {
	config, err := json.Marshal(c)
	if err != nil {
		return err
	}
	program, err := os.Open(init)
	if err != nil {
		return err
	}
	defer program.Close()
	archive := cpio.NewWriter(w)
	for _, dir := range []string{"dev", "proc", "sys"} {
		if err := archive.WriteHeader(&cpio.Header{Name: dir, Mode: cpio.TypeDir | 0o755}); err != nil {
			return err
		}
	}
	// The kernel opens it for the init before anything can be mounted.
	if err := errors.Join(archive.Flush(), writeConsole(w)); err != nil {
		return err
	}
	if err := addInit(archive, program); err != nil {
		return err
	}
	h := &cpio.Header{Name: guest.ConfigPath[1:], Mode: cpio.TypeReg | 0o644, Size: int64(len(config))}
	if err := archive.WriteHeader(h); err != nil {
		return err
	}
	if _, err := archive.Write(config); err != nil {
		return err
	}
	libs, err := libraries(program)
	if err != nil {
		return fmt.Errorf("find the libraries of the guest's init: %w", err)
	}
	dirs := map[string]bool{"dev": true, "proc": true, "sys": true}
	for _, lib := range libs {
		if err := addLibrary(archive, dirs, lib); err != nil {
			return err
		}
	}
	return archive.Close()
}

// writeConsole adds the device 5:1. Package cpio leaves out the numbers of
// devices; that the node in the kernel's own initramfs wins over ours is no more
// than likely.
func writeConsole(w io.Writer) error {
	const name = "dev/console\x00"
	// The magic number, then: inode, mode, uid, gid, links, time, size, device of
	// the archive, device of the node, length of the name, checksum.
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		0, unix.S_IFCHR|0o600, 0, 0, 1, 0, 0, 0, 0, 5, 1, len(name), 0)
	padding := make([]byte, -(len(header)+len(name))&3)
	_, err := io.WriteString(w, header+name+string(padding))
	return err
}

// addInit adds what of a program is loaded. Debug information and symbols are behind that,
// and a third of what go install makes.
func addInit(archive *cpio.Writer, program *os.File) error {
	f, err := elf.NewFile(program)
	if err != nil {
		return err
	}
	end := int64(0)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			end = max(end, int64(p.Off+p.Filesz))
		}
	}
	header := make([]byte, 64)
	if _, err := program.ReadAt(header, 0); err != nil {
		return err
	}
	if f.Class == elf.ELFCLASS64 && end >= int64(len(header)) {
		// It has no sections any more: e_shoff, e_shnum and e_shstrndx of elf(5).
		clear(header[40:48])
		clear(header[60:64])
	}
	if err := archive.WriteHeader(&cpio.Header{Name: "init", Mode: cpio.TypeReg | 0o755, Size: end}); err != nil {
		return err
	}
	_, err = io.Copy(archive, io.MultiReader(bytes.NewReader(header), io.NewSectionReader(program, int64(len(header)), end-int64(len(header)))))
	return err
}

// addFile copies in small pieces: memory that is used for the first time costs
// more than the copying.
func addFile(archive *cpio.Writer, name string, mode cpio.FileMode, f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeReg | mode, Size: st.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}

func addLibrary(archive *cpio.Writer, dirs map[string]bool, path string) error {
	if err := addParents(archive, dirs, filepath.Dir(path)[1:]); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return addFile(archive, path[1:], 0o755, f)
}

func addParents(archive *cpio.Writer, have map[string]bool, dir string) error {
	if dir == "." || dir == "" || have[dir] {
		return nil
	}
	if err := addParents(archive, have, filepath.Dir(dir)); err != nil {
		return err
	}
	have[dir] = true
	return archive.WriteHeader(&cpio.Header{Name: dir, Mode: cpio.TypeDir | 0o755})
}

// libraries returns the dynamic linker and the libraries that the program
// needs: none when it was built without cgo, the C library else.
func libraries(program io.ReaderAt) ([]string, error) {
	f, err := elf.NewFile(program)
	if err != nil {
		return nil, err
	}
	var linker string
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			linker = string(bytes.TrimRight(name, "\x00"))
		}
	}
	if linker == "" {
		return nil, nil
	}
	found := []string{linker}
	real, err := filepath.EvalSymlinks(linker)
	if err != nil {
		return nil, err
	}
	dirs := []string{filepath.Dir(linker), filepath.Dir(real), "/lib64", "/usr/lib64", "/lib", "/usr/lib"}
	seen := map[string]bool{filepath.Base(linker): true}
	machine := f.Machine
	queue := []*elf.File{f}
	for len(queue) > 0 {
		f, queue = queue[0], queue[1:]
		names, err := f.ImportedLibraries()
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			path, lib, err := openLibrary(name, dirs, machine)
			if err != nil {
				return nil, err
			}
			defer lib.Close()
			found = append(found, path)
			queue = append(queue, lib)
		}
	}
	return found, nil
}

func openLibrary(name string, dirs []string, machine elf.Machine) (string, *elf.File, error) {
	var errs []error
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		f, err := elf.Open(path)
		if err == nil && f.Machine != machine {
			err = errors.Join(fmt.Errorf("%s is for another machine", path), f.Close())
		}
		if err == nil {
			return path, f, nil
		}
		errs = append(errs, err)
	}
	return "", nil, errors.Join(errs...)
}

// memFile returns a file that has no name, so that nothing is left of it.
func memFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate("run-kernel-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
