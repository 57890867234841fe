// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// An account is a user of the guest, as its /etc/passwd and /etc/group have them.
type account struct {
	name, home string
	credential syscall.Credential
}

// findAccount finds a user by name or number.
func findAccount(name string) (*account, error) {
	u, err := user.Lookup(name)
	if errors.As(err, new(user.UnknownUserError)) {
		if byNumber, numberErr := user.LookupId(name); numberErr == nil {
			u, err = byNumber, nil
		}
	}
	if err != nil {
		return nil, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	a := &account{name: u.Username, home: u.HomeDir}
	if a.credential.Uid, err = number(u.Uid); err != nil {
		return nil, err
	}
	if a.credential.Gid, err = number(u.Gid); err != nil {
		return nil, err
	}
	for _, g := range groups {
		n, err := number(g)
		if err != nil {
			return nil, err
		}
		a.credential.Groups = append(a.credential.Groups, n)
	}
	return a, nil
}

func number(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err == nil && n == math.MaxUint32 {
		err = errors.New("it is no user's or group's")
	}
	return uint32(n), err
}

// environ is what differs from root's environment.
func (a *account) environ() []string {
	return []string{"HOME=" + a.home, "USER=" + a.name, "LOGNAME=" + a.name}
}

// mayEnter says whether the user can make dir the working directory.
func (a *account) mayEnter(dir string) bool {
	entered := make(chan bool)
	go func() {
		// The thread ends with its rights.
		runtime.LockOSThread()
		if err := unix.Setgroups(a.groups()); err != nil {
			entered <- false
			return
		}
		_, _ = unix.SetfsgidRetGid(int(a.credential.Gid))
		_, _ = unix.SetfsuidRetUid(int(a.credential.Uid))
		_, err := os.Stat(dir + "/.")
		entered <- err == nil
	}()
	return <-entered
}

func (a *account) groups() []int {
	var groups []int
	for _, g := range a.credential.Groups {
		groups = append(groups, int(g))
	}
	return groups
}

// own gives the user the files that a command begins with: /dev/stdout and /dev/tty
// are opened anew.
func (a *account) own(files []*os.File) error {
	for _, f := range files {
		if err := f.Chown(int(a.credential.Uid), -1); err != nil {
			return err
		}
	}
	return nil
}
