// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/internal/trust"
)

// errNotIsolated says that an isolated guest would see this host's files.
var errNotIsolated error = notIsolatedError{}

type notIsolatedError struct{}

func (notIsolatedError) Error() string {
	return "an isolated guest doesn't get this host's root directory as its userland"
}

func (notIsolatedError) Hint() string {
	return "name another: --userland DIR (as root: debootstrap --variant=minbase trixie DIR makes one), or --userland nix"
}

// hidden makes the paths of the key hide absolute. Of a user's home, both that of who
// called sudo and root's count.
func hidden(list []string, dir string) []string {
	var paths []string
	for _, path := range list {
		rest, ofHome := strings.CutPrefix(path+"/", "~/")
		switch {
		case ofHome:
			for _, home := range homes() {
				paths = append(paths, filepath.Join(home, rest))
			}
		case filepath.IsAbs(path):
			paths = append(paths, path)
		default:
			paths = append(paths, filepath.Join(dir, path))
		}
	}
	return paths
}

// homes are the invoking user's home directories.
func homes() []string {
	var list []string
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		list = append(list, home)
	}
	uid, _ := trust.SudoOwner()
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil && (len(list) == 0 || list[0] != u.HomeDir) {
		list = append(list, u.HomeDir)
	}
	return list
}
