// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Main is the guest's init. It is for the first process only, and returns never.
func Main() {
	log.SetFlags(0)
	log.SetPrefix("run-kernel: ")
	outliveSignals()
	if err := run(); err != nil {
		// The host looks for this line; the reset after it ends qemu.
		fmt.Printf("\n%s%v\n", FatalPrefix, err)
		// As tcdrain(3): the serial port may still have to send it.
		_ = unix.IoctlSetInt(1, unix.TCSBRK, 1)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {}
}

// outliveSignals has the init take no notice of signals that would end another
// process, as the kernel does for a first process without handlers of its own. Go's
// runtime has handlers, whose last act is the default one: a kill -HUP 1 would be a
// panic. Taken, not ignored, since children would inherit that.
func outliveSignals() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGABRT, syscall.SIGTRAP,
		syscall.SIGPIPE, syscall.SIGSTKFLT, syscall.SIGSYS, syscall.SIGXCPU, syscall.SIGXFSZ)
}

func run() error {
	for _, m := range []mount{
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
		{"proc", "/proc", "proc", pseudo, ""},
		{"sysfs", "/sys", "sysfs", pseudo, ""},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}

	c, err := readConfig()
	if err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	c.checkDisks()
	port, err := openPort(AgentPort)
	if err != nil {
		return err
	}
	if c.Init != nil {
		return handOver(c, port)
	}
	// The handshake is arithmetic and the mounts wait for the host: each has a
	// processor of its own.
	up := make(chan error, 1)
	go func() { up <- bringUp(c) }()
	return Serve(c, port, up)
}

// checkDisks warns of disks that the kernel has no driver for. One that is built in, and
// one whose module is loaded, has shown them by now.
func (c *Config) checkDisks() {
	found, _ := filepath.Glob("/sys/bus/virtio/drivers/virtio_blk/virtio*")
	if len(found) < c.Disks {
		fmt.Printf("\n%sthe guest has %d of its %d disks: does its kernel have CONFIG_VIRTIO_BLK?\n", WarningPrefix, len(found), c.Disks)
	}
}

func readConfig() (*Config, error) {
	data, err := os.ReadFile(ConfigPath)
	if err != nil {
		return nil, fmt.Errorf("read what to bring up: %w", err)
	}
	c := new(Config)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("parse %s: %w", ConfigPath, err)
	}
	return c, nil
}

// bringUp makes the userland of c the root and configures the rest.
func bringUp(c *Config) error {
	if err := switchRoot(c); err != nil {
		return err
	}
	// What is shared may be in it.
	if err := lendHome("/root"); err != nil {
		log.Print(err)
	}
	if err := c.mountShares(""); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
		log.Printf("set the hostname %q: %v", c.Hostname, err)
	}
	if err := bringUpNetwork(c.Network); err != nil {
		// A guest without network is still of use.
		log.Printf("network: %v", err)
	}
	if c.Network != nil {
		// The host's may be a link into /run, or name a resolver on its loopback.
		_ = os.MkdirAll("/etc", 0o755)
		_ = os.Remove("/etc/resolv.conf")
		if err := os.WriteFile("/etc/resolv.conf", []byte("nameserver "+c.Network.DNS+"\n"), 0o644); err != nil {
			log.Printf("network: %v", err)
		}
	}
	return nil
}

// lendHome mounts an empty home where the userland has none, or none that can be
// read: the daemon runs as a user of the host, and root's home isn't theirs.
func lendHome(dir string) error {
	if f, err := os.Open(dir); err == nil {
		return f.Close()
	}
	return mount{"tmpfs", dir, "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=700"}.do()
}

// NoPort is how the init's last words begin when the device of the agent's port has
// its driver, and the port doesn't show. Qemu's emulation has lost an interrupt
// then: nothing is wrong with the kernel.
const NoPort = "the virtio-serial port doesn't show"

// portTime is how long the port may take, on a host that does other things.
const portTime = 10 * time.Second

// openPort opens the virtio-serial port with the given name. The device may still
// be probed.
func openPort(name string) (*os.File, error) {
	const (
		driver = "/sys/bus/virtio/drivers/virtio_console"
		ports  = "/sys/class/virtio-ports"
	)
	if _, err := os.Stat(driver); err != nil {
		return nil, errors.New("the agent has no port: the kernel needs CONFIG_VIRTIO_CONSOLE=y")
	}
	for deadline := time.Now().Add(portTime); ; time.Sleep(2 * time.Millisecond) {
		names, _ := filepath.Glob(ports + "/*/name")
		for _, n := range names {
			if text, _ := os.ReadFile(n); strings.TrimSpace(string(text)) == name {
				dev := "/dev/" + filepath.Base(filepath.Dir(n))
				// Non-blocking, so that Go waits for it by epoll, not with a thread.
				f, err := os.OpenFile(dev, os.O_RDWR|unix.O_NONBLOCK, 0)
				if err != nil {
					return nil, fmt.Errorf("open the agent's port: %w", err)
				}
				return f, nil
			}
		}
		if time.Now().After(deadline) {
			if bound, _ := filepath.Glob(driver + "/virtio*"); len(bound) == 0 {
				return nil, errors.New("the agent's port has no device: the kernel needs CONFIG_VIRTIO_PCI=y")
			}
			return nil, fmt.Errorf("%s: %q after %s", NoPort, name, portTime)
		}
	}
}

// IsInit says whether this process is the init of a guest that run-kernel
// booted: the first process, with our configuration in its root.
func IsInit() bool {
	if os.Getpid() != 1 {
		return false
	}
	_, err := os.Stat(ConfigPath)
	return err == nil
}
