// SPDX-License-Identifier: GPL-3.0-only

package control

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// An Address is where an owner is found: by its build directory, and by the name
// of its VM, where it has one. Who has the address without a name has the build
// directory to itself, to build in it.
type Address struct{ Build, Name string }

// nameForm is that of names. They are part of a socket's, and of a directory's.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

// CheckName says what is wrong with the name of a VM.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q: a name has 1 to 32 letters, digits, dots, hyphens and underscores, and begins with one of the first two", name)
	}
	return nil
}

// socket returns the name of the socket.
func (a Address) socket() (string, error) {
	real, err := filepath.EvalSymlinks(a.Build)
	if err != nil {
		return "", err
	}
	if real, err = filepath.Abs(real); err != nil {
		return "", err
	}
	socket := fmt.Sprintf("@run-kernel-%x", sha256.Sum256([]byte(real)))[:44]
	if a.Name != "" {
		socket += nameSeparator + a.Name
	}
	return socket, nil
}

const nameSeparator = "."

// listening are the flags of a socket that listens, in /proc/net/unix:
// __SO_ACCEPTCON in include/uapi/linux/net.h of the kernel.
const listening = "00010000"

// List returns the addresses in a build directory that somebody has, the one
// without a name first.
func List(build string) ([]Address, error) {
	socket, err := Address{Build: build}.socket()
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	var list []Address
	for line := range strings.Lines(string(data)) {
		// Num RefCount Protocol Flags Type St Inode Path
		fields := strings.Fields(line)
		if len(fields) != 8 || fields[3] != listening {
			continue
		}
		rest, ours := strings.CutPrefix(fields[7], socket)
		name, named := strings.CutPrefix(rest, nameSeparator)
		if ours && (rest == "" || named && nameForm.MatchString(name)) {
			list = append(list, Address{build, name})
		}
	}
	slices.SortFunc(list, func(a, b Address) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}
