// SPDX-License-Identifier: GPL-3.0-only

package guest

import (
	"errors"
	"fmt"
	"log"
	"os"

	"golang.org/x/sys/unix"
)

const pseudo = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// needs says, for a file system, which option of the kernel provides it.
var needs = map[string]string{
	"devtmpfs": "CONFIG_DEVTMPFS", "proc": "CONFIG_PROC_FS", "sysfs": "CONFIG_SYSFS", "tmpfs": "CONFIG_TMPFS",
	Virtiofs: "CONFIG_VIRTIO_FS", NineP: "CONFIG_9P_FS", "overlay": "CONFIG_OVERLAY_FS", "devpts": "CONFIG_UNIX98_PTYS",
}

type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// do makes the mount point where it is missing and mounts.
func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return fmt.Errorf("make the mount point %s: %w", m.target, err)
	}
	err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENODEV) && needs[m.fstype] != "":
		return fmt.Errorf("mount %s on %s: the kernel lacks %s", m.fstype, m.target, needs[m.fstype])
	case errors.Is(err, unix.EINVAL) && m.fstype == Virtiofs:
		return fmt.Errorf("mount virtiofs %q on %s: no such device; the kernel needs CONFIG_VIRTIO_PCI=y: %w", m.source, m.target, err)
	case errors.Is(err, unix.EINVAL) && m.fstype == NineP:
		return fmt.Errorf("mount 9p %q on %s: no such transport; the kernel needs CONFIG_NET_9P_VIRTIO=y: %w", m.source, m.target, err)
	case errors.Is(err, unix.ENOENT) && m.fstype == NineP:
		return fmt.Errorf("mount 9p %q on %s: no such device; the kernel needs CONFIG_VIRTIO_PCI=y: %w", m.source, m.target, err)
	}
	return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
}

// switchRoot makes an overlay the root: a tmpfs over the userland's share.
//
// It is a mount of its own and not the initial rootfs, which pivot_root(2)
// refuses to leave; container tools in the guest need that.
func switchRoot(c *Config) error {
	const lower, upper, root = "/lower", "/upper", "/root.new"
	if err := c.Root.mount(lower); err != nil {
		return err
	}
	if err := (mount{"tmpfs", upper, "tmpfs", 0, "mode=755"}).do(); err != nil {
		return err
	}
	for _, d := range []string{upper + "/data", upper + "/work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	for _, m := range []mount{
		{"run-kernel", root, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/data,workdir=%s/work", lower, upper, upper)},
		// No tmpfs on /tmp: sessions start in the host's working directory, which
		// may be below it, and the overlay makes it writable.
		// Fresh ones rather than moved: the host's directories may be mount points.
		{"devtmpfs", root + "/dev", "devtmpfs", unix.MS_NOSUID, "mode=755"},
		{"proc", root + "/proc", "proc", pseudo, ""},
		{"sysfs", root + "/sys", "sysfs", pseudo, ""},
		{"tmpfs", root + "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmpfs", root + "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"devpts", root + "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=620,gid=5,ptmxmode=666"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, m := range []mount{
		{"cgroup2", root + "/sys/fs/cgroup", "cgroup2", pseudo, ""},
		{"bpf", root + "/sys/fs/bpf", "bpf", pseudo, "mode=700"},
		{"debugfs", root + "/sys/kernel/debug", "debugfs", pseudo, ""},
		{"tracefs", root + "/sys/kernel/tracing", "tracefs", pseudo, ""},
		{"securityfs", root + "/sys/kernel/security", "securityfs", pseudo, ""},
		{"configfs", root + "/sys/kernel/config", "configfs", pseudo, ""},
		{"mqueue", root + "/dev/mqueue", "mqueue", pseudo, ""},
	} {
		// Kernels without them have no mount point in sysfs, or no such type.
		_ = m.do()
	}
	if os.Mkdir(root+"/tmp", 0o777) == nil {
		_ = os.Chmod(root+"/tmp", 0o777|os.ModeSticky)
	}
	lendLinks(lower+"/run", root+"/run")
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		_ = os.Symlink(target, root+"/dev/"+name)
	}
	return moveRoot(root)
}

// moveRoot makes the mount on dir the root.
func moveRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the new root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	return unix.Chdir("/")
}

// lendLinks makes the links of one directory in another: NixOS has its programs
// behind /run/current-system.
func lendLinks(from, to string) {
	entries, _ := os.ReadDir(from) // not every root has a /run
	for _, e := range entries {
		if e.Type() != os.ModeSymlink {
			continue
		}
		if target, err := os.Readlink(from + "/" + e.Name()); err == nil {
			_ = os.Symlink(target, to+"/"+e.Name())
		}
	}
}

// mountShares mounts, below root, the shares, and the modules that are in one of
// them.
func (c *Config) mountShares(root string) error {
	for _, s := range c.Shares {
		if err := s.mount(root + s.Path); err != nil {
			return err
		}
	}
	if c.Modules != nil {
		if err := c.Modules.mount(root); err != nil {
			log.Print(err) // a guest without modules is still of use
		}
	}
	return nil
}

// mount mounts the share.
func (s Share) mount(target string) error {
	var flags uintptr
	if s.ReadOnly {
		flags = unix.MS_RDONLY
	}
	return mount{s.Tag, target, s.Type, flags, s.Options}.do()
}

// mount puts the modules where modprobe looks for them, below root. NixOS's kmod
// looks there as well.
func (m Modules) mount(root string) error {
	target := root + "/lib/modules/" + m.Release
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make the mount point %s: %w", target, err)
	}
	if err := unix.Mount(root+m.Dir, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the modules %s on %s: %w", m.Dir, target, err)
	}
	return nil
}
