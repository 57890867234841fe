// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/boot/guest"
	"github.com/metaspace/run-kernel/boot/qemu"
	"github.com/metaspace/run-kernel/boot/readonly"
	"github.com/metaspace/run-kernel/boot/virtiofs"
	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/internal/grant"
)

// How a guest gets directories of the host.
const (
	MountAuto = "auto"         // virtiofs where it can be had, else 9p
	Virtiofs  = guest.Virtiofs // a daemon for each
	NineP     = guest.NineP    // qemu itself, slower
)

// A Mounter is what serves directories of the host to a guest.
type Mounter struct {
	Type   string // Virtiofs or NineP
	Why    string // why it isn't virtiofs, when that was asked for
	Hint   string // how to get that
	daemon *virtiofs.Program
}

// ChooseMounter decides how the guest of o gets directories: o.MountType,
// o.Virtiofsd and o.KernelVersion matter.
func ChooseMounter(ctx context.Context, o Options) (*Mounter, error) {
	nineP := &Mounter{Type: NineP}
	switch o.MountType {
	case NineP:
		return nineP, nil
	case MountAuto, "":
		if beforeVirtiofs(o.KernelVersion) {
			nineP.Why, nineP.Hint = "Linux "+o.KernelVersion+" has no virtiofs", "that came with 5.4"
			return nineP, nil
		}
	case Virtiofs:
	default:
		return nil, fmt.Errorf("mount type %q: it is auto, virtiofs or 9p", o.MountType)
	}
	daemon, err := virtiofs.Find(ctx, o.Virtiofsd)
	if err == nil {
		daemon.SocketDir = o.SocketDir
		err = daemon.CanRun()
	}
	if err == nil {
		return &Mounter{Type: Virtiofs, daemon: daemon}, nil
	}
	// What was asked for by name isn't passed over.
	if o.MountType == Virtiofs || o.Virtiofsd != "" || ctx.Err() != nil {
		return nil, err
	}
	nineP.Why = err.Error()
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		nineP.Hint = hinted.Hint()
	}
	return nineP, nil
}

// beforeVirtiofs says whether a kernel is too old for virtiofs. One whose version
// isn't known is not.
func beforeVirtiofs(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	return errA == nil && errB == nil && (a < 5 || a == 5 && b < 4)
}

// notice says what Why is, for the user.
func (m *Mounter) notice() string {
	text := "9p instead of virtiofs, which is faster: " + m.Why
	if m.Hint != "" {
		text += "; " + m.Hint
	}
	return text
}

// maxTag is the size of a tag: VIRTIO 1.2, section 5.11.4, for virtiofs, and
// MAX_TAG_LEN of qemu, less its end, for 9p.
func (m *Mounter) maxTag() int {
	if m.Type == NineP {
		return 31
	}
	return 36
}

// device is qemu's part of a share, whose descriptor is fd.
func (m *Mounter) device(s Share, fd int) qemu.Device {
	if m.Type == Virtiofs {
		return qemu.FileSystem{Tag: s.Tag, FD: fd}
	}
	d := qemu.NineP{Tag: s.Tag, Dir: fmt.Sprintf("/proc/self/fd/%d", fd), ReadOnly: s.ReadOnly}
	if !s.ReadOnly && os.Geteuid() == 0 {
		d.Security = qemu.Passthrough
	}
	return d
}

// open returns what device's descriptor stands for, and the daemon behind it, if
// there is one, which is yet to be started. shown says why nothing of it could be hidden;
// it is empty where all is.
func (m *Mounter) open(s Share) (f *os.File, d *virtiofs.Daemon, shown string, err error) {
	if m.Type == Virtiofs {
		d, f, err = m.daemon.Prepare(s)
		// An ordinary user's daemon runs without a mount namespace of its own.
		if !readonly.Privileged() {
			shown = "to hide them, virtiofsd needs root; --mount-type 9p doesn't"
		}
		return f, d, shown, err
	}
	if s.ReadOnly {
		// qemu refuses to write, too. Where users may not make namespaces, its word is
		// the only one to be had.
		f, err := readonly.Open(s.Dir, s.Hide...)
		if err == nil {
			return f, nil, "", nil
		}
		shown = fmt.Sprintf("to hide them takes a mount namespace (see user_namespaces(7)), and that failed: %v", err)
	}
	if f, err = os.Open(s.Dir); err != nil {
		return nil, nil, "", fmt.Errorf("share %s: %w", s.Tag, err)
	}
	return f, nil, shown, nil
}

// tellSeen tells once what the guest sees although it was to be hidden, and why.
func (p *plan) tellSeen(paths []string, why string) {
	if len(paths) == 0 || p.told {
		return
	}
	p.told = true
	p.options.Events.Emit(event.Notice{Text: "root in the guest can read " + strings.Join(paths, ", ") + ": " + why})
}

// seen lists what a share was to hide and shows.
func seen(s Share) []string {
	var list []string
	for _, path := range s.Hide {
		rel, err := filepath.Rel(s.Dir, path)
		if f, openErr := os.Open(path); err == nil && openErr == nil {
			_ = f.Close()
			if filepath.IsLocal(rel) {
				list = append(list, path)
			}
		}
	}
	return list
}

// mount is how the guest mounts a share.
func (m *Mounter) mount(s Share) guest.Share {
	g := guest.Share{Tag: s.Tag, Path: s.Path, Type: m.Type, ReadOnly: s.ReadOnly}
	if m.Type == NineP {
		g.Options = guest.NinePOptions(ninePCache(s))
	}
	return g
}

// ninePCache is what the guest may keep of a share; see
// Documentation/filesystems/9p.rst.
func ninePCache(s Share) string {
	switch {
	case s.Cache == grant.Always:
		return "loose"
	case s.ReadOnly:
		return "none"
	default:
		return "mmap" // without, files can't be mapped to be written
	}
}
