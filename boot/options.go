// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/proc"
)

// Options say what to boot and how.
type Options struct {
	Kernel     string   // path of the image
	KernelArgs []string // appended to the kernel's command line

	KernelVersion string // such as 6.1.176; empty: unknown
	Arch          string // of the guest, as in qemu-system-<arch>; empty: this host's
	GuestInit     string // run-kernel for a guest of another architecture; empty: searched for

	QEMU      string   // program; empty: the architecture's from $PATH
	QEMUArgs  []string // appended to qemu's command line
	Accel     string   // auto, kvm or tcg
	CPUs      int
	MemoryGiB int
	Network   bool      // qemu's user-mode network
	Forwards  []Forward // ports of this host that lead into it
	Disks     []Disk

	Userland  string // directory that becomes the guest's root; "/" is the host's own
	System    string // or a NixOS system: its toplevel, in a store that the guest gets
	Tree      string // directory that is being edited: shared apart, with fresh contents; empty: none
	Build     string // where it is built, likewise; empty: it is in one of the others, or isn't needed
	Shares    []Share
	MountType string // how the guest gets all of these: MountAuto (which empty is as well), Virtiofs or NineP
	Virtiofsd string // program; empty: searched for
	SocketDir string // where its sockets are bound for a moment; empty: nowhere in the file system

	Modules        string // the kernel's modules, as they are in /lib/modules/<ModulesRelease>; in Tree or Build. Empty: those that belong to an installed Kernel, if there are any
	ModulesRelease string

	Dir      string // working directory in the guest
	Hostname string
	Shell    string
	Env      []string

	ConsoleLog string        // file that gets all of the console; empty: none
	Timeout    time.Duration // how long the guest may be silent before its agent answers; 0: for ever
	Console    *Size         // a shell on the serial port, which is connected to such a terminal; nil: none, as NixOS has its own
	Debug      bool          // the guest waits for a debugger before its first instruction; Timeout doesn't count
	Events     event.Sink

	// Started is called as soon as there is a VM to look at or to debug; its agent
	// doesn't answer yet. It may be nil.
	Started func(*VM)
}

// A Share is a directory of the host that the guest mounts.
type Share struct {
	Tag      string
	Dir      string // on the host
	Path     string // in the guest
	ReadOnly bool
}

// A plan is what Options come to on this host: every tool found, every choice
// made, nothing started.
type plan struct {
	options Options
	arch    string
	qemu    string
	mounter *Mounter
	accel   qemu.Accel
	why     string // why not KVM, when it was wished for
	init    string // program that becomes the guest's init
	shares  []virtiofs.Share
	disks   []qemu.Disk
	guest   guest.Config
	again   bool // it hung, and is booted once more
}

const (
	rootTag  = "run-kernel.root"
	storeTag = "run-kernel.store"
	treeTag  = "run-kernel.tree"
	buildTag = "run-kernel.build"
)

func newPlan(ctx context.Context, o Options) (*plan, error) {
	p := &plan{options: o, arch: o.Arch}
	if p.arch == "" {
		p.arch = qemu.ThisHost().Arch
	}
	program := o.QEMU
	if program == "" {
		program = "qemu-system-" + p.arch
	}
	var err error
	if p.qemu, err = proc.Look(program); err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	p.options.findModules()
	if p.mounter, err = ChooseMounter(ctx, p.options); err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	switch accel := qemu.Accel(o.Accel); accel {
	case "auto", "":
		p.accel, p.why = qemu.ThisHost().ChooseAccel(p.arch)
	case qemu.KVM, qemu.TCG:
		p.accel = accel
	default:
		return nil, fmt.Errorf("boot: accelerator %q: it is auto, kvm or tcg", o.Accel)
	}
	if err := checkMemory(o.MemoryGiB); err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	if p.init, err = FindInit(o.GuestInit, p.arch); err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	if err := checkUserland(o.Userland, p.arch); err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	if err := p.planShares(); err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	for i, d := range o.Disks {
		disk, err := d.plan("disk" + strconv.Itoa(i))
		if err != nil {
			return nil, fmt.Errorf("boot: %w", err)
		}
		p.disks = append(p.disks, disk)
	}
	for _, f := range o.Forwards {
		if err := f.check(o.Network); err != nil {
			return nil, fmt.Errorf("boot: %w", err)
		}
	}
	return p, nil
}

