// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"fmt"

	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/grant"
)

// Console is the first serial port, connected to qemu's standard input and output.
type Console struct{}

// ConsoleID is the console's among qemu's character devices.
const ConsoleID = "console"

// Args implements Device.
func (Console) Args(string) []string {
	return []string{
		"-chardev", "stdio,id=" + ConsoleID + ",signal=off",
		"-serial", "chardev:" + ConsoleID,
	}
}

// KernelArgs implements Device.
func (Console) KernelArgs(name string) []string {
	if g := arch.Of(name).Guest; g != nil {
		return g.Console
	}
	return nil
}

// Monitor is a QMP monitor on an inherited stream socket.
type Monitor struct{ FD int }

// Args implements Device.
func (m Monitor) Args(id string) []string {
	return []string{
		"-chardev", fmt.Sprintf("socket,id=%s,fd=%d", id, m.FD),
		"-mon", "chardev=" + id + ",mode=control",
	}
}

// KernelArgs implements Device.
func (Monitor) KernelArgs(string) []string { return nil }

// SerialPort is a virtio-serial port with a name, connected to an inherited
// stream socket. A machine can have one.
type SerialPort struct {
	Name string
	FD   int
}

// Args implements Device.
func (p SerialPort) Args(id string) []string {
	return []string{
		"-device", "virtio-serial-pci,id=" + id + "bus,max_ports=2",
		"-chardev", fmt.Sprintf("socket,id=%s,fd=%d", id, p.FD),
		"-device", fmt.Sprintf("virtserialport,bus=%sbus.0,chardev=%s,name=%s", id, id, escape(p.Name)),
	}
}

// KernelArgs implements Device.
func (SerialPort) KernelArgs(string) []string { return nil }

// FileSystem is a virtiofs share. FD is an inherited socket connected to its
// daemon.
type FileSystem struct {
	Tag string
	FD  int
}

// Args implements Device.
func (f FileSystem) Args(id string) []string {
	return []string{
		"-chardev", fmt.Sprintf("socket,id=%s,fd=%d", id, f.FD),
		"-device", "vhost-user-fs-pci,chardev=" + id + ",tag=" + escape(f.Tag) + ",queue-size=1024",
	}
}

// KernelArgs implements Device.
func (FileSystem) KernelArgs(string) []string { return nil }

// Security is how the owners and modes of a guest's files look on the host; see
// security_model in qemu(1).
type Security string

const (
	// Passthrough gives files the owners that they have in the guest. For root only.
	Passthrough Security = "passthrough"
	// None leaves all files that a guest makes to whoever runs qemu, with their modes
	// and types. The guest can't give them away, and sees that. The mapped models would
	// let it, but what they make is of use to nobody on the host: files without modes
	// and links that are none, with the truth in attributes beside them.
	None Security = "none"
)

// NineP is a directory that qemu itself serves by the 9P protocol.
type NineP struct {
	Tag      string
	Dir      string
	ReadOnly bool
	Security Security // empty: None
}

// Args implements Device.
func (p NineP) Args(id string) []string {
	security := p.Security
	if security == "" {
		security = None
	}
	// Files of different file systems must not look like the same one.
	local := fmt.Sprintf("local,id=%s,path=%s,security_model=%s,multidevs=remap", id, escape(p.Dir), security)
	if p.ReadOnly {
		local += ",readonly=on"
	}
	return []string{"-fsdev", local, "-device", "virtio-9p-pci,fsdev=" + id + ",mount_tag=" + escape(p.Tag)}
}

// KernelArgs implements Device.
func (NineP) KernelArgs(string) []string { return nil }

// UserNetwork is an Ethernet interface on qemu's user-mode network.
type UserNetwork struct {
	Forwards   []Forward
	Restricted bool // the guest reaches nothing through it; Forwards still lead into the guest
}

// A Forward makes a TCP port of the host's loopback one of the guest's.
type Forward = grant.Forward

// Args implements Device.
func (n UserNetwork) Args(id string) []string {
	netdev := "user,id=" + id
	if n.Restricted {
		netdev += ",restrict=on"
	}
	for _, f := range n.Forwards {
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	// No option ROM: nobody boots from it, and loading it takes time.
	return []string{"-netdev", netdev, "-device", "virtio-net-pci,netdev=" + id + ",romfile="}
}

// KernelArgs implements Device.
func (UserNetwork) KernelArgs(string) []string { return nil }

// Disk is a virtio-blk disk: the first of a machine is the guest's /dev/vda.
type Disk struct {
	Path     string // absolute
	Format   string // raw, qcow2
	Serial   string // by which udev names it: /dev/disk/by-id/virtio-SERIAL
	ReadOnly bool
}

// Args implements Device.
func (d Disk) Args(id string) []string {
	drive := fmt.Sprintf("if=none,id=%sdrive,format=%s,file=%s", id, d.Format, escape(d.Path))
	if d.ReadOnly {
		drive += ",readonly=on"
	}
	return []string{"-drive", drive, "-device", fmt.Sprintf("virtio-blk-pci,drive=%sdrive,serial=%s", id, d.Serial)}
}

// KernelArgs implements Device.
func (Disk) KernelArgs(string) []string { return nil }

// Entropy is a source of random numbers. Without one the first getrandom() of
// the guest takes more than a second.
type Entropy struct{}

// Args implements Device.
func (Entropy) Args(id string) []string {
	return []string{"-object", "rng-random,id=" + id + ",filename=/dev/urandom", "-device", "virtio-rng-pci,rng=" + id}
}

// KernelArgs implements Device.
func (Entropy) KernelArgs(string) []string { return []string{"random.trust_cpu=on"} }
