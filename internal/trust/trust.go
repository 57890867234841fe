// SPDX-License-Identifier: GPL-3.0-only

package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// Variable is the environment variable with more trusted directories, with colons
// between them.
const Variable = "RUN_KERNEL_TRUST"

// A Policy says what is trusted. The zero Policy trusts what belongs to the
// effective user or to root.
type Policy struct {
	// Sudo is who became root by sudo; nil: nobody.
	Sudo *int
	// Dirs are trusted with all that is below them, whoever owns it. They are
	// absolute.
	Dirs []string
	// ConfigFile is the user's own configuration file, for messages; may be empty.
	ConfigFile string
}

// Sudo returns who became root by sudo, according to the value of SUDO_UID, and
// nil where that is nobody.
func Sudo(value string) *int {
	uid, err := strconv.Atoi(value)
	if err != nil || uid < 0 || os.Geteuid() != 0 {
		return nil
	}
	return &uid
}

// SudoOwner returns the user and the group that new files belong to: those who
// became root by sudo, or else the effective ones.
func SudoOwner() (uid, gid int) {
	user, group := Sudo(os.Getenv("SUDO_UID")), Sudo(os.Getenv("SUDO_GID"))
	if user == nil || group == nil {
		return os.Geteuid(), os.Getegid()
	}
	return *user, *group
}

// owner says whether a user is one whose files we trust.
func (p *Policy) owner(uid int) bool {
	return uid == os.Geteuid() || uid == 0 || p.Sudo != nil && uid == *p.Sudo
}

// self says whether a user is us: root is that only when we are root.
func (p *Policy) self(uid int) bool {
	return uid == os.Geteuid() || p.Sudo != nil && uid == *p.Sudo
}

// Owner says whether a user's files are trusted at a path, which must be without
// links.
func (p *Policy) Owner(path string, uid int) bool { return p.owner(uid) || p.Named(path) }

// Named says whether a path is in one of the directories that the user named. It
// must be without links.
func (p *Policy) Named(path string) bool {
	for _, dir := range p.Dirs {
		for _, d := range []string{dir, physical(dir)} {
			if rel, err := filepath.Rel(d, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
				return true
			}
		}
	}
	return false
}

func physical(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

// Check returns a *ForeignError when root, or one of the files in it, belongs to a
// user who isn't trusted. Of a link, both it and what it leads to count. A file
// that doesn't exist is no problem.
func (p *Policy) Check(what, root string, names ...string) error {
	real := physical(root)
	if p.Named(real) {
		return nil
	}
	for _, name := range append([]string{""}, names...) {
		path := filepath.Join(root, name)
		for _, stat := range []func(string) (fs.FileInfo, error){os.Lstat, os.Stat} {
			st, err := stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return err
			}
			if uid := ownerOf(st); !p.owner(uid) {
				return &ForeignError{What: what, Dir: real, Path: path, UID: uid, policy: p}
			}
		}
	}
	return nil
}

// Stops says whether a walk upwards, in search for a tree, ends below a directory:
// what is in a directory that everybody can write may be anybody's, and so may
// what is above. A directory of the user's own that everybody can write doesn't
// stop it, unless it is one like /tmp, with the sticky bit.
func (p *Policy) Stops(dir string) bool {
	st, err := os.Stat(dir)
	if err != nil || st.Mode().Perm()&0o002 == 0 || p.Named(physical(dir)) {
		return false
	}
	return st.Mode()&fs.ModeSticky != 0 || !p.self(ownerOf(st))
}

// ownerOf is the user that a file belongs to.
func ownerOf(st fs.FileInfo) int { return int(st.Sys().(*syscall.Stat_t).Uid) }

// A ForeignError says that something belongs to a user who isn't trusted.
type ForeignError struct {
	What string // such as "kernel tree"
	Dir  string // that it is, or that Path is in
	Path string // of the file whose owner isn't trusted
	UID  int    // whose it is

	policy *Policy
}

func (e *ForeignError) Error() string {
	path := e.Dir
	if e.Path != e.Dir && physical(e.Path) != e.Dir {
		path += ": " + e.Path
	}
	return fmt.Sprintf("the %s %s belongs to %s, and run-kernel would run what it says as %s", e.What, path, UserName(e.UID), UserName(os.Geteuid()))
}

// Hint is how it is allowed.
func (e *ForeignError) Hint() string { return "if you trust its owner, " + e.policy.allow(e.Dir) }

// allow is how a directory comes to be trusted.
func (p *Policy) allow(dir string) string {
	once := "set " + Variable + "=" + word(dir)
	switch own := p.ConfigFile != "" && p.ConfigFile != dir; {
	case own && strings.Contains(dir, ":"):
		return fmt.Sprintf("begin %s with the line: trust = [%q]", p.ConfigFile, dir)
	case own:
		return fmt.Sprintf("begin %s with the line: trust = [%q]; or, for once, %s", p.ConfigFile, dir, once)
	}
	return once
}

// Allow is a hint for a directory in which no tree is looked for, because
// everybody can write it.
func (p *Policy) Allow(dir string) string {
	return dir + " isn't looked at, since everybody can write it; if you trust all who do, " + p.allow(physical(dir))
}

var plainWord = pattern.New(`^[\w@%+=:,./-]+$`)

// word quotes a path for a shell, where it needs that.
func word(path string) string {
	if plainWord.MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// UserName is a user's name and number.
func UserName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("%s (uid %d)", u.Username, uid)
	}
	return fmt.Sprintf("uid %d", uid)
}
