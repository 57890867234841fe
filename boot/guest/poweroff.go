// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"log"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// termTime is how long processes have after SIGTERM, and hupTime after SIGHUP. The
	// host waits for longer than all of it.
	termTime = 2 * time.Second
	hupTime  = 3 * time.Second
	// tellTime is how long the host may take to hear how the sessions have ended.
	tellTime = time.Second
)

// powerOff ends the guest in an orderly way: by systemd where that is the first
// process, else after all processes were asked to end.
func (a *agent) powerOff() {
	if a.config.PowerOff != nil {
		a.config.PowerOff()
		return
	}
	if init := a.config.Init; init != nil && init.Systemctl != "" {
		_, ended, err := a.reaper.start(init.Systemctl, []string{"systemctl", "poweroff"}, &os.ProcAttr{Env: os.Environ()})
		if err == nil {
			if status := <-ended; status.ExitStatus() == 0 {
				a.endSessions()
				return
			}
		}
		log.Printf("systemctl poweroff failed: %v", err)
	}
	// What is stopped gets the signal when it goes on.
	_ = unix.Kill(-1, unix.SIGTERM)
	_ = unix.Kill(-1, unix.SIGCONT)
	if !await(termTime, noProcesses) {
		// Interactive shells ignore the first. Together with it, it would end others
		// before their handlers have done anything.
		_ = unix.Kill(-1, unix.SIGHUP)
		await(hupTime, noProcesses)
	}
	unix.Sync()
	// Else who runs a command would get the guest's end for the command's.
	await(tellTime, a.noSessions)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		log.Printf("power off: %v", err)
	}
}

// endSessions ends the sessions while systemd stops its services, as it would end
// a user's. Its own killing comes last, too late for telling the host.
func (a *agent) endSessions() {
	a.signalSessions(unix.SIGTERM)
	if !await(termTime, a.noSessions) {
		a.signalSessions(unix.SIGHUP)
	}
}

// signalSessions sends a signal to all sessions' commands, be they stopped.
func (a *agent) signalSessions(n syscall.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.sessions {
		s.signal(n)
		s.signal(unix.SIGCONT)
	}
}

// noSessions says whether there is no session whose end the host hasn't confirmed.
func (a *agent) noSessions() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.sessions) == 0
}

// await waits until something is so, and says whether it is after limit.
func await(limit time.Duration, is func() bool) bool {
	for deadline := time.Now().Add(limit); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// noProcesses says whether there is none besides the first and us. Those of the
// kernel have no program.
func noProcesses() bool {
	programs, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range programs {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		if _, err := os.Readlink(link); err == nil {
			return false
		}
	}
	return true
}
