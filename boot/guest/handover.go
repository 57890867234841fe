// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// agentName is what the agent is called where it isn't the first process. With
// the @, systemd's last killing of all processes passes it by, so that the host
// is connected until the power is off; see ROOT_STORAGE_DAEMONS of systemd.
const agentName = "@run-kernel-agent"

// Descriptors of the agent beside the first process.
const (
	agentPort   = 3 + iota
	agentRoot   // the root directory that it enters
	agentHanded // ends when the first process has become the userland's
)

// handOver makes a tmpfs the root, leaves the agent behind and becomes c.Init,
// the init of a whole system. It returns only an error.
//
// Such an init mounts /proc and its like by itself, and takes a /proc for a sign
// that another did: NixOS's second stage does.
func handOver(c *Config, port *os.File) error {
	const root = "/root.new"
	// A mount, not the initial rootfs, for pivot_root(2); see switchRoot.
	if err := (mount{"tmpfs", root, "tmpfs", 0, "mode=755"}).do(); err != nil {
		return err
	}
	if err := c.mountShares(root); err != nil {
		return err
	}
	if err := unix.Access(root+c.Init.Path, unix.X_OK); err != nil {
		return fmt.Errorf("the userland's init %s: %w", c.Init.Path, err)
	}
	handed, err := startAgent(port, root)
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	// A failure ends the agent as well.
	defer handed.Close()
	if err := moveRoot(root); err != nil {
		return err
	}
	// What the kernel didn't know of its command line it gave to us.
	err = unix.Exec(c.Init.Path, append([]string{c.Init.Path}, os.Args[1:]...), os.Environ())
	return fmt.Errorf("become %s: %w", c.Init.Path, err)
}

// startAgent starts this program as the agent. The exec of the caller closes the
// pipe that it returns, and so tells the agent.
func startAgent(port *os.File, root string) (*os.File, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	// Not the console, which a getty hangs up.
	messages, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		messages, err = null, nil // CONFIG_PRINTK is off
	}
	if err != nil {
		return nil, err
	}
	defer messages.Close()
	waits, handed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer waits.Close()
	agent, err := os.StartProcess("/proc/self/exe", []string{agentName}, &os.ProcAttr{
		Files: []*os.File{null, messages, messages, agentPort: port, agentRoot: dir, agentHanded: waits},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, errors.Join(err, handed.Close())
	}
	return handed, errors.Join(agent.Release(), port.Close())
}

// AgentMain is the agent beside an init of the userland's. It returns at once
// when this process isn't for that, and otherwise never.
func AgentMain() {
	if os.Args[0] != agentName {
		return
	}
	log.SetFlags(0)
	log.SetPrefix("run-kernel: ")
	if err := runAgent(); err != nil {
		log.Print(err)
	}
	os.Exit(1)
}

func runAgent() error {
	c, err := readConfig()
	if err != nil {
		return err
	}
	if err := unix.Fchdir(agentRoot); err != nil {
		return fmt.Errorf("agent: enter the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("agent: enter the root: %w", err)
	}
	if err := unix.Close(agentRoot); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	// None of them is for the commands that it starts.
	for _, fd := range []int{agentPort, agentHanded} {
		unix.CloseOnExec(fd)
	}
	// Files that are passed to another process are made blocking on the way.
	if err := unix.SetNonblock(agentPort, true); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	handed := os.NewFile(agentHanded, "handed")
	_, _ = io.Copy(io.Discard, handed)
	_ = handed.Close()
	if c.Init.Systemctl != "" {
		awaitSystemd(c.Init.Systemctl)
	} else {
		awaitFile("/bin/sh") // which sessions need
	}
	up := make(chan error, 1)
	up <- nil
	return Serve(c, os.NewFile(agentPort, AgentPort), up)
}

// awaitSystemd waits until systemd has started all that it is to start at boot,
// or has given up. A boot that hangs is the host's to notice.
func awaitSystemd(systemctl string) {
	// By this socket systemctl asks; systemd makes it before it starts anything.
	awaitFile("/run/systemd/private")
	for ; ; time.Sleep(200 * time.Millisecond) {
		// Its status is not 0 for all states but one.
		out, _ := exec.Command(systemctl, "is-system-running", "--wait").Output()
		switch state := strings.TrimSpace(string(out)); state {
		case "running", "stopping":
			return
		case "degraded", "maintenance":
			log.Printf("systemd is %s: `systemctl --failed` lists the units that failed", state)
			return
		}
	}
}

func awaitFile(path string) {
	for unix.Access(path, unix.F_OK) != nil {
		time.Sleep(20 * time.Millisecond)
	}
}
