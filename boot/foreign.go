// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/elffile"
	"github.com/metaspace/run-kernel/internal/proc"
)

// A ForeignError says what a guest of another architecture lacks.
type ForeignError struct{ problem, hint string }

func (e *ForeignError) Error() string { return e.problem }

// Hint is how it is made.
func (e *ForeignError) Hint() string { return e.hint }

// FindInit returns the program that becomes the guest's init: this one, or, for
// another architecture, the one named, or one with the architecture in its name: in
// $PATH, beside this one, or where a package has it, in ../lib/run-kernel from there.
func FindInit(named, guest string) (string, error) {
	host := arch.Host().Name
	if named == "" && guest == host {
		return "/proc/self/exe", nil
	}
	name := "run-kernel-linux-" + arch.Of(guest).Go
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), name)
	path := named
	if path == "" {
		if path, err = proc.Look(name, filepath.Dir(self), filepath.Join(filepath.Dir(self), "../lib/run-kernel")); err != nil {
			return "", &ForeignError{
				fmt.Sprintf("a guest of %s needs a run-kernel of that architecture as its init: no %s beside %s or in $PATH", guest, name, self),
				fmt.Sprintf("in run-kernel's source: CGO_ENABLED=0 GOOS=linux GOARCH=%s go build -o %s ./cmd/run-kernel; --guest-init names one elsewhere",
					arch.Of(guest).Go, qemu.Quote([]string{beside})),
			}
		}
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", &ForeignError{fmt.Sprintf("the guest's init %s: %v", path, err), "--guest-init names a run-kernel for " + guest}
	}
	defer f.Close()
	if got := arch.OfELF(f.Machine, f.Class).Name; got != guest {
		return "", &ForeignError{fmt.Sprintf("the guest's init %s is for %s, and the guest of %s", path, got, guest), "--guest-init names a run-kernel for " + guest}
	}
	if libs, err := f.ImportedLibraries(); guest != host && (err != nil || len(libs) > 0) {
		return "", &ForeignError{fmt.Sprintf("the guest's init %s needs libraries of %s", path, guest), "build it with CGO_ENABLED=0"}
	}
	return path, nil
}

// FindGDB returns a gdb for guests of an architecture. Debian's gdb knows only the
// processor that it runs on; gdb-multiarch knows all.
func FindGDB(guest string) (string, error) {
	if guest != arch.Host().Name {
		if path, err := proc.Look("gdb-multiarch"); err == nil {
			return path, nil
		}
	}
	return proc.Look("gdb")
}

// checkUserland says when the programs of a directory can't be run by the guest.
func checkUserland(dir, guest string) error {
	if dir == "" {
		return nil // a system of nix's
	}
	const hint = "as root: debootstrap --foreign --variant=minbase --arch=%s trixie DIR; then --userland DIR"
	advice := fmt.Sprintf(hint, arch.Of(guest).Debian)
	if host := arch.Host().Name; filepath.Clean(dir) == "/" && guest != host {
		return &ForeignError{fmt.Sprintf("the host's programs are for %s, and the guest of %s", host, guest), advice}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil // the share says what is wrong with it
	}
	defer root.Close()
	sh, err := root.OpenFile("bin/sh", os.O_RDONLY|unix.O_NONBLOCK, 0) // a named pipe would wait for a writer
	if err != nil {
		return nil // a link to somewhere else in the guest, or none
	}
	defer sh.Close()
	f, err := elffile.NewFile(sh)
	if err != nil {
		return nil // a script
	}
	if got := arch.OfELF(f.Machine, f.Class).Name; got != guest && arch.Of(got).Guest != nil {
		return &ForeignError{fmt.Sprintf("the programs in %s are for %s, and the guest is of %s", dir, got, guest), advice}
	}
	return nil
}
