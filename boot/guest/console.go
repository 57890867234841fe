// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// serveConsole runs a shell on the kernel's console. The guest ends with it.
func (a *agent) serveConsole(c *Console) {
	if err := a.runConsole(c); err != nil {
		log.Printf("a shell on the console: %v", err)
		return
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func (a *agent) runConsole(c *Console) error {
	name, err := consoleName()
	if err != nil {
		return err
	}
	// Not /dev/console, which can't be a controlling terminal: Ctrl-C would do nothing.
	tty, err := os.OpenFile("/dev/"+name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	if c.Rows > 0 && c.Columns > 0 {
		// A serial port knows nothing of the terminal at its other end.
		_ = setSize(tty, uint32(c.Rows), uint32(c.Columns))
	}
	s := newSession(a, nil)
	shell, dir := s.shell(), directory(a.config.Dir)
	attr := &os.ProcAttr{
		Dir: dir, Env: s.environ(dir), Files: []*os.File{tty, tty, tty},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true},
	}
	_, ended, err := a.reaper.start(shell, []string{"-" + filepath.Base(shell)}, attr)
	if err != nil {
		return err
	}
	<-ended
	return nil
}

// consoleName is the terminal that /dev/console stands for: the last of those
// that the kernel writes its messages to; see Documentation/ABI/testing/sysfs-tty.
func consoleName() (string, error) {
	active, err := os.ReadFile("/sys/class/tty/console/active")
	if err != nil {
		return "", err
	}
	names := strings.Fields(string(active))
	if len(names) == 0 {
		return "", fmt.Errorf("the kernel has no console")
	}
	return names[len(names)-1], nil
}