func (p *plan) planShares() error {
	o := &p.options
	for _, dir := range []*string{&o.Userland, &o.Tree} {
		if *dir == "" {
			continue
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	p.guest = guest.Config{Hostname: o.Hostname, Dir: o.Dir, Shell: o.Shell, Env: o.Env}
	if o.System != "" {
		p.planSystem()
	} else {
		s := virtiofs.Share{Tag: rootTag, Dir: o.Userland, ReadOnly: true, Cache: virtiofs.Always}
		root := p.mounter.mount(s, "")
		p.shares, p.guest.Root = []virtiofs.Share{s}, &root
		if o.Console != nil {
			p.guest.Console = &guest.Console{Rows: o.Console.Rows, Columns: o.Console.Columns}
		}
		if o.Network {
			p.guest.Network = guest.UserNetwork()
		}
	}
	for _, s := range []struct{ tag, dir string }{{treeTag, o.Tree}, {buildTag, o.Build}} {
		if s.dir != "" {
			p.mount(virtiofs.Share{Tag: s.tag, Dir: s.dir, ReadOnly: true, Cache: virtiofs.Auto}, s.dir)
		}
	}
	if o.Modules != "" && !(o.System == "" && o.Userland == "/" && o.Modules == filepath.Join("/lib/modules", o.ModulesRelease)) {
		p.guest.Modules = &guest.Modules{Dir: o.Modules, Release: o.ModulesRelease}
	}
	seen := map[string]bool{rootTag: true, storeTag: true, treeTag: true, buildTag: true}
	for _, s := range o.Shares {
		if limit := p.mounter.maxTag(); s.Tag == "" || len(s.Tag) > limit || strings.ContainsAny(s.Tag, ",\x00") {
			return fmt.Errorf("share %q: by %s, a tag has 1 to %d bytes and no comma", s.Tag, p.mounter.Type, limit)
		}
		if seen[s.Tag] {
			return fmt.Errorf("share %q: the tag is used twice", s.Tag)
		}
		seen[s.Tag] = true
		if !filepath.IsAbs(s.Path) || filepath.Clean(s.Path) == "/" {
			return fmt.Errorf("share %q: the guest can't mount it on %q: that must be an absolute path below /", s.Tag, s.Path)
		}
		dir, err := filepath.Abs(s.Dir)
		if err != nil {
			return err
		}
		share := virtiofs.Share{Tag: s.Tag, Dir: dir, ReadOnly: s.ReadOnly, Cache: virtiofs.Auto}
		// NixOS mounts what its configuration says; but that says virtiofs.
		if o.System == "" || p.mounter.Type != Virtiofs {
			p.mount(share, filepath.Clean(s.Path))
		} else {
			p.shares = append(p.shares, share)
		}
	}
	// A mount hides what was mounted below it before.
	slices.SortStableFunc(p.guest.Shares, func(a, b guest.Share) int { return strings.Compare(a.Path, b.Path) })
	for _, s := range p.shares {
		if s.Tag == storeTag {
			continue // nix makes it, and may not have yet
		}
		if st, err := os.Stat(s.Dir); err != nil {
			return &shareError{s.Tag, err}
		} else if !st.IsDir() {
			return &shareError{s.Tag, fmt.Errorf("%s is not a directory", s.Dir)}
		}
	}
	return nil
}

// mount shares a directory that the guest mounts on path.
func (p *plan) mount(s virtiofs.Share, path string) {
	p.shares = append(p.shares, s)
	p.guest.Shares = append(p.guest.Shares, p.mounter.mount(s, path))
}

// planSystem shares the store of a NixOS system, which configures all the rest by
// itself.
func (p *plan) planSystem() {
	system := p.options.System
	init := &guest.Init{Path: filepath.Join(system, "init")}
	// NixOS links its systemd there.
	if systemctl := filepath.Join(system, "systemd/bin/systemctl"); exists(systemctl) {
		init.Systemctl = systemctl
	}
	store := filepath.Dir(system)
	p.mount(virtiofs.Share{Tag: storeTag, Dir: store, ReadOnly: true, Cache: virtiofs.Always}, store)
	p.guest.Init = init
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Descriptors that qemu inherits, in the order of exec.Cmd's ExtraFiles.
const (
	fdConsole = 3 + iota
	fdMonitor
	fdAgent
	fdInitramfs
	fdShares // and as many more as there are shares
)

// machine describes the VM for qemu.
func (p *plan) machine() *qemu.Machine {
	o := &p.options
	m := &qemu.Machine{
		Arch: p.arch, Accel: p.accel, CPUs: o.CPUs, Memory: o.MemoryGiB,
		Kernel: o.Kernel, Initrd: fmt.Sprintf("/proc/self/fd/%d", fdInitramfs),
		Name: "run-kernel", SharedMemory: p.mounter.Type == Virtiofs,
		Devices: []qemu.Device{
			qemu.Console{FD: fdConsole},
			qemu.Monitor{FD: fdMonitor},
			qemu.SerialPort{Name: guest.AgentPort, FD: fdAgent},
			qemu.Entropy{},
		},
		Extra: o.QEMUArgs,
	}
	if o.Network {
		var network qemu.UserNetwork
		for _, f := range o.Forwards {
			network.Forwards = append(network.Forwards, qemu.Forward(f))
		}
		m.Devices = append(m.Devices, network)
	}
	for _, d := range p.disks {
		m.Devices = append(m.Devices, d)
	}
	for i, s := range p.shares {
		m.Devices = append(m.Devices, p.mounter.device(s, fdShares+i))
	}
	// A panic ends qemu at once, instead of a minute's silence.
	m.Cmdline = []string{"panic=-1"}
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
	return m
}

// Cmdline returns the command with which Start would start qemu. The numbers of
// descriptors in it mean sockets that exist only then.
func Cmdline(ctx context.Context, o Options) ([]string, error) {
	p, err := newPlan(ctx, o)
	if err != nil {
		return nil, err
	}
	args, err := p.machine().Args()
	if err != nil {
		return nil, err
	}
	return append([]string{p.qemu}, args...), nil
}
