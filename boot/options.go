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
	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/internal/arch"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/grant"
	"github.com/metaspace/run-kernel/internal/proc"
)

// Options say what to boot and how.
type Options struct {
	Kernel     string   // path of the image
	Vmlinux    string   // that it was made from, to look at a guest that hangs; empty: Kernel, where it is one
	KernelArgs []string // appended to the kernel's command line

	KernelVersion string // such as 6.1.176; empty: unknown
	Arch          string // of the guest, as in qemu-system-<arch>; empty: this host's
	GuestInit     string // run-kernel for a guest of another architecture; empty: searched for

	QEMU       string   // program; empty: the architecture's from $PATH
	QEMUArgs   []string // appended to qemu's command line
	Accel      string   // auto, kvm or tcg
	CPUs       int
	MemoryMiB  int
	Network    bool      // qemu's user-mode network
	Restricted bool      // by that, the guest reaches nothing, and is reached
	Forwards   []Forward // ports of this host that lead into it
	Disks      []Disk

	Hide      []string // absolute paths in Userland that the guest doesn't see, as far as that can be had
	Userland  string   // directory that becomes the guest's root; "/" is the host's own
	System    string   // or a NixOS system: its toplevel, in a store that the guest gets
	Tree      string   // directory that is being edited: shared apart, with fresh contents; empty: none
	Build     string   // where it is built, likewise; empty: it is in one of the others, or isn't needed
	Shares    []Share
	MountType string // how the guest gets all of these: MountAuto (which empty is as well), Virtiofs or NineP
	Virtiofsd string // program; empty: searched for
	SocketDir string // where its sockets are bound for a moment; empty: in the user's directory for them

	Modules        string // the kernel's modules, as they are in /lib/modules/<ModulesRelease>; in Tree or Build. Empty: those that belong to an installed Kernel, if there are any
	ModulesRelease string

	Dir      string // working directory in the guest
	Hostname string
	Shell    string
	Env      []string

	ConsoleLog string        // file that gets all of the console; empty: none
	Timeout    time.Duration // how long the guest may be silent before its agent answers; 0: no limit
	Limit      time.Duration // how long it may take to answer, whatever it writes; 0: no limit. Without a Timeout it doesn't count
	Console    *Size         // a shell on the serial port, which is connected to such a terminal; nil: none, as NixOS has its own
	Debug      bool          // the guest waits for a debugger before its first instruction; Timeout doesn't count
	Events     event.Sink

	// Started is called as soon as there is a VM to look at or to debug; its agent
	// doesn't answer yet. It may be nil.
	Started func(*VM)
	// Reported is called with each report of the kernel that is told as an event, and
	// with whether the agent had answered then. It must not block. It may be nil.
	Reported func(r report.Report, up bool)
}

// What of the host a guest is granted.
type (
	Share   = grant.Share
	Disk    = grant.Disk
	Forward = grant.Forward
)

// A plan is what Options come to on this host: every tool found, every choice
// made, nothing started.
type plan struct {
	options Options
	arch    string
	qemu    string
	mounter *Mounter
	accel   qemu.Accel
	why     string // why not KVM, when it was asked for
	init    string // program that becomes the guest's init
	shares  []Share
	disks   []qemu.Disk
	guest   guest.Config
	again   bool // it hung, and is booted once more
	told    bool // the user, that something can't be hidden
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
		p.arch = arch.Host().Name
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
	if err := checkMemory(o.MemoryMiB); err != nil {
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
		disk, err := planDisk(d, "disk"+strconv.Itoa(i))
		if err != nil {
			return nil, fmt.Errorf("boot: %w", err)
		}
		p.disks = append(p.disks, disk)
	}
	for _, f := range o.Forwards {
		if err := checkForward(f, o.Network); err != nil {
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
	p.guest = guest.Config{Hostname: o.Hostname, Dir: o.Dir, Shell: o.Shell, Env: o.Env, Disks: len(o.Disks)}
	if o.System != "" {
		p.planSystem()
	} else {
		s := Share{Tag: rootTag, Dir: o.Userland, ReadOnly: true, Cache: grant.Always, Hide: o.Hide}
		root := p.mounter.mount(s)
		p.shares, p.guest.Root = []Share{s}, &root
		if o.Console != nil {
			p.guest.Console = &guest.Console{Rows: o.Console.Rows, Columns: o.Console.Columns}
		}
		if o.Network {
			p.guest.Network = guest.UserNetwork()
		}
	}
	for _, s := range []struct{ tag, dir string }{{treeTag, o.Tree}, {buildTag, o.Build}} {
		if s.dir != "" {
			p.mount(Share{Tag: s.tag, Dir: s.dir, Path: s.dir, ReadOnly: true, Cache: grant.Auto})
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
		s.Dir, s.Path, s.Cache = dir, filepath.Clean(s.Path), grant.Auto
		// NixOS mounts what its configuration says, on /mnt/TAG; but that says virtiofs.
		if o.System == "" || p.mounter.Type != Virtiofs || s.Path != filepath.Join("/mnt", s.Tag) {
			p.mount(s)
		} else {
			p.shares = append(p.shares, s)
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

// mount shares a directory that the guest mounts.
func (p *plan) mount(s Share) {
	p.shares = append(p.shares, s)
	p.guest.Shares = append(p.guest.Shares, p.mounter.mount(s))
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
	p.mount(Share{Tag: storeTag, Dir: store, Path: store, ReadOnly: true, Cache: grant.Always})
	p.guest.Init = init
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
