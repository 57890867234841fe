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

// termTime is how long processes have to end. The host waits longer.
const termTime = 5 * time.Second

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
	// Interactive shells ignore the first, and stopped processes get both when they go on.
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGCONT} {
		_ = unix.Kill(-1, signal)
	}
	for deadline := time.Now().Add(termTime); len(userProcesses()) > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		log.Printf("power off: %v", err)
	}
}

// userProcesses lists the processes besides the first and us. Those of the kernel
// have no program.
func userProcesses() []int {
	var pids []int
	programs, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range programs {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		if _, err := os.Readlink(link); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
