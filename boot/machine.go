// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/boot/virtiofs"
)

// A wiring is what a VM is connected with.
type wiring struct {
	dry bool // nothing is opened: the command is only shown

	files          qemu.Files // qemu's ends
	console        *serialLine
	monitor, agent net.Conn
	initramfs      *os.File // yet to be written
	daemons        []*virtiofs.Daemon
}

// close ends all that a VM is connected with.
func (w *wiring) close() {
	if w.console != nil {
		_ = w.console.Close()
	}
	for _, c := range []net.Conn{w.monitor, w.agent} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// socket makes a connection, and returns the number of its other end in qemu.
func (w *wiring) socket(ours *net.Conn) (int, error) {
	if w.dry {
		return w.files.Add(nil), nil
	}
	conn, theirs, err := socketPair()
	if err != nil {
		return 0, err
	}
	*ours = conn
	return w.files.Add(theirs), nil
}

// share opens a share, and returns its number in qemu.
func (w *wiring) share(p *plan, s Share) (int, error) {
	if w.dry {
		return w.files.Add(nil), nil
	}
	f, d, shown, err := p.mounter.open(s)
	if err != nil {
		return 0, err
	}
	if shown != "" {
		p.tellSeen(seen(s), shown)
	}
	if d != nil {
		w.daemons = append(w.daemons, d)
	}
	return w.files.Add(f), nil
}

// machine describes the VM for qemu, and opens what it inherits. Where that
// fails, close and files.Close end what was opened.
func (p *plan) machine(w *wiring) (*qemu.Machine, error) {
	o := &p.options
	if !w.dry {
		var err error
		if w.console, err = newSerialLine(); err != nil {
			return nil, err
		}
	}
	monitor, err := w.socket(&w.monitor)
	if err != nil {
		return nil, err
	}
	agent, err := w.socket(&w.agent)
	if err != nil {
		return nil, err
	}
	if !w.dry {
		if w.initramfs, err = memFile("initramfs"); err != nil {
			return nil, err
		}
	}
	m := &qemu.Machine{
		Arch: p.arch, Accel: p.accel, CPUs: o.CPUs, Memory: o.MemoryMiB,
		Kernel: o.Kernel, Initrd: fmt.Sprintf("/proc/self/fd/%d", w.files.Add(w.initramfs)),
		// The user's arguments may need what it denies, such as a script for a network.
		Sandbox: len(o.QEMUArgs) == 0 && qemu.HasSandbox(p.qemu),
		Name:    "run-kernel", SharedMemory: p.mounter.Type == Virtiofs,
		Devices: []qemu.Device{
			qemu.Console{},
			qemu.Monitor{FD: monitor},
			qemu.SerialPort{Name: guest.AgentPort, FD: agent},
			qemu.Entropy{},
		},
		Extra: o.QEMUArgs,
	}
	if o.Network {
		m.Devices = append(m.Devices, qemu.UserNetwork{Forwards: o.Forwards, Restricted: o.Restricted})
	}
	for _, d := range p.disks {
		m.Devices = append(m.Devices, d)
	}
	for _, s := range p.shares {
		fd, err := w.share(p, s)
		if err != nil {
			return nil, err
		}
		m.Devices = append(m.Devices, p.mounter.device(s, fd))
	}
	if m.SharedMemory && !w.dry {
		if memory, err := hugeFile(o.MemoryMiB); err == nil {
			m.MemoryFD = w.files.Add(memory)
		}
	}
	m.Cmdline = []string{
		// A panic ends qemu at once, instead of a minute's silence.
		"panic=-1",
		// Distributions allow only some requests of the magic SysRq, and not those by
		// which a kernel that hangs tells what it waits for.
		"sysrq_always_enabled",
	}
	if p.accel == qemu.TCG && p.mounter.Type == Virtiofs {
		// virtiofsd writes file contents into the guest's memory behind qemu's back,
		// which goes on to run the translation of what was there before. When the
		// guest clears each page itself, qemu sees that the page has changed.
		m.Cmdline = append(m.Cmdline, "init_on_alloc=1")
	}
	if o.Debug {
		m.Stopped = true
		// Else the kernel isn't where its symbols say.
		m.Cmdline = append(m.Cmdline, "nokaslr")
	}
	m.Cmdline = append(m.Cmdline, o.KernelArgs...)
	return m, nil
}

// Cmdline returns the command with which Start would start qemu. The numbers of
// descriptors in it mean sockets that exist only then.
func Cmdline(ctx context.Context, o Options) ([]string, error) {
	p, err := newPlan(ctx, o)
	if err != nil {
		return nil, err
	}
	m, err := p.machine(&wiring{dry: true})
	if err != nil {
		return nil, err
	}
	args, err := m.Args()
	if err != nil {
		return nil, err
	}
	return append([]string{p.qemu}, args...), nil
}
