// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"

	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/internal/proc"
)

// A ForeignError says what a guest of another architecture lacks.
type ForeignError struct{ problem, hint string }

func (e *ForeignError) Error() string { return e.problem }

// Hint is how it is made.
func (e *ForeignError) Hint() string { return e.hint }

// FindInit returns the program that becomes the guest's init: this one, or, for
// another architecture, the one named, or one beside this one or in $PATH with
// the architecture in its name.
func FindInit(named, arch string) (string, error) {
	if named == "" && arch == qemu.ThisHost().Arch {
		return "/proc/self/exe", nil
	}
	name := "run-kernel-linux-" + qemu.GOARCH(arch)
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), name)
	path := named
	if path == "" {
		if path, err = proc.Look(name, filepath.Dir(self)); err != nil {
			return "", &ForeignError{
				fmt.Sprintf("a guest of %s needs a run-kernel of that architecture as its init: no %s beside %s or in $PATH", arch, name, self),
				fmt.Sprintf("in run-kernel's source: CGO_ENABLED=0 GOOS=linux GOARCH=%s go build -o %s ./cmd/run-kernel; --guest-init names one elsewhere",
					qemu.GOARCH(arch), qemu.Quote([]string{beside})),
			}
		}
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", &ForeignError{fmt.Sprintf("the guest's init %s: %v", path, err), "--guest-init names a run-kernel for " + arch}
	}
	defer f.Close()
	if got := machineArch(f.Machine); got != arch {
		return "", &ForeignError{fmt.Sprintf("the guest's init %s is for %s, and the guest of %s", path, got, arch), "--guest-init names a run-kernel for " + arch}
	}
	if libs, err := f.ImportedLibraries(); arch != qemu.ThisHost().Arch && (err != nil || len(libs) > 0) {
		return "", &ForeignError{fmt.Sprintf("the guest's init %s needs libraries of %s", path, arch), "build it with CGO_ENABLED=0"}
	}
	return path, nil
}

// FindGDB returns a gdb for guests of an architecture. Debian's gdb knows only the
// processor that it runs on; gdb-multiarch knows all.
func FindGDB(arch string) (string, error) {
	if arch != qemu.ThisHost().Arch {
		if path, err := proc.Look("gdb-multiarch"); err == nil {
			return path, nil
		}
	}
	return proc.Look("gdb")
}

// checkUserland says when the programs of a directory can't be run by the guest.
func checkUserland(dir, arch string) error {
	if dir == "" {
		return nil // a system of nix's
	}
	const hint = "as root: debootstrap --foreign --variant=minbase --arch=%s trixie DIR; then --userland DIR"
	// Debian's names are Go's.
	advice := fmt.Sprintf(hint, qemu.GOARCH(arch))
	if filepath.Clean(dir) == "/" && arch != qemu.ThisHost().Arch {
		return &ForeignError{fmt.Sprintf("the host's programs are for %s, and the guest of %s", qemu.ThisHost().Arch, arch), advice}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil // the share says what is wrong with it
	}
	defer root.Close()
	sh, err := root.Open("bin/sh")
	if err != nil {
		return nil // a link to somewhere else in the guest, or none
	}
	defer sh.Close()
	f, err := elf.NewFile(sh)
	if err != nil {
		return nil // a script
	}
	if got := machineArch(f.Machine); got != arch && images[got] != "" {
		return &ForeignError{fmt.Sprintf("the programs in %s are for %s, and the guest is of %s", dir, got, arch), advice}
	}
	return nil
}
