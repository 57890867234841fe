// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/grant"
	"github.com/metaspace/run-kernel/kbuild"
)

// A Boot is what the options of a guest are made from.
type Boot struct {
	Config   *config.Config
	Userland Userland
	Image    string // path of the kernel's
	Dir      string // the working directory
	Tree     string // the source tree; empty: there is none
	State    string // directory of the console's log; empty: none is kept
	Events   event.Sink
}

// Options are what the configuration says of the guest, but for a NixOS system, which
// has to be built.
func (b Boot) Options() (boot.Options, error) {
	c := b.Config
	o := boot.Options{
		Arch: GuestArch(c.Build.Arch), GuestInit: c.Run.GuestInit, Kernel: b.Image, KernelArgs: c.Run.KernelExtraArgs,
		QEMU: c.Run.QEMU, QEMUArgs: c.Run.QEMUExtraArgs, Accel: c.Run.Accel, CPUs: c.Run.SMP, MemoryMiB: c.Run.MemoryMiB(),
		Network: c.Run.Network != "none", Restricted: c.Run.Network == "restricted" || c.Run.Isolated, Tree: b.Tree,
		Hide:      hidden(c.Run.Hide, b.Dir),
		MountType: c.Run.MountType, Virtiofsd: c.Run.Virtiofsd, SocketDir: c.Run.VirtiofsdSocketDir,
		Dir: b.Dir, Hostname: c.Run.Hostname, Timeout: c.Run.BootTimeout.Std(), Limit: c.Run.BootLimit.Std(), Debug: c.Run.Debug,
		Events: b.Events,
	}
	if b.State != "" {
		o.ConsoleLog = filepath.Join(b.State, "console.log")
	}
	for _, text := range c.Run.Share {
		s, err := grant.ParseShare(text)
		if err != nil {
			return o, err
		}
		s.Path = "/mnt/" + s.Tag
		o.Shares = append(o.Shares, s)
	}
	for i, path := range c.Watch.Rerun {
		// What the userland has of it may be kept by the guest.
		if st, err := os.Stat(path); err == nil && st.IsDir() && !kbuild.Within(b.Tree, path) {
			o.Shares = append(o.Shares, boot.Share{Tag: fmt.Sprintf("run-kernel.rerun%d", i), Dir: path, Path: path, ReadOnly: true})
		}
	}
	for i, dir := range c.Run.Rwdir {
		if err := checkWritable(dir); err != nil {
			return o, fmt.Errorf("rwdir: %w", err)
		}
		o.Shares = append(o.Shares, boot.Share{Tag: fmt.Sprintf("run-kernel.rwdir%d", i), Dir: dir, Path: dir})
	}
	for _, text := range c.Run.Disk {
		o.Disks = append(o.Disks, grant.ParseDisk(text))
	}
	for _, text := range c.Run.Forward {
		f, err := grant.ParseForward(text)
		if err != nil {
			return o, err
		}
		o.Forwards = append(o.Forwards, f)
	}
	switch b.Userland.Kind {
	case userland.Nix:
	case userland.Host:
		if c.Run.Isolated {
			return o, errNotIsolated
		}
		o.Userland = "/"
		o.Shell = os.Getenv("SHELL")
		// The host's programs and the user's settings, but as root.
		if path := os.Getenv("PATH"); path != "" {
			o.Env = append(o.Env, "PATH="+path+":/usr/local/sbin:/usr/sbin:/sbin")
		}
		if home := os.Getenv("HOME"); home != "" {
			o.Env = append(o.Env, "HOME="+home)
		}
	default:
		o.Userland = b.Userland.Kind
	}
	for _, name := range []string{"TERM", "LANG", "LC_ALL", "COLORTERM"} {
		if v := os.Getenv(name); v != "" {
			o.Env = append(o.Env, name+"="+v)
		}
	}
	return o, nil
}

// checkWritable says why a directory of the host can't be the guest's to write.
func checkWritable(dir string) error {
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !st.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case filepath.Clean(dir) == "/":
		return errors.New("the guest can't have all of / to write: name a directory in it")
	}
	return nil
}

// VMDir returns the directory for what is kept of a tree's VM, by its name, and makes
// it.
func VMDir(t *kbuild.Tree, name string) (string, error) {
	if name == "" {
		return t.StateDir()
	}
	return t.StateDir("vm", name)
}

// BootOptions are those of the tree's guest. Where it runs on NixOS, nix builds
// that first, if it has changed.
func (k *Kernel) BootOptions(ctx context.Context, image, dir string) (boot.Options, error) {
	state, err := k.Tree.StateDir()
	if err != nil {
		return boot.Options{}, err
	}
	u, err := k.Userland()
	if err != nil {
		return boot.Options{}, err
	}
	if u.Why != "" {
		k.told.Do(func() { k.Events.Emit(event.Notice{Text: u.Why}) })
	}
	vmDir, err := VMDir(k.Tree, k.VM)
	if err != nil {
		return boot.Options{}, err
	}
	o, err := Boot{Config: k.Config, Userland: u, Image: image, Dir: dir, Tree: k.Tree.Source, State: vmDir, Events: k.Events}.Options()
	if err != nil {
		return o, err
	}
	if o.System, err = u.System(ctx, state, k.Events); err != nil {
		return o, err
	}
	o.KernelVersion = k.KernelVersion()
	if image != k.imagePath() {
		return o, nil // another kernel's modules
	}
	o.Vmlinux = filepath.Join(k.Tree.BuildDir, "vmlinux")
	modules, err := k.Tree.StageModules(ctx)
	if err != nil {
		return o, err
	}
	if modules != nil {
		o.Modules, o.ModulesRelease = modules.Dir, modules.Release
		if !k.Tree.InTree() {
			o.Build = k.Tree.BuildDir
		}
	}
	return o, nil
}

// System has nix build the system of the tree's guest, if that runs on one and it
// has changed, and returns its toplevel.
func (k *Kernel) System(ctx context.Context) (string, error) {
	state, err := k.Tree.StateDir()
	if err != nil {
		return "", err
	}
	u, err := k.Userland()
	if err != nil {
		return "", err
	}
	return u.System(ctx, state, k.Events)
}
