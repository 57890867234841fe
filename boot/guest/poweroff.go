// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// termTime is how long processes have after SIGTERM, and hupTime after SIGHUP. The
	// host waits for longer than both.
	termTime = 2 * time.Second
	hupTime  = 3 * time.Second
)

// powerOff ends the guest in an orderly way: by systemd where that is the first
// process, else after all processes were asked to end.
func (a *agent) powerOff() {
	if init := a.config.Init; init != nil && init.Systemctl != "" {
		_, ended, err := a.reaper.start(init.Systemctl, []string{"systemctl", "poweroff"}, &os.ProcAttr{Env: os.Environ()})
		if err == nil {
			if status := <-ended; status.ExitStatus() == 0 {
				return
			}
		}
		log.Printf("systemctl poweroff failed: %v", err)
	}
	// What is stopped gets the signal when it goes on.
	_ = unix.Kill(-1, unix.SIGTERM)
	_ = unix.Kill(-1, unix.SIGCONT)
	if !awaitProcesses(termTime) {
		// Interactive shells ignore the first. Together with it, it would end others
		// before their handlers have done anything.
		_ = unix.Kill(-1, unix.SIGHUP)
		awaitProcesses(hupTime)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		log.Printf("power off: %v", err)
	}
}

// awaitProcesses waits until no process of the userland is left, and says whether
// that is so after limit.
func awaitProcesses(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); userProcesses(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// userProcesses says whether there are processes besides the first and us. Those of
// the kernel have no program.
func userProcesses() bool {
	programs, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range programs {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		if _, err := os.Readlink(link); err == nil {
			return true
		}
	}
	return false
}
